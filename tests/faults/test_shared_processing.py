"""Two real workers on one database; one is killed, or stopped past its lease, under load."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.domain.identity import IdentityType, lane_of
from tests.store.events import new_event
from tests.store.places import PostgresPlace
from tests.store.session import StoreSession
from tests.support.server import HEADRACE, clean_environment
from tests.support.waiting import wait_until

BATCHES = 24
BATCH = 250
PEOPLE = 400
TROUBLE_AFTER = 1500
STOP_SECONDS_MAX = 15.0
_DONE = "SELECT count(*) FROM outcomes WHERE status = 3"
#: Outcomes of customer events that are not as they must be.
_WRONG = (
    "SELECT e.sequence FROM events e LEFT JOIN outcomes o ON o.sequence = e.sequence "
    "LEFT JOIN contacts c ON c.id = o.contact_id "
    "WHERE o.status IS DISTINCT FROM 3 OR c.id IS NULL"
)
_CREATED = "SELECT contact_id FROM events WHERE event = 'sendrealm.contact.created'"
_ORDER = (
    "SELECT external_id, e.sequence, o.processed_us FROM events e "
    "JOIN outcomes o ON o.sequence = e.sequence WHERE external_id IS NOT NULL "
    "ORDER BY external_id, e.sequence"
)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[PostgresPlace]:
    made = PostgresPlace(tmp_path)
    yield made
    made.remove()


@pytest.fixture
def workers(place: PostgresPlace, tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    with (tmp_path / "workers.log").open("wb") as log:
        running = [
            subprocess.Popen(
                [*HEADRACE, "worker", "--store", place.url],
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            for _ in range(2)
        ]
        yield running
        for process in running:
            if process.poll() is None:
                process.kill()
            process.wait()


def share(place: PostgresPlace, process: subprocess.Popen[bytes]) -> int:
    """How many lanes a worker has."""
    return sum(
        f":{process.pid}:" in owner
        for (owner,) in place.run_sql("SELECT owner FROM lanes WHERE owner IS NOT NULL")
    )


async def accept(session: StoreSession) -> None:
    """Load without a pause, as a server would bring it in."""
    for batch in range(BATCHES):
        names = [f"p{(batch * BATCH + n) % PEOPLE}" for n in range(BATCH)]
        events = [
            new_event(external_id=name, lane=lane_of(1, IdentityType.EXTERNAL_ID, name))
            for name in names
        ]
        assert await session.accepted(*events) == [None] * BATCH


def processed(place: PostgresPlace) -> int:
    return int(place.run_sql(_DONE)[0][0])


def check(place: PostgresPlace) -> None:
    """Everything was processed, each event once."""
    contacts = {row[0] for row in place.run_sql("SELECT id FROM contacts")}
    assert place.run_sql(_WRONG) == []
    assert place.run_sql("SELECT count(*) FROM dead_letters") == [(0,)]
    assert len(contacts) == PEOPLE
    # A double would have told of a contact twice, or made a second one.
    assert sorted(row[0] for row in place.run_sql(_CREATED)) == sorted(contacts)
    assert place.run_sql("SELECT count(*) FROM outcomes") == [(BATCHES * BATCH + PEOPLE,)]
    last: dict[str, int] = {}
    for name, _, at_us in place.run_sql(_ORDER):
        assert last.get(name, 0) <= at_us
        last[name] = at_us


def kill(place: PostgresPlace, worker: subprocess.Popen[bytes]) -> None:
    """As a power cut would."""
    worker.kill()
    worker.wait()
    wait_until(lambda: share(place, worker) == 0, "its lanes have gone over")


def oversleep(place: PostgresPlace, worker: subprocess.Popen[bytes]) -> None:
    """Stop it for longer than its lease, of which the test takes the rest away."""
    worker.send_signal(signal.SIGSTOP)
    end = "UPDATE workers SET lease_until_us = 0 WHERE owner LIKE ?"
    wait_until(
        lambda: place.run_sql(end, f"%:{worker.pid}:%") == [] and share(place, worker) == 0,
        "its lanes have gone over",
    )
    worker.send_signal(signal.SIGCONT)


async def under_load(
    session: StoreSession,
    place: PostgresPlace,
    workers: list[subprocess.Popen[bytes]],
    trouble: Callable[[PostgresPlace, subprocess.Popen[bytes]], None],
) -> None:
    """Let both work, get one into trouble, and wait for the end."""

    async def until(found: Callable[[], bool], what: str) -> None:
        await asyncio.to_thread(wait_until, found, what, 40.0)

    await until(lambda: [share(place, one) for one in workers] == [128, 128], "both have a half")
    loading = asyncio.create_task(accept(session))
    await until(lambda: processed(place) >= TROUBLE_AFTER, "both are at work")
    await asyncio.to_thread(trouble, place, workers[0])
    await loading
    await until(lambda: processed(place) == BATCHES * BATCH + PEOPLE, "everything is processed")


@pytest.mark.parametrize("trouble", [kill, oversleep])
def test_trouble_of_one_worker_loses_and_doubles_nothing(
    place: PostgresPlace,
    workers: list[subprocess.Popen[bytes]],
    trouble: Callable[[PostgresPlace, subprocess.Popen[bytes]], None],
) -> None:
    session = StoreSession(place)
    try:
        session.run(under_load(session, place, workers, trouble))
    finally:
        session.close()
    for worker in workers:
        if worker.poll() is None:
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(STOP_SECONDS_MAX) == 0
    check(place)
    assert place.run_sql("SELECT count(*) FROM workers") == [(0,)]
    assert place.run_sql("SELECT count(*) FROM lanes WHERE owner IS NOT NULL") == [(0,)]
