"""System events are in the order of the changes they describe."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from headrace.domain.contacts.audiences import AudienceFields
from headrace.domain.contacts.contact import ContactWrite
from headrace.domain.ids import SYSTEM_COUNTER, received_us_of, system_sequences_of
from tests.support.events import START_US, new_event
from tests.support.places import SqlitePlace
from tests.support.session import StoreSession
from tests.support.stored_contacts import create_contact, system_events

TASKS = 8
CHANGES = 6
HOUR_US = 3_600_000_000


def chain(session: StoreSession) -> list[tuple[Any, Any]]:
    """From and to of each change of the property `n`, in the order of the events."""
    told = system_events(session, "sendrealm.contact.updated")
    steps = [payload["changes"]["properties.n"] for _, payload in told]
    return [(step["from"], step["to"]) for step in steps]


def check_chain(session: StoreSession, last: Any) -> None:
    """Each change starts from the value of the one before."""
    value = None
    for before, after in chain(session):
        assert before == value
        value = after
    assert value == last


def test_a_time_read_before_the_lock_does_not_order_them(session: StoreSession) -> None:
    """Each writer has read the clock before faster ones wrote."""
    contacts = session.store.contacts
    now_us = session.store.clock_us()
    contact = create_contact(session, external_id="x")
    for number in range(TASKS):
        write = ContactWrite(properties={"n": number})
        at_us = now_us - number * 1000
        session.run(contacts.update(1, contact.id, write, at_us, source="api"))
    names = [name for name, _ in system_events(session, "sendrealm.contact.")]
    assert names[0] == "sendrealm.contact.created"
    check_chain(session, TASKS - 1)


def test_events_of_concurrent_changes_are_in_order(session: StoreSession) -> None:
    contacts = session.store.contacts
    last: list[Any] = []

    async def change(task: int) -> None:
        rng = random.Random(task)
        for number in range(CHANGES):
            now_us = session.store.clock_us() - rng.randrange(5) * 1000
            write = ContactWrite(external_id="x", properties={"n": f"{task}.{number}"})
            held, _ = await contacts.upsert(1, write, now_us, source="api")
            last[:] = [held.id]

    async def all_at_once() -> None:
        await asyncio.gather(*(change(task) for task in range(TASKS)))

    session.run(all_at_once())

    told = system_events(session, "sendrealm.contact.")
    assert [name for name, _ in told].index("sendrealm.contact.created") == 0
    assert len(told) == TASKS * CHANGES
    held = session.run(contacts.get(1, last[0]))
    assert held is not None
    value = chain(session)[0][0]
    for before, after in chain(session):
        assert before == value
        value = after
    assert value == held.properties["n"]


def test_a_clock_set_back_does_not_order_them(session: StoreSession) -> None:
    """Events that were accepted before the clock was set back are still older."""
    now_us = session.store.clock_us() + HOUR_US
    sequence = (now_us // 1000) << 21
    session.accept(new_event(sequence=sequence, received_us=now_us, occurred_us=now_us))
    audience = session.run(session.store.audiences.create(1, AudienceFields(name="a"), START_US))
    contact = create_contact(session, external_id="x")
    audiences = session.store.audiences
    session.run(audiences.enter(1, audience.id, [contact.id], START_US))
    rows = session.place.run_sql("SELECT sequence, event, received_us FROM events ORDER BY 1")
    names = [name.rpartition(".")[2] for _, name, _ in rows if name.startswith("sendrealm.")]
    assert names == ["created", "entered"]
    if isinstance(session.place, SqlitePlace):
        # Processes on PostgreSQL use the clock of the database.
        assert rows[0][0] == sequence
        assert all(at_us == received_us_of(each) for each, _, at_us in rows[1:])


def test_full_millisecond_continues_in_the_next(session: StoreSession) -> None:
    now_us = session.store.clock_us() + HOUR_US
    start, end = system_sequences_of(now_us)
    session.accept(new_event(sequence=end - 2, received_us=now_us, occurred_us=now_us))
    contact = create_contact(session, external_id="x")
    for number in range(4):
        write = ContactWrite(properties={"n": number})
        session.run(session.store.contacts.update(1, contact.id, write, START_US, source="api"))
    rows = session.place.run_sql("SELECT sequence FROM events ORDER BY sequence")
    assert all(sequence & SYSTEM_COUNTER for (sequence,) in rows)
    assert len(rows) == 6
    check_chain(session, 3)
    if isinstance(session.place, SqlitePlace):
        assert rows[0][0] > start
        assert rows[-1][0] < system_sequences_of(now_us + 1000)[1]
