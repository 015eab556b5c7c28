"""Processes are killed, paused or have a wrong clock while the others continue."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.domain.events.identity import LANES
from headrace.domain.timestamps import now_us
from tests.faults.shared import EVENTS, check, run
from tests.support.places import PostgresPlace
from tests.support.waiting import wait_until
from tests.torture.nodes import Nodes, Worker, prepare_shared
from tests.torture.processing import wait_processed
from tests.torture.rows import PostgresRows

BENT = ("-m", "tests.faults.bent")
HOUR_US = 3600 * 1_000_000
ROUNDS = 1
_ROOT = str(Path(__file__).parents[2])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[PostgresPlace]:
    made = PostgresPlace(tmp_path)
    yield made
    made.remove()


def calls(nodes: Nodes) -> Counter[str]:
    """How often the handler was called for each event."""
    return Counter(nodes.calls.read_text("ascii").split())


def delivered(place: PostgresPlace) -> bool:
    sql = "SELECT count(*) FROM deliveries WHERE state <> 3"
    return place.run_sql(sql) == [(0,)]


def test_two_of_each_killed_in_turn(place: PostgresPlace, tmp_path: Path) -> None:
    """The ledger of the clients equals the store, and the log of the handler the deliveries."""

    async def work() -> Nodes:
        nodes = Nodes(tmp_path, place.url, await prepare_shared(place.url), handlers=True)
        try:
            for _ in range(2):
                await nodes.add_api()
                await nodes.add_worker()
            nodes.send(1)
            for number in range(2 * ROUNDS):
                await nodes.acknowledged(EVENTS // 6)
                await nodes.kill_api(number % 2)
                await nodes.acknowledged(EVENTS // 6)
                await nodes.workers[number % 2].kill()
                await nodes.workers[number % 2].start()
            await nodes.finish()
            await asyncio.to_thread(wait_processed, PostgresRows(place))
            await asyncio.to_thread(wait_until, lambda: delivered(place), "all is delivered", 60.0)
            assert set(await nodes.stop()) == {0}
        finally:
            nodes.close()
        return nodes

    nodes = asyncio.run(work())
    check(place, nodes)
    called = calls(nodes)
    deliveries = place.run_sql(
        "SELECT e.id FROM deliveries d JOIN events e ON e.lane = d.lane AND e.sequence = d.sequence"
    )
    assert {event_id.hex() for (event_id,) in deliveries} == {
        name.replace("-", "") for name in called
    }
    assert len(deliveries) == len(called)
    # Only calls of a killed worker were repeated.
    again = sum(count - 1 for count in called.values())
    lost = "SELECT count(*) FROM delivery_attempts WHERE cause = 'worker_lost'"
    assert again <= place.run_sql(lost)[0][0]


def test_a_worker_that_was_paused_past_its_lease_changes_nothing(
    place: PostgresPlace, tmp_path: Path
) -> None:
    """It is paused with claimed events; the other takes them over; then it continues."""
    short = {"TEST_LEADERSHIP_SECONDS": "4", "PYTHONPATH": _ROOT}

    async def fault(nodes: Nodes) -> None:
        paused, other = nodes.workers
        os.kill(paused.process.pid, signal.SIGSTOP)
        await wait_for_lanes(place, other, LANES)
        await nodes.acknowledged(EVENTS // 3)
        os.kill(paused.process.pid, signal.SIGCONT)
        await wait_for_lanes(place, paused, LANES // 2)

    async def two_workers(nodes: Nodes) -> None:
        await nodes.add_api()
        for _ in range(2):
            await nodes.add_worker(program=BENT, environment=short)
        for worker in nodes.workers:
            await wait_for_lanes(place, worker, LANES // 2)

    run(place, tmp_path, fault, prepare=two_workers)


async def wait_for_lanes(place: PostgresPlace, worker: Worker, count: int) -> None:
    """Wait until a worker has so many lanes."""
    sql = "SELECT owner FROM lanes WHERE owner IS NOT NULL"
    mine = f":{worker.process.pid}:"

    def have() -> bool:
        return sum(mine in owner for (owner,) in place.run_sql(sql)) == count

    await asyncio.to_thread(wait_until, have, f"the worker has {count} lanes", 30.0)


@pytest.mark.parametrize("off_s", [3600, -3600])
def test_a_node_with_a_wrong_clock_changes_nothing(
    place: PostgresPlace, tmp_path: Path, off_s: int
) -> None:
    """Leases, times and the order of receipt use the clock of the database."""
    wrong = {"TEST_CLOCK_OFF_S": str(off_s), "PYTHONPATH": _ROOT}
    began_us = now_us()

    async def some_wrong(nodes: Nodes) -> None:
        await nodes.add_api()
        await nodes.add_api(program=BENT, environment=wrong)
        await nodes.add_worker()
        await nodes.add_worker(program=BENT, environment=wrong)

    async def fault(nodes: Nodes) -> None:
        await nodes.acknowledged(EVENTS)

    run(place, tmp_path, fault, prepare=some_wrong)

    lowest, highest = place.run_sql("SELECT min(received_us), max(received_us) FROM events")[0]
    assert began_us - HOUR_US // 60 < lowest <= highest < now_us() + HOUR_US // 60
    processed = place.run_sql("SELECT min(processed_us), max(processed_us) FROM event_states")[0]
    assert began_us - HOUR_US // 60 < processed[0] <= processed[1] < now_us() + HOUR_US // 60
