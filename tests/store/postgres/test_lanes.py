"""Workers that share the queue: which lanes they hold, and what happens when they join and leave.

They run as steps of one test, not as processes; tests/faults has those.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import asyncpg
import pytest

from headrace.domain.events.event import Status
from headrace.domain.events.identity import LANES
from headrace.store.contract.errors import LeadershipLostError
from headrace.store.contract.processing import (
    BatchPlan,
    Claimed,
    FindContact,
    ProcessingFailure,
)
from headrace.store.postgres import PostgresStore
from headrace.store.queues.postgres.lanes import REASSIGNING, SAFETY_SECONDS
from tests.support.events import new_event
from tests.support.places import PostgresPlace
from tests.support.queue import LEADERSHIP_US, SECOND_US, Queue, mark_only
from tests.support.session import StoreSession
from tests.support.shared_queue import Ledger, SharingWorker, owners_of_lanes


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


@pytest.fixture
def pair(queue: Queue) -> tuple[SharingWorker, SharingWorker]:
    """Two workers, each with its half of the lanes."""
    first, second = SharingWorker(queue, "a"), SharingWorker(queue, "b")

    async def share() -> None:
        await first.renew()
        await second.renew()
        await first.renew()
        await second.renew()

    queue.session.run(share())
    return first, second


def accept_people(queue: Queue, people: int, each: int = 1) -> list[int]:
    """Events of many identities, and so of many lanes."""
    return queue.accept(
        *(new_event(external_id=f"p{person}") for _ in range(each) for person in range(people))
    )


# The fair share


def test_the_first_worker_has_all_lanes_and_the_next_its_half(queue: Queue) -> None:
    first, second = SharingWorker(queue, "a"), SharingWorker(queue, "b")

    async def scenario() -> None:
        assert await first.renew() == 1
        assert len(first.lanes()) == LANES
        # Lanes are handed over by their holder, not taken.
        assert await second.renew() is None
        assert await first.renew() == 1
        assert await second.renew() == 2

    queue.session.run(scenario())
    assert len(first.lanes()) == len(second.lanes()) == LANES // 2
    assert first.lanes() | second.lanes() == {*range(LANES)}


def test_shares_follow_the_number_of_workers(
    queue: Queue, pair: tuple[SharingWorker, SharingWorker]
) -> None:
    workers = [*pair, SharingWorker(queue, "c")]

    async def settle() -> None:
        for _ in range(2):
            for worker in workers:
                await worker.renew()

    queue.session.run(settle())
    assert owners_of_lanes(queue) == {"a": 86, "b": 86, "c": 84}
    queue.session.run(workers.pop().stop())
    queue.session.run(settle())
    assert owners_of_lanes(queue) == {"a": 128, "b": 128}


def test_epoch_changes_only_when_lanes_are_gained(
    queue: Queue, pair: tuple[SharingWorker, SharingWorker]
) -> None:
    first, second = pair
    held = first.epoch

    async def scenario() -> None:
        assert await first.renew() == held
        await second.stop()
        assert await first.renew() != held

    queue.session.run(scenario())


# Claims


def test_claims_never_overlap(queue: Queue, pair: tuple[SharingWorker, SharingWorker]) -> None:
    accepted = accept_people(queue, 200)

    async def scenario() -> list[list[int]]:
        return await asyncio.gather(*(worker.claim() for worker in pair))

    first, second = queue.session.run(scenario())
    assert first
    assert second
    assert sorted(first + second) == accepted


def test_a_worker_without_lanes_claims_nothing(queue: Queue) -> None:
    accept_people(queue, 3)
    first, second = SharingWorker(queue, "a"), SharingWorker(queue, "b")

    async def scenario() -> None:
        await first.renew()
        assert await second.renew() is None
        with pytest.raises(LeadershipLostError):
            await second.claim()

    queue.session.run(scenario())


# Handing over


def test_claims_in_lanes_handed_over_are_uncounted(queue: Queue) -> None:
    accepted = accept_people(queue, 100)
    first, second = SharingWorker(queue, "a"), SharingWorker(queue, "b")

    async def scenario() -> None:
        await first.renew()
        assert await first.claim() == accepted
        await second.renew()
        await first.renew()
        await second.renew()
        taken = await second.claim()
        assert {(c.attempt, c.crashes) for c in second.hands} == {(1, 0)}
        # Events in lost lanes are neither planned nor marked.
        assert await first.process() == len(accepted) - len(taken)
        assert await second.process() == len(taken) > 0

    queue.session.run(scenario())
    assert queue.marks("status, attempts") == [(Status.PROCESSED, 1)] * len(accepted)
    assert queue.sql("SELECT count(*) FROM processing_attempts") == [(0,)]


def test_clean_stop_releases_all_lanes(
    queue: Queue, pair: tuple[SharingWorker, SharingWorker]
) -> None:
    first, second = pair
    accepted = accept_people(queue, 100)

    async def scenario() -> None:
        held = await first.claim()
        assert await first.stop() == len(held)
        assert owners_of_lanes(queue) == {None: 128, "b": 128}
        await second.renew()
        assert await second.claim() == accepted
        assert {(c.attempt, c.crashes) for c in second.hands} == {(1, 0)}

    queue.session.run(scenario())


# Crashes


@pytest.mark.parametrize("dies_here", [True, False])
def test_lanes_of_a_dead_worker_are_taken_over(
    queue: Queue, pair: tuple[SharingWorker, SharingWorker], dies_here: bool
) -> None:
    """At once on its own machine, after its lease elsewhere."""
    first, second = pair
    accepted = accept_people(queue, 100)

    async def scenario() -> None:
        lost = await first.claim()
        held = await second.claim()
        if dies_here:
            queue.dead.add("a")
        else:
            queue.clock.now_us += LEADERSHIP_US - 1
            await second.renew()
            assert owners_of_lanes(queue) == {"a": 128, "b": 128}
            queue.clock.now_us += 1
        await second.renew()
        assert owners_of_lanes(queue) == {"b": 256}
        assert sorted(lost + held) == accepted
        crashed = queue.sql("SELECT sequence FROM event_queue WHERE crashes = 1 ORDER BY 1")
        assert [row[0] for row in crashed] == sorted(lost)
        while await second.claim():
            await second.process()

    queue.session.run(scenario())
    assert [row[0] for row in queue.marks("status")] == [Status.PROCESSED] * len(accepted)


def test_worker_paused_past_its_lease_changes_nothing(
    queue: Queue, pair: tuple[SharingWorker, SharingWorker]
) -> None:
    first, second = pair
    accept_people(queue, 100)

    async def pause() -> None:
        await first.claim()
        queue.clock.now_us += LEADERSHIP_US
        await second.renew()

    async def wake() -> None:
        with pytest.raises(LeadershipLostError):
            await first.process()
        with pytest.raises(LeadershipLostError):
            await first.claim()
        with pytest.raises(LeadershipLostError):
            await first.store.rescue("a", 100)
        failure = ProcessingFailure("ValueError", "late", 1, None)
        assert not await first.store.fail("a", first.hands[0], failure)

    queue.session.run(pause())
    before = queue.everything()
    queue.session.run(wake())
    assert queue.everything() == before
    # It starts over, like any new worker.
    assert queue.session.run(first.renew()) is None
    queue.session.run(second.renew())
    assert queue.session.run(first.renew()) is not None
    assert owners_of_lanes(queue) == {"a": 128, "b": 128}


def test_worker_stops_before_its_lease_ends(queue: Queue) -> None:
    """By its monotonic clock: it may be cut off from the database."""
    now_s = 0.0
    worker = SharingWorker(queue, "a", lambda: now_s)
    accept_people(queue, 3)

    async def scenario() -> None:
        nonlocal now_s
        await worker.renew()
        now_s = LEADERSHIP_US / SECOND_US - SAFETY_SECONDS - 0.001
        assert len(worker.lanes()) == LANES
        now_s += 0.001
        assert worker.lanes() == set()
        with pytest.raises(LeadershipLostError):
            await worker.claim()
        await worker.renew()
        assert len(await worker.claim()) == 3

    queue.session.run(scenario())


def test_lanes_are_not_taken_during_a_write(
    queue: Queue, pair: tuple[SharingWorker, SharingWorker]
) -> None:
    """A transaction that passed the fence ends before the lanes are taken over."""
    first, second = pair
    accept_people(queue, 100)
    store = queue.session.store
    assert isinstance(store, PostgresStore)

    async def scenario() -> None:
        connection = await store._database.dedicated_connection()
        try:
            async with connection.transaction():
                await first.store._lanes.fence(connection, "a")
                queue.dead.add("a")
                await second.renew()
                assert owners_of_lanes(queue) == {"a": 128, "b": 128}
        finally:
            await connection.close()
        await second.renew()
        assert owners_of_lanes(queue) == {"b": 256}

    queue.session.run(scenario())


# Everything together


class WorkerSimulation:
    """Workers that join, work, stop, crash and pause past their leases in any order."""

    def __init__(self, queue: Queue, seed: int) -> None:
        self.queue = queue
        self.rng = random.Random(seed)
        self.ledger = Ledger()
        self.names = iter(range(1000))
        self.workers: list[SharingWorker] = []
        self.accepted: list[int] = []
        #: The third over one event would make it poison.
        self.deaths = 2

    async def step(self) -> None:
        chance = self.rng.random()
        if len(self.workers) < 2 or (chance < 0.05 and len(self.workers) < 4):
            self.workers.append(SharingWorker(self.queue, f"w{next(self.names)}"))
            return
        worker = self.rng.choice(self.workers)
        if chance < 0.15:
            events = [new_event(external_id=f"p{self.rng.randrange(12)}") for _ in range(6)]
            assert await self.queue.session.accepted(*events) == [None] * 6
            self.accepted += [event.sequence for event in events]
        elif chance < 0.40:
            await worker.renew()
        elif chance < 0.44:
            await worker.stop()
            self.workers.remove(worker)
        elif chance < 0.47 and self.deaths:
            self.deaths -= 1
            self.queue.dead.add(worker.name)
            self.workers.remove(worker)
        elif chance < 0.49 and self.deaths:
            # All leases have expired.
            self.deaths -= 1
            self.queue.clock.forward(16)
        elif chance < 0.51:
            self.queue.clock.forward(1)
        else:
            await self.work(worker)

    async def work(self, worker: SharingWorker) -> None:
        """A batch, unless others hold its lanes by now."""
        if worker.epoch is None:
            return
        try:
            if not worker.hands:
                await worker.claim(self.rng.choice([1, 3, 256]))
                return
            planned: list[Claimed] = []

            def plan(mine: Sequence[Claimed], find: FindContact) -> BatchPlan:
                planned[:] = mine
                return mark_only(mine, find)

            await worker.process(plan, claim_next=self.rng.choice([0, 3]))
        except LeadershipLostError:
            worker.epoch, worker.hands = None, ()
            return
        self.ledger.note(planned)

    async def finish(self) -> None:
        last = SharingWorker(self.queue, "last")
        for worker in self.workers:
            await worker.stop()
        await last.renew()
        while await last.claim():
            batch = last.hands
            assert await last.process() == len(batch)
            self.ledger.note(batch)


@pytest.mark.parametrize("seed", range(4))
def test_each_event_is_processed_once_and_in_order_whatever_workers_do(
    queue: Queue, seed: int
) -> None:
    town = WorkerSimulation(queue, seed)

    async def scenario() -> None:
        for _ in range(250):
            await town.step()
        await town.finish()

    queue.session.run(scenario())
    done = [sequence for order in town.ledger.done.values() for sequence in order]
    assert sorted(done) == town.accepted
    assert all(order == sorted(order) for order in town.ledger.done.values())
    assert queue.sql("SELECT count(*) FROM event_queue") == [(0,)]
    assert queue.sql("SELECT count(*) FROM dead_letters") == [(0,)]


# Renewal


def test_a_renewal_that_reassigns_nothing_does_not_wait_for_one_that_does(
    queue: Queue, pair: tuple[SharingWorker, SharingWorker], place: PostgresPlace
) -> None:
    first, second = pair

    async def scenario() -> None:
        other = await asyncpg.connect(place.url)
        try:
            async with other.transaction():
                await other.execute("SELECT pg_advisory_xact_lock($1)", REASSIGNING)
                assert await first.renew() == first.epoch
                assert await second.renew() == second.epoch
        finally:
            await other.close()

    queue.session.run(scenario())


def test_a_renewal_prolongs_the_lease(
    queue: Queue, pair: tuple[SharingWorker, SharingWorker]
) -> None:
    first, second = pair

    async def scenario() -> None:
        for _ in range(3):
            queue.clock.now_us += LEADERSHIP_US // 2
            await first.renew()
            await second.renew()

    queue.session.run(scenario())
    assert owners_of_lanes(queue) == {"a": 128, "b": 128}
