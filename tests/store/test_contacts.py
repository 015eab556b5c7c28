"""Contacts in the store: atomic with their system events, also under concurrent writes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from headrace.domain.contacts.contact import Contact, ContactWrite
from headrace.domain.errors import ApiError
from headrace.domain.events.event import Source
from headrace.domain.events.identity import IdentityType, lane_of
from headrace.store.contacts.contact_query import ROWS_EXAMINED_MAX
from headrace.store.contract.contacts import ContactFilter
from headrace.store.contract.errors import StoreConflictError
from tests.support.events import START_US
from tests.support.places import Place
from tests.support.session import StoreSession
from tests.support.stored_contacts import fill_contacts

ABSENT = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"


def create(session: StoreSession, project_id: int = 1, **fields: Any) -> Contact:
    write = ContactWrite(**fields)
    return session.run(session.store.contacts.create(project_id, write, START_US, source="handler"))


def system_events(place: Place) -> list[tuple[Any, ...]]:
    return list(
        place.run_sql(
            "SELECT event, contact_id, lane, source, received_us, payload FROM events "
            "ORDER BY sequence"
        )
    )


def test_write_and_its_event_are_atomic(session: StoreSession) -> None:
    contact = create(session, external_id="x", email="a@x.org")

    (event,) = system_events(session.place)

    lane = lane_of(1, IdentityType.EXTERNAL_ID, "x")
    payload = json.dumps({"contact_id": contact.id, "source": "handler"}, separators=(",", ":"))
    name = "sendrealm.contact.created"
    assert event == (name, contact.id, lane, Source.SYSTEM, START_US, payload)
    assert session.place.run_sql("SELECT count(*) FROM event_queue") == [(1,)]


def test_nothing_is_written_when_the_event_cannot_be(session: StoreSession) -> None:
    """The event's row is rejected; the contact must not be written alone."""
    session.place.run_sql(
        "CREATE TRIGGER no_events BEFORE INSERT ON events BEGIN SELECT raise(ABORT, 'no'); END"
        if session.place.url.startswith("sqlite")
        else "ALTER TABLE events ADD CONSTRAINT no_events CHECK (false)"
    )

    with pytest.raises(Exception, match="no"):
        create(session, external_id="x")

    assert session.place.run_sql("SELECT count(*) FROM contacts") == [(0,)]


def test_rejected_change_writes_neither(session: StoreSession) -> None:
    create(session, external_id="x")
    held = create(session, email="a@x.org", properties={"a": "x" * 16_000})
    contacts = session.store.contacts

    for write, error in (
        (ContactWrite(external_id="x", properties={"b": 1}), StoreConflictError),
        (ContactWrite(external_id="z", properties={"b": "x" * 400}), ApiError),
    ):
        with pytest.raises(error):
            session.run(contacts.update(1, held.id, write, START_US + 1, source="api"))

    assert session.run(contacts.get(1, held.id)) == held
    assert len(system_events(session.place)) == 2


def test_concurrent_upserts_create_one_contact(session: StoreSession) -> None:
    contacts = session.store.contacts

    async def work() -> list[tuple[Contact, bool]]:
        return await asyncio.gather(
            *(
                contacts.upsert(
                    1,
                    ContactWrite(external_id="x", properties={f"p{n}": n}),
                    START_US,
                    source="api",
                )
                for n in range(50)
            )
        )

    results = session.run(work())

    assert len({contact.id for contact, _ in results}) == 1
    assert sum(created for _, created in results) == 1
    held = session.run(contacts.get(1, results[0][0].id))
    assert held is not None
    assert held.properties == {f"p{n}": n for n in range(50)}
    assert len(system_events(session.place)) == 50


def test_projects_are_isolated(session: StoreSession) -> None:
    first = create(session, 1, external_id="x", email="a@x.org")
    second = create(session, 2, external_id="x", email="a@x.org")
    contacts = session.store.contacts
    write = ContactWrite(properties={"a": 1})

    assert session.run(contacts.get(2, first.id)) is None
    assert session.run(contacts.update(2, first.id, write, START_US, source="api")) is None
    assert not session.run(contacts.delete(2, first.id, START_US, source="api"))
    page = session.run(contacts.list(2, ContactFilter(), before=None, limit=10))
    assert page.contacts == [second]


def test_unknown_id_finds_no_contact(session: StoreSession) -> None:
    contacts = session.store.contacts
    assert session.run(contacts.get(1, ABSENT)) is None
    assert not session.run(contacts.delete(1, ABSENT, START_US, source="api"))
    assert system_events(session.place) == []


def test_time_never_goes_back(session: StoreSession) -> None:
    contact = create(session, external_id="x")
    write = ContactWrite(properties={"a": 1})
    updated = session.run(
        session.store.contacts.update(1, contact.id, write, START_US - 5, source="api")
    )
    assert updated is not None
    assert updated.updated_us == START_US


def test_a_rare_property_is_searched_in_bounded_steps(session: StoreSession) -> None:
    contacts = session.store.contacts
    rare = create(session, properties={"plan": "rare"})
    fill_contacts(session, ROWS_EXAMINED_MAX + 10, prefix="u")
    wanted = ContactFilter(properties=(("plan", "rare"),))

    first = session.run(contacts.list(1, wanted, before=None, limit=10))
    second = session.run(contacts.list(1, wanted, before=first.next_before, limit=10))

    assert first.contacts == []
    assert (second.contacts, second.next_before) == ([rare], None)
