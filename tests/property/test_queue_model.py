"""The queue of accepted events against a model, for any behaviour of workers and operators.

The model is a plain table of events. After every step the store must match the model exactly; at
the end a new worker must finish every event.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headrace.domain.events.event import Status
from headrace.store.contract.dead_letters import Closing
from headrace.store.contract.errors import LeadershipLostError
from headrace.store.contract.processing import DEATHS_MAX, Claimed, wait_after_death_us
from headrace.store.contract.retention import DueEvent
from tests.support.events import new_event
from tests.support.places import SqlitePlace
from tests.support.queue import LEADERSHIP_US, Queue, sequences
from tests.support.session import StoreSession

WORKERS = 2
ANY = st.integers(0, 1_000_000)
#: What a worker does next; the numbers are limits, from one event to more than there are.
ACTIONS = st.tuples(
    st.sampled_from(["claim", "finish", "finish", "fail"]),
    st.sampled_from([1, 2, 3, 256]),
    st.sampled_from([0, 1, 2, 3, 256]),
)


class Place(Enum):
    """State of an event in the model."""

    LINE = auto()
    HELD = auto()
    WAITING = auto()
    PROCESSED = auto()
    DEAD = auto()
    #: Dead-lettered, and discarded by an operator.
    DISCARDED = auto()


FINISHED = {Place.PROCESSED, Place.DISCARDED}
STATUS = {
    Place.LINE: Status.ACCEPTED,
    Place.HELD: Status.ACCEPTED,
    Place.WAITING: Status.RETRYING,
    Place.PROCESSED: Status.PROCESSED,
    Place.DEAD: Status.DEAD_LETTERED,
    Place.DISCARDED: Status.DEAD_LETTERED,
}


@dataclass
class Modelled:
    """One accepted event."""

    sequence: int
    project_id: int
    identity: str
    received_us: int
    place: Place = Place.LINE
    #: The status before it was queued again.
    status: Status = Status.ACCEPTED
    owner: str | None = None
    attempt: int = 0
    crashes: int = 0
    due_us: int = 0
    failures: int = 0
    dead_letters: int = 0
    #: Whether others may have overtaken it because of a retry or a replay.
    stepped_out: bool = False
    #: How often it was processed; more than once would be a duplicate.
    done: int = 0

    def row(self) -> tuple[Any, ...]:
        """`(place, owner, attempt, crashes)` as the tables show them."""
        if self.place in (Place.LINE, Place.HELD):
            return ("event_queue", self.owner, self.attempt, self.crashes)
        if self.place is Place.WAITING:
            return ("event_retries", None, self.attempt, self.crashes)
        return ()


@dataclass
class Worker:
    """A worker process: the claims it believes to hold may be lost."""

    name: str
    epoch: int | None = None
    #: Epoch of leadership just acquired; the last leader's claims are not freed yet.
    taken: int | None = None
    hands: list[Claimed] = field(default_factory=list)
    #: Earlier claims, which it released or should have released.
    released: list[Claimed] = field(default_factory=list)

    def let_go(self) -> None:
        self.released += self.hands
        self.hands = []


class QueueMachine(RuleBasedStateMachine):
    """Accepting, workers that process, pause and crash, operators that replay, and time."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.session = StoreSession(SqlitePlace(Path(self._folder.name)))
        self.queue = Queue(self.session, first_owner=None)
        self.events: dict[int, Modelled] = {}
        self.removed: set[int] = set()
        self.workers: list[Worker] = []
        self.leader: tuple[str, int, int] = ("", 0, 0)
        self._names = (f"w{n}" for n in itertools.count(1))
        self._numbers = itertools.count(1)

    @initialize(counts=st.tuples(st.integers(1, 3), st.integers(0, 2)))
    def a_server_with_two_workers(self, counts: tuple[int, int]) -> None:
        for project_id, count in enumerate(counts, 1):
            self.accept(project_id, "p", count)
        self.workers = [Worker(next(self._names)) for _ in range(WORKERS)]
        self.a_worker_works(0, renews=True, steps=[("claim", 1, 0)])

    # Accepting and time

    @rule(project_id=st.integers(1, 2), identity=st.sampled_from("pq"), count=st.integers(1, 4))
    def accept(self, project_id: int, identity: str, count: int) -> None:
        now_us = self.queue.clock()
        for _ in range(count):
            sequence = ((now_us // 1000) << 21) + next(self._numbers)
            self.queue.accept(
                new_event(
                    project_id=project_id,
                    sequence=sequence,
                    external_id=identity,
                    received_us=now_us,
                )
            )
            self.events[sequence] = Modelled(sequence, project_id, identity, now_us)

    @rule(seconds=st.sampled_from([1, 4, 16, 70]))
    def time_passes(self, seconds: float) -> None:
        self.queue.clock.forward(seconds)

    # Workers

    @rule(which=ANY, how=st.sampled_from(["dies", "stops", "loses track"]))
    def a_worker_gets_into_trouble(self, which: int, how: str) -> None:
        if how == "loses track":
            self.the_store_fails_once()
            return
        worker = self.workers.pop(which % len(self.workers))
        if how == "stops":
            self._stop(worker)
        self.queue.dead.add(worker.name)
        self.workers.append(Worker(next(self._names)))

    def _stop(self, worker: Worker) -> None:
        held = self._held_by(worker.name)
        assert self.queue.release(worker.name) == len(held)
        for event in held:
            self._give_back(event)
        if self.leader[0] == worker.name:
            self.leader = ("", self.leader[1], 0)

    def acquire_leadership(self, which: int) -> bool:
        """Whether the worker has just become leader."""
        worker = self.workers[which % len(self.workers)]
        epoch = self.queue.acquire_leadership(worker.name)
        assert epoch == self._expected_epoch(worker.name)
        if epoch is None or epoch != worker.epoch:
            worker.let_go()
            worker.epoch, worker.taken = None, epoch
        return worker.taken is not None

    def free_what_is_left_over(self, which: int) -> None:
        worker = self.workers[which % len(self.workers)]
        epoch, worker.taken = worker.taken, None
        if self.leader[0] != worker.name:
            with pytest.raises(LeadershipLostError):
                self.queue.rescue(worker.name)
            return
        self._rescue(worker.name)
        worker.epoch = epoch

    def the_store_fails_once(self) -> None:
        """The worker has lost track of its claims."""
        worker = self._holder()
        if worker is not None:
            worker.let_go()
            self._rescue(worker.name)

    @precondition(lambda self: any(worker.released for worker in self.workers))
    @rule(which=ANY, retry_in_s=st.none() | st.just(1))
    def a_result_comes_too_late(self, which: int, retry_in_s: float | None) -> None:
        """The invariants check that nothing changes."""
        late = [worker for worker in self.workers if worker.released]
        worker = late[which % len(late)]
        claimed = worker.released[which % len(worker.released)]
        if self._held(worker, [claimed]):
            return
        assert not self.queue.fail(claimed, owner=worker.name, retry_in_s=retry_in_s)
        if self.leader[0] == worker.name:
            assert self.queue.process([claimed], owner=worker.name) == (0, [])
        else:
            with pytest.raises(LeadershipLostError):
                self.queue.process([claimed], owner=worker.name)

    @rule(which=ANY, renews=st.booleans(), steps=st.lists(ACTIONS, max_size=4))
    def a_worker_works(self, which: int, renews: bool, steps: list[tuple[str, int, int]]) -> None:
        """An iteration of the loop: renew leadership if it is time to, then process.

        After each step a worker may be paused while the other rules run.
        """
        worker = self.workers[which % len(self.workers)]
        if worker.taken is not None:
            self.free_what_is_left_over(which)
        elif renews or worker.epoch is None:
            took = self.acquire_leadership(which)
            if took and steps:
                self.free_what_is_left_over(which)
        for action, count, number in steps:
            if worker.epoch is None:
                return
            if action == "claim":
                self.claim(worker, count)
            elif worker.hands and action == "finish":
                self.finish(worker, count, number)
            elif worker.hands:
                self.fail(worker, [None, 0.5, 1, 60][number % 4])

    def claim(self, worker: Worker, limit: int) -> None:
        due = self._anything_due()
        if due and self.leader[0] != worker.name:
            with pytest.raises(LeadershipLostError):
                self.queue.claim(worker.name, limit)
            return
        claimed = self.queue.claim(worker.name, limit)
        assert bool(claimed) == due
        self._claimed(worker, claimed, limit)

    def finish(self, worker: Worker, count: int, claim_next: int) -> None:
        batch, rest = worker.hands[:count], worker.hands[count:]
        if self.leader[0] != worker.name:
            with pytest.raises(LeadershipLostError):
                self.queue.process(batch, owner=worker.name, claim_next=claim_next)
            worker.let_go()
            return
        held = self._held(worker, batch)
        done, claimed = self.queue.process(batch, owner=worker.name, claim_next=claim_next)
        assert done == len(held)
        for event in held:
            self._assert_in_turn(event)
            event.place, event.owner, event.done = Place.PROCESSED, None, event.done + 1
        worker.hands = rest
        worker.released += batch
        self._claimed(worker, claimed, claim_next)

    def fail(self, worker: Worker, retry_in_s: float | None) -> None:
        claimed = worker.hands.pop(0)
        worker.released.append(claimed)
        held = self._held(worker, [claimed]) if self.leader[0] == worker.name else []
        assert self.queue.fail(claimed, owner=worker.name, retry_in_s=retry_in_s) == bool(held)
        for event in held:
            event.owner, event.failures, event.stepped_out = None, event.failures + 1, True
            if retry_in_s is None:
                self._die(event)
            else:
                event.place, event.status = Place.WAITING, Status.RETRYING
                event.due_us = self.queue.clock() + round(retry_in_s * 1_000_000)

    # Operators and retention

    @precondition(lambda self: self._in(Place.DEAD))
    @rule(which=ANY, replay=st.booleans())
    def close_a_dead_letter(self, which: int, replay: bool) -> None:
        dead = self._in(Place.DEAD)
        event = dead[which % len(dead)]
        store, now_us = self.session.store.dead_letters, self.queue.clock()
        ids = self._open_dead_letters(event.sequence)
        assert len(ids) == 1
        for expected in (Closing.DONE, Closing.CLOSED_BEFORE):
            closed = self.session.run(
                store.replay(event.project_id, ids[0], now_us, actor="test")
                if replay
                else store.discard(event.project_id, ids[0], "test", now_us, actor="test")
            )
            assert closed.closing is expected
        if replay:
            event.place, event.status = Place.LINE, Status.ACCEPTED
            event.attempt, event.crashes, event.stepped_out = 0, 0, True
        else:
            event.place = Place.DISCARDED

    @precondition(lambda self: self._in(Place.PROCESSED, Place.DISCARDED, Place.DEAD))
    @rule(project_id=st.integers(1, 2), age_s=st.sampled_from([0, 10, 60]))
    def retention_sweeps(self, project_id: int, age_s: int) -> None:
        store, now_us = self.session.store.retention, self.queue.clock()
        before_us = now_us - age_s * 1_000_000 + 1
        page = self.session.run(store.find_due(project_id, before_us, now_us, 0, 1000))
        found = [event.sequence for event in page.due]
        old = {
            e.sequence
            for e in self.events.values()
            if e.project_id == project_id and e.received_us < before_us and e.place in FINISHED
        }
        assert set(found) == old
        # An event found due earlier may be active again.
        named = [
            DueEvent(0, e.sequence, 0) for e in self.events.values() if e.received_us < before_us
        ]
        removed = self.session.run(store.remove_events(project_id, named))
        assert removed.events == len(old)
        for sequence in old:
            del self.events[sequence]
        self.removed |= old

    # Invariants after every step

    @invariant()
    def the_store_holds_what_the_model_says(self) -> None:
        queue = self.queue
        stored: dict[int, int] = dict(queue.sql("SELECT sequence, status FROM events"))
        assert stored == {e.sequence: self._status(e) for e in self.events.values()}
        rows = {
            row[1]: (row[0], *row[2:])
            for row in queue.sql(
                "SELECT 'event_queue', sequence, owner, attempt, crashes FROM event_queue "
                "UNION ALL "
                "SELECT 'event_retries', sequence, NULL, attempt, crashes FROM event_retries"
            )
        }
        assert rows == {e.sequence: e.row() for e in self.events.values() if e.row()}

    @invariant()
    def failures_and_dead_letters_are_on_record(self) -> None:
        for table, name in (("processing_attempts", "failures"), ("dead_letters", "dead_letters")):
            counts = self.queue.sql(f"SELECT sequence, count(*) FROM {table} GROUP BY 1")
            expected = {e.sequence: getattr(e, name) for e in self.events.values()}
            assert dict(counts) == {key: count for key, count in expected.items() if count}

    @invariant()
    def nothing_is_processed_twice(self) -> None:
        assert all(event.done <= 1 for event in self.events.values())

    def teardown(self) -> None:
        try:
            self._everything_ends()
        finally:
            self.session.close()
            self._folder.cleanup()

    def _everything_ends(self) -> None:
        """Without further faults, a new worker drains the queue and waits for retries."""
        for worker in self.workers:
            self.queue.dead.add(worker.name)
        self.workers = [Worker("last")]
        self.a_worker_works(0, renews=True, steps=[("claim", 1, 0)])
        while unfinished := [e for e in self.events.values() if e.row()]:
            if all(e.place is Place.WAITING for e in unfinished):
                self.queue.clock.now_us = max(
                    self.queue.clock.now_us, min(e.due_us for e in unfinished)
                )
            self.claim(self.workers[0], 256)
            self.finish(self.workers[0], 256, 0)
            self.the_store_holds_what_the_model_says()
        stored = {row[0] for row in self.queue.sql("SELECT sequence FROM events")}
        assert not stored & self.removed
        assert self.queue.stats().oldest_us is None

    # The model's own arithmetic

    def _in(self, *places: Place) -> list[Modelled]:
        return [event for event in self.events.values() if event.place in places]

    def _status(self, event: Modelled) -> Status:
        """Queued again after a retry, an event still has the status retrying."""
        if event.place in (Place.LINE, Place.HELD):
            return event.status
        return STATUS[event.place]

    def _holder(self) -> Worker | None:
        return next((w for w in self.workers if w.epoch and w.name == self.leader[0]), None)

    def _expected_epoch(self, name: str) -> int | None:
        owner, epoch, until_us = self.leader
        now_us = self.queue.clock()
        if owner not in ("", name) and until_us > now_us and owner not in self.queue.dead:
            return None
        epoch += owner != name
        self.leader = (name, epoch, now_us + LEADERSHIP_US)
        return epoch

    def _held_by(self, name: str) -> list[Modelled]:
        return [event for event in self._in(Place.HELD) if event.owner == name]

    def _held(self, worker: Worker, batch: list[Claimed]) -> list[Modelled]:
        """The events of the batch that the worker still holds, in order."""
        found: Iterator[Modelled | None] = (self.events.get(c.sequence) for c in batch)
        return [
            event
            for event, claimed in zip(found, batch, strict=True)
            if event is not None
            and (event.place, event.owner, event.attempt)
            == (Place.HELD, worker.name, claimed.attempt)
        ]

    def _give_back(self, event: Modelled) -> None:
        event.place, event.owner, event.attempt = Place.LINE, None, event.attempt - 1

    def _die(self, event: Modelled) -> None:
        event.place, event.dead_letters = Place.DEAD, event.dead_letters + 1

    def _rescue(self, name: str) -> None:
        held = self._in(Place.HELD)
        assert self.queue.rescue(name) == len(held)
        for event in held:
            if event.owner == name:
                self._give_back(event)
                continue
            event.place, event.owner = Place.LINE, None
            event.failures, event.crashes = event.failures + 1, event.crashes + 1
            if event.crashes == DEATHS_MAX:
                self._die(event)
            elif event.crashes > 1:
                event.place, event.status = Place.WAITING, Status.RETRYING
                event.stepped_out = True
                event.due_us = self.queue.clock() + wait_after_death_us(event.crashes)

    def _open_dead_letters(self, sequence: int) -> list[str]:
        sql = "SELECT id FROM dead_letters WHERE sequence = ? AND state = 0"
        return [str(row[0]) for row in self.queue.sql(sql, sequence)]

    def _anything_due(self) -> bool:
        now_us = self.queue.clock()
        return bool(self._in(Place.LINE)) or any(
            event.due_us <= now_us for event in self._in(Place.WAITING)
        )

    def _claimed(self, worker: Worker, claimed: Any, limit: int) -> None:
        """Due retries are queued again, and the worker has claimed some events."""
        if limit:
            for event in self._in(Place.WAITING):
                if event.due_us <= self.queue.clock():
                    event.place = Place.LINE
        assert len(claimed) <= limit
        assert len(claimed) == 1 or not any(c.crashes for c in claimed)
        for claim in claimed:
            event = self.events[claim.sequence]
            assert event.place is Place.LINE
            event.place, event.owner, event.attempt = Place.HELD, worker.name, event.attempt + 1
            assert (claim.attempt, claim.crashes) == (event.attempt, event.crashes)
        for project_id in {c.project_id for c in claimed}:
            taken = sequences([c for c in claimed if c.project_id == project_id])
            left = [e.sequence for e in self._in(Place.LINE) if e.project_id == project_id]
            assert taken == sorted(taken)
            assert not left or taken[-1] < min(left)
        worker.hands += claimed

    def _assert_in_turn(self, event: Modelled) -> None:
        """No earlier event of the same identity is still queued."""
        earlier = [
            other.sequence
            for other in self._in(Place.LINE)
            if (other.project_id, other.identity) == (event.project_id, event.identity)
            and other.sequence < event.sequence
            and not other.stepped_out
        ]
        assert not earlier


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=80, stateful_step_count=50)
