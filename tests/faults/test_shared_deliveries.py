"""Two workers deliver to one webhook; one is killed with attempts in progress."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.domain.timestamps import now_us
from tests.delivery.receiver import Behaviour, Exchange, Receiver, answers, receiver
from tests.support.deliveries import Queue
from tests.support.places import PostgresPlace
from tests.support.server import HEADRACE, clean_environment
from tests.support.session import StoreSession
from tests.support.waiting import wait_until

EVENTS = 400
ANSWERED_BEFORE_THE_KILL = 100
#: More than one worker's concurrent attempts for one subscriber, so both have some.
HELD_BACK = 10
STOP_SECONDS_MAX = 15.0
_OWNERS = "SELECT DISTINCT owner FROM lanes WHERE owner IS NOT NULL ORDER BY owner"
_LOST = (
    "SELECT id FROM deliveries AS d JOIN delivery_attempts AS a ON a.delivery_number = d.number "
    "AND a.lane = d.lane WHERE a.cause = 'worker_lost'"
)
_ON_THE_WAY = "SELECT id FROM deliveries WHERE state = 1 AND owner = ?"


class Gate:
    """Responds to the first few, then holds its responses back until it is opened."""

    def __init__(self) -> None:
        self.held = 0
        self.opened = asyncio.Event()
        self._answered = 0

    def behaviour(self) -> Behaviour:
        answer = answers(204, b"")

        async def behave(exchange: Exchange) -> None:
            if self._answered >= ANSWERED_BEFORE_THE_KILL and not self.opened.is_set():
                self.held += 1
                await self.opened.wait()
            self._answered += 1
            await answer(exchange)

        return behave


@pytest.fixture
def place(tmp_path: Path) -> Iterator[PostgresPlace]:
    made = PostgresPlace(tmp_path)
    yield made
    made.remove()


@pytest.fixture
def workers(place: PostgresPlace, tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    environment = clean_environment({"HEADRACE_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8"})
    with (tmp_path / "workers.log").open("wb") as log:
        running = [
            subprocess.Popen(
                [*HEADRACE, "worker", "--store", place.url],
                env=environment,
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


def wait_for_both(place: PostgresPlace) -> None:
    def shared() -> bool:
        all_held = place.run_sql("SELECT count(*) FROM lanes WHERE owner IS NULL") == [(0,)]
        return all_held and len(place.run_sql(_OWNERS)) == 2

    wait_until(shared, "both workers have lanes", 30.0)


def kill(place: PostgresPlace, process: subprocess.Popen[bytes]) -> set[str]:
    """End a worker like a power cut; returns the ids of its attempts in progress.

    Read before, as the other worker takes over within a moment; the endpoint holds responses back
    meanwhile, so no attempt ends.
    """
    (owner,) = (name for (name,) in place.run_sql(_OWNERS) if f":{process.pid}:" in name)
    held = {name for (name,) in place.run_sql(_ON_THE_WAY, owner)}
    process.kill()
    process.wait()
    return held


async def deliver_with_a_kill(
    place: PostgresPlace, workers: list[subprocess.Popen[bytes]], queue: Queue
) -> tuple[Receiver, set[str], set[str]]:
    """The receiver, ids of all deliveries, and ids of those in progress at the kill."""
    gate = Gate()
    async with receiver(gate.behaviour()) as endpoint:

        def fill() -> set[str]:
            queue.clock.now_us = now_us()
            # It subscribes to no real events: its deliveries are created here.
            webhook = queue.webhook(queue.project(), url=endpoint.url, events=("no.such",))
            return {*queue.deliver(webhook.id, webhook.project_id, EVENTS, people=EVENTS)}

        await asyncio.to_thread(wait_for_both, place)
        ids = await asyncio.to_thread(fill)
        await asyncio.to_thread(wait_until, lambda: gate.held >= HELD_BACK, "both deliver")
        lost = await asyncio.to_thread(kill, place, workers[0])
        gate.opened.set()
        delivered = "SELECT count(*) FROM deliveries WHERE state = 3"
        await asyncio.to_thread(
            wait_until,
            lambda: place.run_sql(delivered) == [(EVENTS,)],
            "everything is delivered",
            40.0,
        )
        return endpoint, ids, lost


def test_a_killed_worker_loses_nothing(
    place: PostgresPlace, workers: list[subprocess.Popen[bytes]]
) -> None:
    session = StoreSession(place)
    queue = Queue(session, lanes=False)
    try:
        endpoint, ids, lost = asyncio.run(deliver_with_a_kill(place, workers, queue))
    finally:
        session.close()
    workers[1].send_signal(signal.SIGTERM)
    assert workers[1].wait(STOP_SECONDS_MAX) == 0
    # By the id that every attempt of a delivery has in common.
    ledger = Counter(request.headers["webhook-id"] for request in endpoint.requests)
    assert set(ledger) == ids
    twice = {name for name, count in ledger.items() if count > 1}
    crashed = {name for (name,) in place.run_sql(_LOST)}
    assert lost
    assert lost <= crashed
    assert twice <= crashed
    assert place.run_sql("SELECT count(*) FROM dead_letters") == [(0,)]
