"""Planning a batch: contacts, deliveries and system events."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Sequence

from headrace.domain.access.policies import Policies
from headrace.domain.events.event import Source
from headrace.domain.events.identity import IdentityType, lane_of
from headrace.pipeline.processing.plan import BatchPlanner, Rules, random_uuid
from headrace.store.contract.processing import (
    BatchPlan,
    Claimed,
    ContactCreated,
    ContactIds,
    SubscriberRule,
)
from tests.support.events import START_US

PERSON = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"
_sequences = itertools.count(1)


def claimed(event: str = "order.completed", *, project_id: int = 1, **said: str | None) -> Claimed:
    identifiers = {"contact_id": None, "external_id": None, "email": None, "email_original": None}
    return Claimed(
        sequence=next(_sequences),
        id=b"",
        project_id=project_id,
        lane=0,
        event=event,
        **identifiers | said,
        occurred_us=START_US,
        received_us=START_US,
        source=Source.API,
        attempt=3,
        crashes=0,
        payload="{}",
    )


def plan(
    *batch: Claimed,
    known: Sequence[ContactIds] = (),
    rules: Rules | None = None,
) -> BatchPlan:
    """Plan a batch over contacts of project 1; new ids are `id1`, `id2`."""
    numbers = itertools.count(1)

    def find(project_id: int, kind: IdentityType, value: str) -> ContactIds | None:
        name = {"contact_id": "id"}.get(kind.value, kind.value)
        return next((c for c in known if project_id == 1 and getattr(c, name) == value), None)

    return BatchPlanner(rules or Rules({}, ()), lambda: f"id{next(numbers)}")(batch, find)


def rule(name: str, *events: str, project_id: int = 1, enabled: bool = True) -> SubscriberRule:
    return SubscriberRule(name, project_id, events, enabled)


# Deliveries


def test_there_is_one_delivery_for_each_subscriber_that_wants_the_event() -> None:
    rules = Rules(
        {},
        [
            rule("exact", "order.completed"),
            rule("twice", "order.*", "order.completed"),
            rule("other", "page.*"),
            rule("off", "*", enabled=False),
            rule("neighbour", "*", project_id=2),
            rule("handler", "order.*", project_id=0),
        ],
    )
    event, page, theirs = (
        claimed(external_id="x"),
        claimed("page.visited", external_id="x"),
        claimed(project_id=2, external_id="x"),
    )
    made = plan(event, page, theirs, rules=rules).deliveries
    assert sorted((d.subscriber_id, d.sequence, d.project_id) for d in made) == sorted(
        [
            ("exact", event.sequence, 1),
            ("twice", event.sequence, 1),
            ("handler", event.sequence, 1),
            ("other", page.sequence, 1),
            ("neighbour", theirs.sequence, 2),
            ("handler", theirs.sequence, 2),
        ]
    )
    assert len({d.id for d in made}) == len(made)


def test_event_without_contact_is_delivered() -> None:
    rules = Rules({}, [rule("all", "*")])
    made = plan(claimed(contact_id=PERSON), rules=rules)
    assert [d.subscriber_id for d in made.deliveries] == ["all"]
    assert made.done[0].contact_id is None


def test_a_handler_of_all_projects_gets_those_without_webhooks_too() -> None:
    rules = Rules({}, [rule("handler", "*", project_id=0), rule("webhook", "*", project_id=9)])
    assert list(rules.subscribers(1, "order.completed")) == ["handler"]
    assert sorted(rules.subscribers(9, "order.completed")) == ["handler", "webhook"]


# Marks


def test_events_are_marked_in_order_with_their_attempts() -> None:
    batch = [claimed(external_id=f"x{n}") for n in range(3)]
    done = plan(*batch).done
    assert [(d.sequence, d.project_id, d.attempt) for d in done] == [
        (c.sequence, 1, 3) for c in batch
    ]


def test_an_empty_batch_is_an_empty_plan() -> None:
    assert plan() == BatchPlan()


# Contacts


def test_a_later_event_of_a_batch_sees_what_an_earlier_one_decided() -> None:
    made = plan(
        claimed(external_id="x"),
        claimed(external_id="x", email="a@b.example", email_original="A@b.example"),
        claimed(email="a@b.example"),
        claimed(external_id="y", email="a@b.example"),
    )
    assert list(made.contacts_created.values()) == [
        ContactCreated("id1", 1, "x", "a@b.example", "A@b.example", START_US, START_US),
        ContactCreated("id2", 1, "y", None, None, START_US),
    ]
    assert not made.contacts_changed
    assert [d.contact_id for d in made.done] == ["id1", "id1", "id1", "id2"]
    (conflict,) = made.conflicts
    assert (conflict.contact_id, conflict.other_contact_id, conflict.field) == (
        *("id2", "id1"),
        "email",
    )


def test_the_first_identifier_that_was_sent_decides() -> None:
    known = [
        ContactIds(PERSON, "x", None),
        ContactIds("by-external-id", "y", "y@b.example"),
        ContactIds("by-email", None, "z@b.example"),
    ]
    events = [
        claimed(contact_id=PERSON, external_id="y", email="z@b.example"),
        claimed(external_id="y", email="z@b.example"),
        claimed(email="z@b.example"),
    ]
    made = plan(*events, known=known)
    assert [d.contact_id for d in made.done] == [PERSON, "by-external-id", "by-email"]
    assert [(c.field, c.other_contact_id) for c in made.conflicts] == [
        ("external_id", "by-external-id"),
        ("email", "by-email"),
        ("email", "by-email"),
    ]
    assert not made.contacts_created
    assert not made.contacts_changed
    assert not made.system_events


def test_a_field_that_holds_another_value_is_left_alone() -> None:
    made = plan(
        claimed(external_id="x", email="new@b.example"),
        known=[ContactIds(PERSON, "x", "old@b.example")],
    )
    assert not made.contacts_changed
    assert not made.conflicts
    assert not made.system_events


def test_unknown_contact_id_creates_no_contact() -> None:
    made = plan(claimed(contact_id=PERSON, external_id="x", email="a@b.example"))
    assert not made.contacts_created
    assert made.done[0].resolution == "contact_not_found contact_id"


def test_policy_off_creates_no_contact() -> None:
    rules = Rules({1: Policies(create_contacts=False)}, ())
    mine, theirs = claimed(external_id="x"), claimed(project_id=2, external_id="x")
    made = plan(mine, theirs, rules=rules)
    assert [c.project_id for c in made.contacts_created.values()] == [2]
    assert made.done[0].resolution.split()[0] == "creation_off"


# System events


def test_created_contact_emits_one_event() -> None:
    made = plan(claimed(external_id="x", email="a@b.example"), claimed(external_id="x"))
    (told,) = made.system_events
    assert (told.project_id, told.event) == (1, "sendrealm.contact.created")
    assert json.loads(told.payload) == {"contact_id": "id1", "source": "event"}
    assert told.contact_id == "id1"
    assert told.lane == lane_of(1, IdentityType.CONTACT_ID, "id1")


def test_filled_contact_emits_its_changes() -> None:
    made = plan(
        claimed(contact_id=PERSON, external_id='"x"\\', email="ü@b.example"),
        known=[ContactIds(PERSON, None, None)],
    )
    (told,) = made.system_events
    assert told.event == "sendrealm.contact.updated"
    assert json.loads(told.payload) == {
        "contact_id": PERSON,
        "source": "event",
        "changes": {
            "external_id": {"from": None, "to": '"x"\\'},
            "email": {"from": None, "to": "ü@b.example"},
        },
    }


def test_ids_are_random_uuids() -> None:
    ids = {random_uuid() for _ in range(1000)}
    assert len(ids) == 1000
    for text in ids:
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant, str(parsed)) == (4, uuid.RFC_4122, text)
