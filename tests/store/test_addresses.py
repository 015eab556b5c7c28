"""Events change the addresses of contacts, also when another contact had the address."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.domain.access.policies import Policies
from headrace.domain.contacts.contact import Contact
from headrace.pipeline.processing.plan import BatchPlanner, Rules
from headrace.store.contract.contacts import ContactFilter
from tests.support.events import START_US, new_event
from tests.support.queue import Queue
from tests.support.session import StoreSession
from tests.support.stored_contacts import create_contact, system_events

OLD, NEW = "old@b.example", "new@b.example"
LATER_US = START_US + 1_000_000


class People:
    """A store with events that are processed by the real planner."""

    def __init__(self, session: StoreSession) -> None:
        self.session = session
        self.queue = Queue(session)
        self.planner = BatchPlanner(Rules({1: Policies()}, ()))

    def send(self, *events: tuple[str | None, str | None, dict[str, Any]]) -> None:
        """Accept `(external id, address, $set)`, and process all in one batch."""
        for external_id, email, sets in events:
            payload = json.dumps({"$set": sets})
            self.accept(external_id=external_id, email=email, payload=payload)
        self.process()

    def accept(self, **changes: Any) -> None:
        """Accept an event of the later time."""
        times = {"occurred_us": LATER_US, "received_us": LATER_US}
        self.queue.accept(new_event(**times | changes))

    def process(self) -> None:
        while batch := self.queue.claim():
            self.queue.process(batch, self.planner)

    def get(self, **wanted: Any) -> Contact | None:
        """The contact that an identifier leads to."""
        store = self.session.store
        page = self.session.run(
            store.contacts.list(1, ContactFilter(**wanted), before=None, limit=2)
        )
        assert len(page.contacts) < 2
        return page.contacts[0] if page.contacts else None


@pytest.fixture
def people(session: StoreSession) -> People:
    return People(session)


def test_the_new_address_leads_to_the_contact_and_the_old_one_is_free(people: People) -> None:
    contact = create_contact(people.session, external_id="x", email=OLD)
    people.send(("x", None, {"email": "New@B.example", "plan": "pro"}))

    found = people.get(email=NEW)
    assert found is not None
    assert (found.id, found.email_original) == (contact.id, "New@B.example")
    assert (found.properties, found.email_us) == ({"plan": "pro"}, LATER_US)
    assert found.updated_us > contact.updated_us
    assert people.get(email=OLD) is None
    other = create_contact(people.session, email=OLD)
    assert other.id != contact.id


def test_a_new_time_alone_is_not_a_change(people: People) -> None:
    contact = create_contact(people.session, external_id="x", email=OLD)
    people.send(("x", None, {"email": OLD}))
    found = people.get(email=OLD)
    assert found is not None
    assert (found.email_us, found.updated_us) == (LATER_US, contact.updated_us)


def test_addresses_move_between_contacts_within_a_batch(people: People) -> None:
    first = create_contact(people.session, external_id="x", email=OLD)
    second = create_contact(people.session, external_id="y", email=NEW)
    people.send(
        ("x", None, {"email": "else@b.example"}),
        ("y", None, {"email": OLD}),
        ("x", None, {"email": NEW}),
        ("z", None, {"email": "else@b.example"}),
    )
    found = [people.get(email=email) for email in (OLD, NEW, "else@b.example")]
    assert [each.external_id if each else None for each in found] == ["y", "x", "z"]
    assert [each.id for each in found[:2] if each] == [second.id, first.id]


def test_a_cleared_address_is_free(people: People) -> None:
    create_contact(people.session, external_id="x", email=OLD)
    people.send(("x", None, {"email": None}), ("y", OLD, {}))
    left, owner = people.get(external_id="x"), people.get(email=OLD)
    assert left is not None
    assert owner is not None
    assert (left.email, owner.external_id) == (None, "y")


def test_an_alias_becomes_the_contacts_own(people: People) -> None:
    own = create_contact(people.session, external_id="x", email=OLD)
    other = create_contact(people.session, external_id="y", email=NEW)
    merges = people.session.store.merges
    people.session.run(merges.merge(1, own.id, other.id, LATER_US, actor="tester"))

    people.send(("x", None, {"email": NEW}))

    found = people.get(email=NEW)
    assert found is not None
    assert (found.id, found.email) == (own.id, NEW)
    assert people.get(email=OLD) is None
    rows = people.session.place.run_sql(
        "SELECT alias FROM contact_identifiers WHERE value = ?", NEW
    )
    assert [bool(row[0]) for row in rows] == [False]


def test_a_released_alias_resolves_to_nothing(people: People) -> None:
    own = create_contact(people.session, external_id="x", email=OLD)
    other = create_contact(people.session, external_id="y", email=NEW)
    merges = people.session.store.merges
    people.session.run(merges.merge(1, own.id, other.id, LATER_US, actor="tester"))
    people.send(("x", None, {"email": NEW}), ("x", None, {"email": "else@b.example"}))
    assert people.get(email=NEW) is None


def test_events_have_addresses_as_given(people: People) -> None:
    """Both when filled by an event and when set by a payload."""
    create_contact(people.session, external_id="x")
    people.accept(external_id="x", email=OLD, email_original="Old@B.example")
    people.process()
    people.send(("x", None, {"email": "New@B.example"}))
    changes = [
        payload["changes"]
        for _, payload in system_events(people.session, "sendrealm.contact.updated")
    ]
    assert changes == [
        {"email": {"from": None, "to": "Old@B.example"}},
        {"email": {"from": "Old@B.example", "to": "New@B.example"}},
    ]


def test_an_external_id_joins_the_contact_of_the_address(people: People) -> None:
    contact = create_contact(people.session, email=OLD)
    people.send(("x", OLD, {}))
    found = people.get(external_id="x")
    assert found is not None
    assert (found.id, found.external_id_us) == (contact.id, LATER_US)


def test_fill_after_a_creation_has_the_time_of_its_own_event(people: People) -> None:
    early = LATER_US - 500
    people.accept(external_id="x", occurred_us=early)
    people.accept(external_id="x", email=OLD)
    people.process()
    found = people.get(external_id="x")
    assert found is not None
    assert (found.external_id_us, found.email_us) == (early, LATER_US)
