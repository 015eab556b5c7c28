"""The bounds of the queue between requests and disk."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from headrace.pipeline import commit_queue
from headrace.pipeline.commit_queue import CommitQueue
from headrace.store.contract import Pending, StoreError
from tests.store.events import new_event

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
def test_a_repeat_about_another_identity_is_answered_after_the_first(
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


def test_there_is_room_for_so_many_events_and_no_more(queue: CommitQueue) -> None:
    for _ in range(commit_queue.EVENTS_MAX - 1):
        queue.put(pending())
    assert queue.has_room()
    assert not queue.has_room(2)
    queue.put(pending())
    assert not queue.has_room()
    queue.take()
    assert queue.has_room(commit_queue.COMMIT_EVENTS_MAX)


def test_there_is_room_for_so_many_bytes_and_no_more(queue: CommitQueue) -> None:
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


def test_an_event_larger_than_a_commit_goes_alone(queue: CommitQueue) -> None:
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


def test_an_answer_that_fails_keeps_no_other_from_its_sender(runner: asyncio.Runner) -> None:
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
