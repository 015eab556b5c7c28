"""Idempotency keys in two levels: which are taken, whatever moves them meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from headrace.domain.events.event import FirstCopy, NewEvent
from headrace.domain.events.identity import idempotency_hash, lane_of_key
from headrace.store.contract.commits import Pending
from headrace.store.engine.dialect import Statement
from headrace.store.engine.postgres.database import prepare_connection
from headrace.store.events.event_removal import REMOVE_KEYS
from headrace.store.events.events import FIND_KEY
from headrace.store.postgres import PostgresStore
from headrace.store.queues.postgres import keys as key_levels
from headrace.store.queues.postgres.accept import insert_batch
from headrace.store.queues.postgres.accept_at_once import insert_at_once
from headrace.store.queues.postgres.keys import MOVE_SLICE, KeyMover
from tests.support.events import new_event
from tests.support.places import PostgresPlace
from tests.support.session import StoreSession
from tests.support.waiting import wait_until

NAMES = [f"order-{number}" for number in range(12)]
SOME = st.lists(st.sampled_from(NAMES), min_size=1, max_size=5)
KEY = "order-1"
HASH = idempotency_hash(1, KEY)
LANE = lane_of_key(HASH)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[PostgresPlace]:
    made = PostgresPlace(tmp_path)
    yield made
    made.remove()


@pytest.fixture
def session(place: PostgresPlace) -> Iterator[StoreSession]:
    opened = StoreSession(place)
    yield opened
    opened.close()


def mover(session: StoreSession, recent_max: int = 1, slice_keys: int = 2) -> KeyMover:
    store = session.store
    assert isinstance(store, PostgresStore)
    return KeyMover(store._database, recent_max, slice_keys)


def move_all(session: StoreSession) -> None:
    moving = mover(session)
    while session.run(moving.move_slice()):
        pass


def levels(place: PostgresPlace) -> tuple[int, int]:
    """How many keys are in each."""
    [counts] = place.run_sql(
        "SELECT (SELECT count(*) FROM recent_keys)::int, (SELECT count(*) FROM sorted_keys)::int"
    )
    return counts[0], counts[1]


class KeyLife(RuleBasedStateMachine):
    """Accepts, removes and moves in any order; a key is taken while its event is stored."""

    def __init__(self) -> None:
        super().__init__()
        self.place = PostgresPlace()
        self.loop = asyncio.new_event_loop()
        self.connection = self.run(asyncpg.connect(self.place.url))
        self.run(prepare_connection(self.connection))
        self.taken: dict[str, int] = {}
        self.position = (0, bytes(16))

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.run(self.connection.close())
        self.loop.close()
        self.place.remove()

    @rule(names=SOME, at_once=st.booleans())
    def accept(self, names: list[str], at_once: bool) -> None:
        batch = [Pending(new_event(key=name), lambda _: None) for name in names]
        for pending, new in zip(batch, self.run(self._accept(batch, at_once)), strict=True):
            name = pending.event.idempotency_key
            assert name is not None
            assert new == (name not in self.taken)
            if new:
                self.taken[name] = pending.event.sequence

    async def _accept(self, batch: list[Pending], at_once: bool) -> list[bool]:
        repeats = batch
        if at_once:
            repeats, _ = await insert_at_once(self.connection, batch, 0)
        copies: dict[int, FirstCopy | None] = {}
        if repeats:
            async with self.connection.transaction():
                outcomes, _ = await insert_batch(self.connection, repeats, 0)
            for pending, outcome in zip(repeats, outcomes, strict=True):
                copies[pending.event.sequence] = outcome
        return [copies.get(pending.event.sequence) is None for pending in batch]

    @rule(names=SOME, with_keys=st.booleans())
    def remove(self, names: list[str], with_keys: bool) -> None:
        """Row by row with the keys, or as when a partition is dropped, whose keys leave later."""
        for name in set(names) & self.taken.keys():
            sequence = self.taken.pop(name)
            self.run(self.connection.execute("DELETE FROM events WHERE sequence = $1", sequence))
            hashed = idempotency_hash(1, name)
            for statement in REMOVE_KEYS if with_keys else ():
                values = ([lane_of_key(hashed)], [hashed], [sequence])
                self.run(self.connection.execute(statement.postgres, *values))

    @rule(slices=st.integers(1, 300))
    def move(self, slices: int) -> None:
        for _ in range(slices):
            lane, after = self.position
            moved = self.run(self.connection.fetch(MOVE_SLICE, lane, after, 1))
            self.position = (lane, moved[0][0]) if moved else ((lane + 1) % 256, bytes(16))

    @invariant()
    def every_taken_key_is_found(self) -> None:
        for name in NAMES:
            hashed = idempotency_hash(1, name)
            found = self.run(self._find(FIND_KEY, hashed, lane_of_key(hashed)))
            if name in self.taken:
                assert found is not None
                assert found[1] == self.taken[name]

    async def _find(self, statement: Statement, *values: Any) -> Any:
        return await self.connection.fetchrow(statement.postgres, *values)


TestKeyLife = KeyLife.TestCase
TestKeyLife.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def test_a_key_is_taken_in_either_level(session: StoreSession, place: PostgresPlace) -> None:
    events = [new_event(key=name) for name in NAMES]
    copies = [
        FirstCopy(event.id, event.event, event.occurred_us, mismatch=False) for event in events
    ]
    assert session.accept(*events) == [None] * len(NAMES)
    assert levels(place) == (12, 0)
    move_all(session)
    assert levels(place) == (0, 12)
    assert session.accept(*(new_event(key=name) for name in NAMES)) == copies
    assert levels(place) == (0, 12)
    found = session.run(session.store.events.get_by_key(1, KEY))
    assert found is not None
    assert found.id == events[1].id


def test_new_events_beside_moved_keys_are_stored(session: StoreSession) -> None:
    """One statement takes the new ones, though others of the batch are known."""
    first = new_event(key=KEY)
    session.accept(first)
    move_all(session)
    other, bare = new_event(key="other"), new_event(key=None)
    copy = FirstCopy(first.id, first.event, first.occurred_us, mismatch=False)
    assert session.accept(new_event(key=KEY), other, bare) == [copy, None, None]
    assert sorted(session.stored_ids()) == sorted([first.id, other.id, bare.id])


async def _connect(place: PostgresPlace) -> Any:
    connection = await asyncpg.connect(place.url)
    await prepare_connection(connection)
    return connection


async def _waits(place: PostgresPlace) -> None:
    sql = (
        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
        "AND datname = current_database()"
    )
    await asyncio.to_thread(wait_until, lambda: bool(place.run_sql(sql)), "a statement waits")


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_a_batch_that_began_before_a_move_sees_the_moved_key(
    session: StoreSession, place: PostgresPlace, at_once: bool, ends: str
) -> None:
    """Its statement waits for the row that is being moved, with a snapshot from before."""
    first = new_event(key=KEY)
    session.accept(first)

    async def work() -> None:
        moving, accepting = await _connect(place), await _connect(place)
        try:
            transaction = moving.transaction()
            await transaction.start()
            assert len(await moving.fetch(MOVE_SLICE, LANE, bytes(16), 10)) == 1
            batch = [Pending(new_event(key=KEY), lambda _: None)]

            async def accept() -> bool:
                if at_once:
                    repeats, _ = await insert_at_once(accepting, batch, 0)
                    return not repeats
                async with accepting.transaction():
                    outcomes, _ = await insert_batch(accepting, batch, 0)
                return outcomes == [None]

            accepted = asyncio.ensure_future(accept())
            await _waits(place)
            await getattr(transaction, ends)()
            assert not await accepted
        finally:
            await moving.close()
            await accepting.close()

    asyncio.run(work())
    assert session.stored_ids() == [first.id]
    assert levels(place) == ((0, 1) if ends == "commit" else (1, 0))


def test_keys_that_a_batch_has_locked_are_left_to_the_next_pass(
    session: StoreSession, place: PostgresPlace
) -> None:
    session.accept(*(new_event(key=name) for name in NAMES))

    async def work() -> None:
        holding = await _connect(place)
        try:
            async with holding.transaction():
                await key_levels.hold_keys(holding, [HASH])
                async with asyncio.timeout(20):
                    await asyncio.to_thread(move_all, session)
        finally:
            await holding.close()

    asyncio.run(work())
    assert levels(place) == (1, 11)
    move_all(session)
    assert levels(place) == (0, 12)


def test_a_pass_goes_on_in_another_process(session: StoreSession, place: PostgresPlace) -> None:
    session.accept(*(new_event(key=name) for name in NAMES))
    for _ in range(100):
        assert session.run(mover(session).move_slice())
    position = place.run_sql("SELECT value FROM meta WHERE name = 'keys_moved_to'")
    assert int(position[0][0].split()[0]) > 50
    steps = 0
    while session.run(mover(session).move_slice()):
        steps += 1
    assert steps < 256 + 2 * len(NAMES) - 100
    assert levels(place) == (0, 12)
    assert place.run_sql("SELECT value FROM meta WHERE name = 'keys_moved_to'") == []


#: Moves all keys of a store in slices of two.
_MOVE_ALL = """
import asyncio, sys
from headrace.store.engine.postgres.database import PoolOptions
from headrace.store.postgres import open_store
from headrace.store.queues.postgres.keys import KeyMover

async def move():
    store = await open_store(sys.argv[1], PoolOptions())
    mover = KeyMover(store._database, 1, 2)
    while await mover.move_slice():
        pass
    await store.close()

asyncio.run(move())
"""


@pytest.mark.parametrize("nth", [1, 60, 150, 250])
def test_a_kill_inside_a_move_loses_and_doubles_no_key(
    session: StoreSession, place: PostgresPlace, nth: int
) -> None:
    events = [new_event(key=f"k{number}") for number in range(60)]
    copies = [
        FirstCopy(event.id, event.event, event.occurred_us, mismatch=False) for event in events
    ]
    session.accept(*events)
    command = [sys.executable, "-c", _MOVE_ALL, place.url]
    armed = os.environ | {"HEADRACE_FAIL_POINT": f"inside_move_of_keys:kill:{nth}"}
    assert subprocess.run(command, env=armed, check=False).returncode == -signal.SIGKILL
    again = [new_event(key=f"k{number}") for number in range(60)]
    assert session.accept(*again) == copies
    assert sum(levels(place)) == 60
    move_all(session)
    assert levels(place) == (0, 60)
    assert session.accept(*again) == copies
    assert len(session.stored_ids()) == 60


def test_a_pass_begins_at_the_limit(session: StoreSession, place: PostgresPlace) -> None:
    session.accept(*(new_event(key=name) for name in NAMES))
    session.run(mover(session, recent_max=13).step())
    assert levels(place) == (12, 0)
    session.run(mover(session, recent_max=12).step())
    # A step may end before it comes to a lane with keys.
    [(under_way,)] = place.run_sql("SELECT count(*) FROM meta WHERE name = 'keys_moved_to'")
    assert under_way or levels(place)[0] < 12


def test_two_processes_do_not_move_at_once(session: StoreSession, place: PostgresPlace) -> None:
    session.accept(*(new_event(key=name) for name in NAMES))

    async def work() -> None:
        locking = await _connect(place)
        try:
            async with locking.transaction():
                await locking.execute(key_levels.LOCK_MOVE)
                assert not await asyncio.to_thread(session.run, mover(session).move_slice())
        finally:
            await locking.close()

    asyncio.run(work())
    assert levels(place) == (12, 0)


def test_one_event_for_a_key_sent_at_once_while_keys_move(
    session: StoreSession, place: PostgresPlace
) -> None:
    """Several servers get the same keys again and again, while they move back and forth."""
    ended = threading.Event()

    def keep_moving() -> None:
        while not ended.is_set():
            move_all(session)

    def send(number: int) -> list[bytes]:
        other = StoreSession(place)
        try:
            return [
                event.id
                for _ in range(15)
                for event, outcome in _sent(other, number)
                if outcome is None
            ]
        finally:
            other.close()

    with ThreadPoolExecutor(5) as pool:
        moving = pool.submit(keep_moving)
        try:
            stored = [each for got in pool.map(send, range(3)) for each in got]
        finally:
            ended.set()
        moving.result()
    assert sorted(stored) == sorted(session.stored_ids())
    assert len(stored) == len(NAMES)


def _sent(session: StoreSession, number: int) -> list[tuple[NewEvent, object]]:
    """Events and their outcomes."""
    rotated = NAMES[number * 4 :] + NAMES[: number * 4]
    events = [new_event(key=name) for name in rotated]
    return list(zip(events, session.accept(*events), strict=True))
