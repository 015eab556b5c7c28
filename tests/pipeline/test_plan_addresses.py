"""How the payload of an event changes its contact's address."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.domain.access.policies import LinkIdentifiers, Policies
from headrace.domain.contacts.property_times import Values
from headrace.pipeline.processing.plan import Rules
from headrace.store.contract.processing import BatchPlan, ContactIds
from tests.pipeline.test_plan import PERSON, claimed, plan
from tests.pipeline.test_plan_properties import notes, saying, told
from tests.support.events import START_US

OLD, NEW = "old@b.example", "new@b.example"


def holding(email: str | None = OLD, since: int = -9) -> ContactIds:
    """A contact that has had the address since that time."""
    return ContactIds(PERSON, "x", email, email_us=START_US + since, values=Values())


def address(made: BatchPlan) -> tuple[str | None, str | None]:
    """Normalized and original address of the changed contact."""
    after = made.contacts_changed[PERSON].after
    return after.email, after.email_original


def test_an_event_changes_the_address() -> None:
    made = plan(saying({"$set": {"email": "New@B.example", "plan": "pro"}}), known=[holding()])

    assert address(made) == (NEW, "New@B.example")
    (body,) = told(made)
    assert body["changes"] == {
        "email": {"from": OLD, "to": "New@B.example"},
        "properties.plan": {"from": None, "to": "pro"},
    }
    assert notes(made)[0]["changed"] == ["email"]
    assert made.contacts_written[PERSON].values.properties == {"plan": "pro"}


def test_null_clears_the_address() -> None:
    made = plan(saying({"$set": {"email": None}}), known=[holding()])
    assert address(made) == (None, None)
    assert told(made)[0]["changes"] == {"email": {"from": OLD, "to": None}}


def test_an_older_event_leaves_a_newer_address() -> None:
    made = plan(saying({"$set": {"email": NEW}}, at=-5), known=[holding(since=-4)])
    assert (made.contacts_changed, told(made)) == ({}, [])
    assert notes(made)[0]["kept"] == [{"field": "email", "since_us": START_US - 4}]


def test_the_same_address_again_moves_its_time() -> None:
    made = plan(saying({"$set": {"email": OLD}}), known=[holding()])
    changed = made.contacts_changed[PERSON]
    assert (changed.changed, changed.after.email_us, told(made)) == (False, START_US, [])


def test_later_of_two_simultaneous_events_wins() -> None:
    batch = [saying({"$set": {"email": f"{name}@b.example"}}) for name in "ab"]
    assert address(plan(*batch, known=[holding()]))[0] == "b@b.example"


def test_an_address_set_once_only_fills() -> None:
    first = plan(saying({"$set_once": {"email": NEW}}), known=[holding()])
    assert first.contacts_changed == {}
    assert notes(first)[0]["kept"][0]["once"]
    empty = plan(saying({"$set_once": {"email": NEW}}), known=[holding(None)])
    assert address(empty)[0] == NEW
    cleared = plan(saying({"$set_once": {"email": NEW}}), known=[holding(None, since=0)])
    assert cleared.contacts_changed == {}


def test_address_of_another_contact_is_a_conflict() -> None:
    other = ContactIds("other", "y", NEW)
    made = plan(saying({"$set": {"email": NEW, "a": 1}}), known=[holding(), other])
    assert made.contacts_changed == {}
    (conflict,) = made.conflicts
    assert (conflict.field, conflict.contact_id, conflict.other_contact_id) == (
        *("email", PERSON),
        "other",
    )
    assert notes(made)[0]["conflicts"] == [{"field": "email", "other_contact_id": "other"}]
    assert made.contacts_written[PERSON].values.properties == {"a": 1}


def test_one_conflict_is_noted_for_one_field() -> None:
    others = [ContactIds("other", "y", NEW), ContactIds("third", "z", "third@b.example")]
    event = saying({"$set": {"email": NEW}}, email="third@b.example")
    made = plan(event, known=[holding(), *others])
    assert [conflict.other_contact_id for conflict in made.conflicts] == ["third"]


def test_of_two_conflicts_in_a_payload_the_first_is_noted() -> None:
    others = [ContactIds("other", "y", NEW), ContactIds("third", "z", "third@b.example")]
    event = saying({"$set": {"email": NEW}, "$set_once": {"email": "third@b.example"}})
    made = plan(event, known=[holding(), *others])
    assert [conflict.other_contact_id for conflict in made.conflicts] == ["other"]


def test_released_address_can_be_taken() -> None:
    made = plan(
        saying({"$set": {"email": NEW}}),
        saying({"$set": {"email": OLD}}, external_id="y"),
        claimed(email=OLD),
        claimed(email=NEW),
        known=[holding()],
    )
    changed = made.contacts_changed[PERSON]
    assert (changed.before.email, changed.after.email, changed.had) == (OLD, NEW, (OLD,))
    assert [created.email for created in made.contacts_created.values()] == [OLD]
    assert [done.contact_id for done in made.done] == [PERSON, "id1", "id1", PERSON]
    assert not made.conflicts


def test_intermediate_addresses_are_released() -> None:
    batch = [saying({"$set": {"email": f"{name}@b.example"}}) for name in ("a", "b", "a", "c")]
    changed = plan(*batch, known=[holding()]).contacts_changed[PERSON]
    assert changed.had == (OLD, "a@b.example", "b@b.example", "a@b.example")
    assert changed.after.email == "c@b.example"


def test_a_created_contact_has_the_address_at_once() -> None:
    made = plan(saying({"$set": {"email": "New@B.example"}}), saying({"$set": {"email": OLD}}))
    (created,) = made.contacts_created.values()
    assert (created.email, created.email_original) == (OLD, None)
    assert [event.event.rpartition(".")[2] for event in made.system_events] == [
        *("created", "updated"),
    ]


@pytest.mark.parametrize("member", ["$set", "$set_once"])
@pytest.mark.parametrize(
    "value",
    [1, True, ["a@b.example"], {"a": 1}, "", "mike", "a@b", "x\x00@b.example", "\ud800@b.c"],
)
def test_invalid_address_is_ignored_and_never_a_property(member: str, value: Any) -> None:
    made = plan(saying({member: {"email": value, "a": 1}}), known=[holding(None)])
    assert made.contacts_changed == {}
    assert made.contacts_written[PERSON].values.properties == {"a": 1}
    (ignored,) = notes(made)[0]["ignored"]
    assert ignored[0] == f"{member}.email"
    assert "mike" not in ignored[1]


def test_a_placeholder_is_no_address() -> None:
    made = plan(saying({"$set": {"email": "info@b.example"}}), known=[holding()])
    assert made.contacts_changed == {}
    assert notes(made)[0]["placeholders"] == ["$set.email"]


def test_an_unknown_external_id_joins_the_contact_of_the_address() -> None:
    person = ContactIds(PERSON, None, OLD)
    made = plan(
        claimed(external_id="x", email=OLD), claimed(external_id="y", email=OLD), known=[person]
    )
    assert made.contacts_changed[PERSON].after.external_id == "x"
    assert [note["reason"] for note in notes(made)] == ["linked", "created"]
    assert notes(made)[0] == {
        "reason": "linked",
        "by": "email",
        "contact_id": PERSON,
        "filled": ["external_id"],
    }
    assert told(made)[0]["changes"] == {"external_id": {"from": None, "to": "x"}}
    (conflict,) = made.conflicts
    assert (conflict.field, conflict.other_contact_id) == ("email", PERSON)


def test_the_policy_keeps_an_unknown_external_id_apart() -> None:
    rules = Rules({1: Policies(link_identifiers=LinkIdentifiers.CONFLICT)}, ())
    event = claimed(external_id="x", email=OLD)
    made = plan(event, known=[ContactIds(PERSON, None, OLD)], rules=rules)
    assert notes(made)[0]["reason"] == "created"
    assert made.contacts_changed == {}
    assert len(made.conflicts) == 1


@pytest.mark.parametrize(
    "person",
    [
        ContactIds(PERSON, "other", OLD),
        # Cleared after the event happened.
        ContactIds(PERSON, None, OLD, external_id_us=START_US),
        ContactIds(PERSON, None, "info@b.example"),
    ],
)
def test_no_other_contact_is_joined(person: ContactIds) -> None:
    made = plan(claimed(external_id="x", email=person.email), known=[person])
    assert notes(made)[0]["reason"] == "created"
    assert made.contacts_changed == {}


def test_an_external_id_joins_while_no_contacts_are_created() -> None:
    rules = Rules({1: Policies(create_contacts=False)}, ())
    event = claimed(external_id="x", email=OLD)
    made = plan(event, known=[ContactIds(PERSON, None, OLD)], rules=rules)
    assert notes(made)[0]["reason"] == "linked"
