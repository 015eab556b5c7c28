"""Events of one identity keep their order, across processes and slow commits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from headrace.domain.events.event import FirstCopy, NewEvent
from headrace.domain.events.identity import IdentityType, lane_of, lane_of_key
from headrace.domain.timestamps import now_us
from headrace.store.contract.commits import Pending
from headrace.store.contract.errors import StoreError
from headrace.store.engine.postgres.database import PoolOptions, prepare_connection
from headrace.store.engine.postgres.partitions import make_ahead
from headrace.store.postgres import PostgresStore
from headrace.store.queues.postgres.accept import insert_batch
from headrace.store.queues.postgres.committer import COMMITTERS
from headrace.store.queues.postgres.queue_cursor import COMMIT_US_MAX, LATE_US, SETTLE_SECONDS
from tests.support.events import new_event
from tests.support.places import PostgresPlace
from tests.support.queue import LEADERSHIP_US, SECOND_US, mark_only, postgres_processing, sequences
from tests.support.receiver import Receiver, receiving
from tests.support.waiting import wait_until

OPTIONS = {"one statement": PoolOptions(), "transaction": PoolOptions(statements_kept=0)}
WORKER = "a"


@pytest.fixture(params=OPTIONS)
def place(request: pytest.FixtureRequest) -> Iterator[PostgresPlace]:
    made = PostgresPlace(options=OPTIONS[request.param])
    yield made
    made.remove()


def identity_of(committer: int) -> str:
    """An identity whose events belong to that committer."""
    names = (f"customer-{number}" for number in range(100))
    return next(
        name
        for name in names
        if lane_of(1, IdentityType.EXTERNAL_ID, name) % COMMITTERS == committer
    )


class Work:
    """The event queue of a single worker."""

    def __init__(self, receiver: Receiver) -> None:
        assert isinstance(receiver.store, PostgresStore)
        self.seconds = 1000.0
        clock_us = receiver.store.clock_us
        self.store = postgres_processing(receiver.store, clock_us, set(), lambda: self.seconds)

    async def processed(self) -> list[int]:
        """Process everything that can be claimed; returns it in order."""
        assert await self.store.acquire_leadership("processing", WORKER, LEADERSHIP_US) is not None
        done: list[int] = []
        while batch := await self.store.claim(WORKER, 256):
            await self.store.process(WORKER, batch, mark_only, 0, subscribers_version=0)
            done += sequences(batch)
        return done

    def bound_us(self) -> int:
        """Where the next claim begins."""
        return self.store._cursor(WORKER).bound_us(1)


@asynccontextmanager
async def connected(place: PostgresPlace) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(place.url)
    await prepare_connection(connection)
    # As the store does for its own connections.
    await make_ahead(connection, now_us())
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def held(place: PostgresPlace, event: NewEvent) -> AsyncIterator[None]:
    """Within the block, commits with the key of the event are blocked."""
    key = event.idempotency_hash
    assert key is not None
    async with connected(place) as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "INSERT INTO recent_keys VALUES ($1, $2, 0, 0)", lane_of_key(key), key
        )
        yield
        await transaction.rollback()


async def waits(place: PostgresPlace) -> None:
    """Wait until a commit waits for a key."""
    sql = (
        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
        "AND datname = current_database()"
    )
    await asyncio.to_thread(wait_until, lambda: bool(place.run_sql(sql)), "a commit waits")


async def settled(*outcomes: asyncio.Future[Any]) -> list[Any]:
    async with asyncio.timeout(20):
        return list(await asyncio.gather(*outcomes))


def run(place: PostgresPlace, work: Callable[[Receiver], Any]) -> None:
    async def opened() -> None:
        async with receiving(place) as receiver:
            await work(receiver)

    asyncio.run(opened())


# Two commits at a time


def test_a_later_event_waits_for_the_commit_of_the_one_before(place: PostgresPlace) -> None:
    """Meanwhile the other committer continues with other identities."""

    async def work(receiver: Receiver) -> None:
        queue = Work(receiver)
        held_up, other = identity_of(0), identity_of(1)
        first = receiver.event(held_up, key="held")
        async with held(place, first):
            answers = [receiver.send(first)]
            await waits(place)
            later = [receiver.event(held_up, key=key) for key in (None, "k")]
            answers += map(receiver.send, later)
            passing = receiver.event(other)
            assert await settled(receiver.send(passing)) == [None]
            assert await queue.processed() == [passing.sequence]
        assert await settled(*answers) == [None] * 3
        assert await queue.processed() == [event.sequence for event in (first, *later)]

    run(place, work)


def test_the_first_of_two_events_with_one_key_is_stored(place: PostgresPlace) -> None:
    """The second one is about an identity whose committer has nothing else to do."""

    async def work(receiver: Receiver) -> None:
        blocking = receiver.event(identity_of(0), key="held")
        first = receiver.event(identity_of(0), key="k")
        second = receiver.event(identity_of(1), key="k")
        async with held(place, blocking):
            answers = [receiver.send(blocking)]
            await waits(place)
            answers += [receiver.send(first), receiver.send(second)]
            assert await settled(receiver.send(receiver.event(identity_of(1)))) == [None]
        *new, repeat = await settled(*answers)
        assert new == [None, None]
        assert isinstance(repeat, FirstCopy)
        assert (repeat.id, repeat.mismatch) == (first.id, True)

    run(place, work)


def test_second_event_with_the_key_of_a_rejected_one_is_rejected(place: PostgresPlace) -> None:
    async def work(receiver: Receiver) -> None:
        guilty = receiver.event(identity_of(0), key="k", occurred_us=None)
        second = receiver.event(identity_of(1), key="k")
        answers = await settled(receiver.send(guilty), receiver.send(second))
        assert all(isinstance(answer, StoreError) for answer in answers)
        again = receiver.event(identity_of(1), key="k")
        assert await settled(receiver.send(again)) == [None]

    run(place, work)


# Several processes


def test_events_sent_through_one_process_after_the_other_are_in_order(
    place: PostgresPlace,
) -> None:
    """Although all sequences of one are below those of the other."""

    async def work(receiver: Receiver) -> None:
        async with receiving(place) as second:
            assert isinstance(second.store, PostgresStore)
            second.store._clock.offset_us += 5 * SECOND_US
            sent = []
            for turn in range(10):
                through = (receiver, second)[turn % 2]
                event = through.event("customer")
                sent.append(event.sequence)
                assert await settled(through.send(event)) == [None]
            assert sent != sorted(sent)
            assert await Work(receiver).processed() == sent

    run(place, work)


# The clock of the database


def test_order_survives_a_database_clock_set_back(place: PostgresPlace) -> None:
    place.run_sql("CREATE SCHEMA clock")
    place.run_sql("CREATE TABLE clock.back (seconds int)")
    place.run_sql("INSERT INTO clock.back VALUES (0)")
    for name in ("clock_timestamp", "statement_timestamp"):
        place.run_sql(
            f"CREATE FUNCTION clock.{name}() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
            f"'SELECT pg_catalog.{name}() - seconds * interval ''1 s'' FROM clock.back'"
        )
    # Takes precedence over those of the server.
    path = "clock, public, pg_catalog"
    place.run_sql(f"ALTER DATABASE {place.database} SET search_path = {path}")

    async def work(receiver: Receiver) -> None:
        events = [receiver.event(identity_of(0)) for _ in range(5)]
        for event in events:
            assert await settled(receiver.send(event)) == [None]
            place.run_sql("UPDATE clock.back SET seconds = seconds + 60")
        assert await Work(receiver).processed() == [event.sequence for event in events]

    run(place, work)


# A commit that takes long


@asynccontextmanager
async def slow_commit(
    place: PostgresPlace, event: NewEvent, age_us: int = 0
) -> AsyncIterator[None]:
    """A process stores an event whose commit ends with the block.

    Args:
        age_us: how long the commit has taken already.
    """
    async with connected(place) as connection:
        transaction = connection.transaction()
        await transaction.start()
        await insert_batch(connection, [Pending(event, lambda _: None)], 0)
        await connection.execute(
            "UPDATE event_queue SET queued_us = queued_us - $2 WHERE sequence = $1",
            event.sequence,
            age_us,
        )
        yield
        await transaction.commit()


async def look_often(queue: Work) -> Sequence[int]:
    """Claim for long enough that finished transactions are known to have ended."""
    done: list[int] = []
    for _ in range(4):
        queue.seconds += SETTLE_SECONDS
        done += await queue.processed()
    return done


@pytest.mark.parametrize("age_us", [0, 2 * LATE_US, 4 * LATE_US])
def test_event_of_a_slow_commit_is_claimed_before_later_ones(
    place: PostgresPlace, age_us: int
) -> None:
    async def work(receiver: Receiver) -> None:
        queue = Work(receiver)
        slow = receiver.event(identity_of(0))
        async with slow_commit(place, slow, age_us):
            passing = receiver.event(identity_of(1))
            assert await settled(receiver.send(passing)) == [None]
            assert await look_often(queue) == [passing.sequence]
        later = receiver.event(identity_of(0))
        assert await settled(receiver.send(later)) == [None]
        assert await queue.processed() == [slow.sequence, later.sequence]

    run(place, work)


def test_claims_begin_behind_finished_transactions(place: PostgresPlace) -> None:
    """An open transaction makes them look back further, up to a limit."""

    async def work(receiver: Receiver) -> None:
        queue = Work(receiver)
        await settled(receiver.send(receiver.event(identity_of(0))))
        [[before_us]] = place.run_sql("SELECT queued_us FROM event_queue")
        await look_often(queue)
        assert queue.bound_us() >= before_us - LATE_US
        async with slow_commit(place, new_event(project_id=2)):
            for _ in range(2):
                await settled(receiver.send(receiver.event(identity_of(0))))
                [[queued_us]] = place.run_sql("SELECT queued_us FROM event_queue")
                await look_often(queue)
                assert queue.bound_us() >= queued_us - COMMIT_US_MAX

    run(place, work)
