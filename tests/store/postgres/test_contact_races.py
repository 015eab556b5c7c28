"""Workers and requests that write the same contacts concurrently, over real connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.domain.access.policies import Policies
from headrace.domain.contacts.contact import Contact, ContactWrite
from headrace.domain.events.event import NewEvent, Status
from headrace.domain.events.identity import IdentityType, lane_of
from headrace.pipeline.processing.plan import BatchPlanner, Rules
from headrace.store.contacts import contact_writes
from headrace.store.contract.errors import StoreConflictError
from tests.support.events import START_US, new_event
from tests.support.places import PostgresPlace
from tests.support.queue import Queue
from tests.support.session import StoreSession
from tests.support.shared_queue import SharingWorker

WORKERS = 4
PEOPLE = 40

#: Identifiers without their contact, and contacts without their identifiers.
_BROKEN = (
    "SELECT i.kind, i.value FROM contact_identifiers i LEFT JOIN contacts c ON c.id = i.contact_id "
    "WHERE CASE i.kind WHEN 'email' THEN c.email ELSE c.external_id END IS DISTINCT FROM i.value"
)
_MISSING = (
    "SELECT v.kind, v.value FROM contacts c CROSS JOIN LATERAL "
    "(VALUES ('external_id', c.external_id), ('email', c.email)) AS v (kind, value) "
    "WHERE v.value IS NOT NULL AND NOT EXISTS (SELECT 1 FROM contact_identifiers i "
    "WHERE (i.project_id, i.kind, i.value, i.contact_id) = (c.project_id, v.kind, v.value, c.id))"
)
_CREATED = (
    "SELECT contact_id FROM events WHERE event = 'sendrealm.contact.created' ORDER BY contact_id"
)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[PostgresPlace]:
    made = PostgresPlace(tmp_path)
    yield made
    made.remove()


@pytest.fixture
def queue(place: PostgresPlace) -> Iterator[Queue]:
    session = StoreSession(place)
    yield Queue(session, first_owner=None)
    session.close()


def event(**identifiers: str) -> NewEvent:
    """An event by some identifiers, in the lane of the first."""
    given: dict[str, Any] = {"external_id": None, "email": None} | identifiers
    kind = next(kind for kind in (IdentityType.EXTERNAL_ID, IdentityType.EMAIL) if given[kind])
    return new_event(lane=lane_of(1, kind, str(given[kind])), **given)


async def shared(queue: Queue) -> list[SharingWorker]:
    """Workers with a quarter of the lanes each."""
    workers = [SharingWorker(queue, f"w{n}") for n in range(WORKERS)]
    for _ in range(2):
        for worker in workers:
            await worker.renew()
    assert {len(worker.lanes()) for worker in workers} == {256 // WORKERS}
    return workers


async def drain(worker: SharingWorker, batch_max: int) -> None:
    """Process until the queue is empty; nothing may fail."""
    planner = BatchPlanner(Rules({1: Policies()}, ()))
    while await worker.claim(batch_max):
        while worker.hands:
            batch = len(worker.hands)
            assert await worker.process(planner, claim_next=batch_max) == batch


def check(queue: Queue) -> None:
    """Every event has an existing contact; each person is one contact, created once."""
    marks = queue.marks("status, contact_id")
    contacts = {row[0] for row in queue.sql("SELECT id FROM contacts")}
    assert {status for status, _ in marks} == {Status.PROCESSED}
    assert {contact for _, contact in marks} <= contacts
    assert queue.sql(_BROKEN) == []
    assert queue.sql(_MISSING) == []
    assert [row[0] for row in queue.sql(_CREATED)] == sorted(contacts)
    assert queue.sql("SELECT count(*) FROM processing_attempts") == [(0,)]


@pytest.mark.parametrize("batch_max", [1, 7, 256])
def test_workers_with_different_identifiers_of_one_person(queue: Queue, batch_max: int) -> None:
    """By external id in one lane, by address in another, by both in the first, all at once."""
    events = [
        made
        for n in range(PEOPLE)
        for made in (
            event(external_id=f"p{n}", email=f"p{n}@x.org"),
            event(email=f"p{n}@x.org"),
            event(external_id=f"p{n}"),
            event(external_id=f"q{n}", email=f"p{n}@x.org"),
        )
    ]
    random.Random(batch_max).shuffle(events)
    queue.accept(*events)

    async def scenario() -> None:
        workers = await shared(queue)
        await asyncio.gather(*(drain(worker, batch_max) for worker in workers))

    queue.session.run(scenario())
    check(queue)
    assert len(queue.marks("status")) == len(events)
    addresses = queue.sql("SELECT count(*), count(DISTINCT email) FROM contacts WHERE email <> ''")
    assert addresses == [(PEOPLE, PEOPLE)]
    names = "SELECT count(*), count(DISTINCT external_id) FROM contacts WHERE external_id <> ''"
    assert queue.sql(names) == [(2 * PEOPLE, 2 * PEOPLE)]


def test_workers_and_requests_write_the_same_people(queue: Queue) -> None:
    """Fills, upserts, and updates that take addresses of others."""
    queue.accept(*(event(external_id=f"p{n}", email=f"p{n}@x.org") for n in range(PEOPLE)))
    queue.accept(*(event(email=f"p{n}@x.org") for n in range(PEOPLE)))
    contacts = queue.session.store.contacts

    async def request(number: int) -> None:
        rng = random.Random(number)
        for _ in range(12):
            person, other = rng.randrange(PEOPLE), rng.randrange(PEOPLE)
            write = ContactWrite(external_id=f"p{person}", properties={f"r{number}": person})
            held, _ = await contacts.upsert(1, write, START_US, source="api")
            write = ContactWrite(email=f"p{other}@x.org")
            # Most of them are taken.
            with contextlib.suppress(StoreConflictError):
                await contacts.update(1, held.id, write, START_US, source="api")

    async def scenario() -> None:
        workers = await shared(queue)
        work = [drain(worker, 16) for worker in workers]
        await asyncio.gather(*work, *(request(number) for number in range(6)))

    queue.session.run(scenario())
    check(queue)


def test_workers_and_requests_move_addresses_between_contacts(queue: Queue) -> None:
    """Payloads change addresses while others fill, claim and release them."""
    rng = random.Random(7)
    events = []
    for n in range(PEOPLE):
        email, taken = (f"p{rng.randrange(PEOPLE)}@x.org" for _ in range(2))
        events += [
            event(external_id=f"p{n}", payload=json.dumps({"$set": {"email": email}})),
            event(email=f"p{n}@x.org", external_id=f"q{n}"),
            event(external_id=f"p{n}", payload=json.dumps({"$set": {"email": taken}})),
            event(email=f"p{n}@x.org", payload='{"$set": {"email": null}}'),
        ]
    queue.accept(*events)
    contacts = queue.session.store.contacts

    async def request(number: int) -> None:
        rng = random.Random(number)
        for _ in range(12):
            person, other = rng.randrange(PEOPLE), rng.randrange(PEOPLE)
            write = ContactWrite(external_id=f"p{person}", email=f"p{other}@x.org", link=True)
            with contextlib.suppress(StoreConflictError):
                await contacts.upsert(1, write, START_US, source="api")

    async def scenario() -> None:
        workers = await shared(queue)
        work = [drain(worker, 16) for worker in workers]
        await asyncio.gather(*work, *(request(number) for number in range(6)))

    queue.session.run(scenario())
    check(queue)


def test_upsert_that_loses_the_race_updates(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another writer creates the contact between its read and its write: not a conflict."""
    contacts = queue.session.store.contacts
    write = ContactWrite(external_id="p", properties={"a": 1})
    created: list[str] = []
    find = contact_writes.by_write

    async def overtaken(*args: Any) -> Contact | None:
        found = await find(*args)
        if not created:
            created.append((await contacts.create(1, write, START_US, source="api")).id)
        return found

    monkeypatch.setattr(contact_writes, "by_write", overtaken)
    held, fresh = queue.session.run(contacts.upsert(1, write, START_US, source="api"))
    assert ([held.id], fresh) == (created, False)


def test_person_that_is_deleted_repeatedly(queue: Queue) -> None:
    queue.accept(*(event(external_id="p", email=f"p{n}@x.org") for n in range(10)))
    contacts = queue.session.store.contacts
    ended = asyncio.Event()

    async def delete() -> None:
        while not ended.is_set():
            held, _ = await contacts.upsert(
                1, ContactWrite(external_id="p"), START_US, source="api"
            )
            await contacts.delete(1, held.id, START_US, source="api")

    async def scenario() -> None:
        workers = await shared(queue)
        deleting = asyncio.create_task(delete())
        try:
            await asyncio.gather(*(drain(worker, 2) for worker in workers))
        finally:
            ended.set()
            await deleting

    queue.session.run(scenario())
    assert {status for (status,) in queue.marks("status")} == {Status.PROCESSED}
    assert queue.sql(_BROKEN) == []
    assert queue.sql(_MISSING) == []
    assert queue.sql("SELECT count(*) FROM processing_attempts") == [(0,)]
