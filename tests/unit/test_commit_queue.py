"""The limits of the queue between requests and disk."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from headrace.pipeline.intake import commit_queue
from headrace.pipeline.intake.commit_queue import CommitQueue
from headrace.store.contract.commits import Pending
from headrace.store.contract.errors import StoreBusyError, StoreError, StoreRowError
from tests.support.events import new_event

OVERHEAD_BYTES = commit_queue._OVERHEAD_BYTES


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as opened:
        yield opened


@pytest.fixture
def queue(runner: asyncio.Runner) -> CommitQueue:
    return CommitQueue(runner.get_loop(), lambda: None)


def pending(payload: str = "{}") -> Pending:
    return Pending(new_event(payload=payload), lambda _: None)


def test_events_leave_in_the_order_they_came(queue: CommitQueue) -> None:
    events = [pending() for _ in range(5)]
    for event in events:
        queue.put(event)
    assert queue.depth == queue.unsettled == 5
    assert queue.take() == events
    assert queue.take() == []
    assert (queue.depth, queue.unsettled) == (0, 5)


def test_an_identity_belongs_to_one_committer(runner: asyncio.Runner) -> None:
    queue = CommitQueue(runner.get_loop(), lambda: None, 2)
    events = [Pending(new_event(lane=lane), lambda _: None) for lane in (0, 1, 7, 0, 255, 2)]
    for event in events:
        queue.put(event)
    assert queue.depth == 6
    assert [event.event.lane for event in queue.take(0)] == [0, 0, 2]
    assert [event.event.lane for event in queue.take(1)] == [1, 7, 255]
    assert (queue.depth, queue.unsettled) == (0, 6)


@pytest.mark.parametrize("error", [None, StoreError("refused")])
def test_a_repeat_with_another_identity_is_settled_after_the_first(
    runner: asyncio.Runner, error: StoreError | None
) -> None:
    async def run() -> None:
        woken: list[int] = []
        queue = CommitQueue(asyncio.get_running_loop(), lambda: woken.append(1), 2)
        answers: asyncio.Queue[Pending] = asyncio.Queue()
        first, repeat = (
            Pending(new_event(key="k", lane=lane), answers.put_nowait) for lane in (0, 1)
        )
        queue.put(first)
        queue.put(repeat)
        assert (woken, queue.depth) == ([1], 2)
        assert queue.take(1) == []
        batch = queue.take(0)
        first.outcome = error
        queue.settle(batch)
        assert await answers.get() is first
        if error is None:
            assert (woken, queue.take(1)) == ([1, 1], [repeat])
        else:
            assert await answers.get() is repeat
            assert (repeat.outcome, queue.take(1), queue.unsettled) == (error, [], 0)
        assert queue.depth == 0
        assert queue.has_room(commit_queue.EVENTS_MAX)

    runner.run(run())


def test_queue_is_bounded_in_events(queue: CommitQueue) -> None:
    for _ in range(commit_queue.EVENTS_MAX - 1):
        queue.put(pending())
    assert queue.has_room()
    assert not queue.has_room(2)
    queue.put(pending())
    assert not queue.has_room()
    queue.take()
    assert queue.has_room(commit_queue.COMMIT_EVENTS_MAX)


def test_queue_is_bounded_in_bytes(queue: CommitQueue) -> None:
    large = "x" * (1024 * 1024)
    put = 0
    while queue.has_room():
        queue.put(pending(large))
        put += 1
    assert put == -(-commit_queue.BYTES_MAX // (len(large) + OVERHEAD_BYTES))
    while queue.take():
        pass
    assert queue.has_room()


def test_one_commit_is_bounded_in_events_and_bytes(queue: CommitQueue) -> None:
    for _ in range(1000):
        queue.put(pending())
    largest = commit_queue.COMMIT_EVENTS_MAX
    taken = [len(queue.take()) for _ in range(4)]
    assert sum(taken) == 1000
    assert taken[:2] == [largest, largest]
    size = 1024 * 1024
    for _ in range(20):
        queue.put(pending("x" * size))
    sizes = [len(queue.take()) for _ in range(3)]
    assert sum(sizes) == 20
    for count in sizes:
        assert (count - 1) * size < commit_queue.COMMIT_BYTES_MAX


def test_an_event_larger_than_a_commit_is_committed_alone(queue: CommitQueue) -> None:
    queue.put(pending("x" * (commit_queue.COMMIT_BYTES_MAX + 1)))
    queue.put(pending())
    assert [len(queue.take()) for _ in range(2)] == [1, 1]


def test_a_closed_queue_has_no_room(queue: CommitQueue) -> None:
    queue.closed = True
    assert not queue.has_room()


def test_putting_wakes_the_committer(runner: asyncio.Runner) -> None:
    woken: list[int] = []
    waked = CommitQueue(runner.get_loop(), lambda: woken.append(waked.depth))
    waked.put(pending())
    assert woken == [1]


def test_outcomes_are_handed_out_on_the_loop_in_order(runner: asyncio.Runner) -> None:
    told: list[tuple[int, int]] = []

    async def run() -> None:
        done = asyncio.Event()
        queue = CommitQueue(asyncio.get_running_loop(), lambda: None)
        queue.on_settled = lambda _: done.set()
        for number in range(3):
            queue.put(
                Pending(new_event(), lambda _, n=number: told.append((n, threading.get_ident())))  # type: ignore[misc]
            )
        thread = threading.Thread(target=lambda: queue.settle(queue.take()))
        thread.start()
        await done.wait()
        thread.join()
        assert queue.unsettled == 0

    runner.run(run())
    assert told == [(n, threading.get_ident()) for n in range(3)]


def test_failing_response_does_not_block_others(runner: asyncio.Runner) -> None:
    told: list[str] = []

    def fail(_: Pending) -> None:
        message = "the connection is broken"
        raise RuntimeError(message)

    async def run() -> None:
        done = asyncio.Event()
        queue = CommitQueue(asyncio.get_running_loop(), lambda: None)
        queue.on_settled = lambda _: done.set()
        for settle in (fail, lambda _: told.append("other")):
            queue.put(Pending(new_event(), settle))
        queue.settle(queue.take())
        await done.wait()

    runner.run(run())
    assert told == ["other"]


def answers_of(
    queue: CommitQueue, count: int, answered: asyncio.Event | None = None
) -> tuple[list[Pending], list[object]]:
    """Put this many events in; returns the events and the outcomes they resolve to."""
    outcomes: list[object] = []

    def settle(answer: Pending) -> None:
        outcomes.append(answer.outcome)
        if answered is not None and len(outcomes) == count:
            answered.set()

    events = [Pending(new_event(), settle) for _ in range(count)]
    for event in events:
        queue.put(event)
    return events, outcomes


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_queue, "WAIT_SECONDS_MAX", 0.05)


@pytest.mark.usefixtures("hasty")
def test_an_event_that_waits_too_long_fails_and_is_never_taken(runner: asyncio.Runner) -> None:
    async def run() -> None:
        queue = CommitQueue(asyncio.get_running_loop(), lambda: None)
        answered = asyncio.Event()
        queue.on_settled = lambda _: answered.set()
        _, outcomes = answers_of(queue, 3)
        await answered.wait()
        assert [type(outcome) for outcome in outcomes] == [StoreBusyError] * 3
        assert queue.take() == []
        assert (queue.depth, queue.unsettled) == (0, 0)
        # The next one has its own deadline.
        answered.clear()
        _, later = answers_of(queue, 1)
        await answered.wait()
        assert len(later) == 1

    runner.run(run())


@pytest.mark.usefixtures("hasty")
def test_an_event_whose_commit_takes_too_long_is_settled_once(runner: asyncio.Runner) -> None:
    """Its later outcome is known to the store, and reported to counters and subscribers."""

    async def run() -> None:
        queue = CommitQueue(asyncio.get_running_loop(), lambda: None)
        settled: list[list[Pending]] = []
        answered = asyncio.Event()
        events, outcomes = answers_of(queue, 2, answered)
        batch = queue.take()
        assert batch == events
        await answered.wait()
        assert [type(outcome) for outcome in outcomes] == [StoreBusyError] * 2
        assert queue.unsettled == 2
        done = asyncio.Event()

        def note(batch: list[Pending]) -> None:
            settled.append(batch)
            done.set()

        queue.on_settled = note
        queue.settle(batch)
        await done.wait()
        assert len(outcomes) == 2
        assert settled == [events]
        assert [event.outcome for event in events] == [None, None]
        assert queue.unsettled == 0

    runner.run(run())


def test_waiting_events_fail_with_the_failed_commit(runner: asyncio.Runner) -> None:
    async def run() -> None:
        queue = CommitQueue(asyncio.get_running_loop(), lambda: None)
        _, outcomes = answers_of(queue, 1000)
        taken = queue.take()
        error = StoreError("the commit timed out")
        queue.give_up(0, error)
        assert outcomes == [error] * (1000 - len(taken))
        assert queue.take() == []
        assert queue.unsettled == len(taken)

    runner.run(run())


def test_problem_follows_the_last_commit(runner: asyncio.Runner) -> None:
    async def settle(queue: CommitQueue, *outcomes: StoreError | None) -> None:
        done = asyncio.Event()
        queue.on_settled = lambda _: done.set()
        answers_of(queue, len(outcomes))
        batch = queue.take()
        for event, outcome in zip(batch, outcomes, strict=True):
            event.outcome = outcome
        queue.settle(batch)
        await done.wait()

    async def run() -> None:
        queue = CommitQueue(asyncio.get_running_loop(), lambda: None)
        assert queue.problem() is None
        await settle(queue, StoreError("No room."))
        assert queue.problem() == "Events cannot be stored: No room."
        # A rejected row says nothing about the next one.
        await settle(queue, StoreRowError("refused"))
        assert queue.problem() is not None
        await settle(queue, StoreRowError("refused"), None)
        assert queue.problem() is None
        await settle(queue, StoreRowError("refused"))
        assert queue.problem() is None

    runner.run(run())


@pytest.mark.parametrize("taken", [False, True])
def test_problem_once_the_oldest_event_has_waited_long(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch, *, taken: bool
) -> None:
    async def run() -> None:
        queue = CommitQueue(asyncio.get_running_loop(), lambda: None)
        queue.put(pending())
        batch = queue.take() if taken else []
        assert queue.problem() is None
        monkeypatch.setattr(commit_queue, "READY_SECONDS_MAX", -1.0)
        assert queue.problem() == "Events have waited 0 s to be stored."
        done = asyncio.Event()
        queue.on_settled = lambda _: done.set()
        queue.settle(batch or queue.take())
        await done.wait()
        monkeypatch.setattr(commit_queue, "READY_SECONDS_MAX", 0.0)
        assert queue.problem() is None

    runner.run(run())


@pytest.mark.usefixtures("hasty")
def test_a_repeat_that_is_held_back_too_long_fails(runner: asyncio.Runner) -> None:
    """Another committer has the event before it, which may be stored nevertheless."""

    async def run() -> None:
        queue = CommitQueue(asyncio.get_running_loop(), lambda: None, committers=2)
        answered = asyncio.Event()
        outcomes: list[object] = []

        def settle(answer: Pending) -> None:
            outcomes.append(answer.outcome)
            answered.set()

        queue.put(Pending(new_event(key="k", lane=0), lambda _: None))
        first = queue.take(0)
        queue.put(Pending(new_event(key="k", lane=1), settle))
        assert queue.take(1) == []
        await answered.wait()
        assert [type(outcome) for outcome in outcomes] == [StoreBusyError]
        queue.settle(first)
        settled = asyncio.Event()
        queue.on_settled = lambda _: settled.set()
        await settled.wait()
        assert queue.take(1) == []
        assert (queue.depth, queue.unsettled) == (0, 0)

    runner.run(run())


def test_events_of_other_committers_keep_waiting(runner: asyncio.Runner) -> None:
    async def run() -> None:
        queue = CommitQueue(asyncio.get_running_loop(), lambda: None, committers=2)
        events = [Pending(new_event(lane=lane), lambda _: None) for lane in (0, 1)]
        for event in events:
            queue.put(event)
        queue.give_up(0, StoreError("the commit timed out"))
        assert queue.take(0) == []
        assert queue.take(1) == events[1:]

    runner.run(run())
