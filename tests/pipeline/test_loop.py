"""The loop of all background work, and the leadership that some of it needs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from structlog.testing import capture_logs

from headrace.pipeline.leadership import Leadership
from headrace.pipeline.loop import IdlePause, Loop, LoopOptions
from headrace.store.contract.errors import StoreBusyError, StoreError

FOR_EVER = 3600.0
OPTIONS = LoopOptions(name="test", pause_s=FOR_EVER, error_s=0.0)


class Steps:
    """Runs and returns one step after the other, and stops the loop after the last."""

    def __init__(self, *results: float | Exception | None) -> None:
        self._results = list(results)
        self.done = 0
        self.loop: Loop | None = None
        self.meanwhile: Callable[[], object] = lambda: None

    async def __call__(self) -> float | None:
        result = self._results[self.done]
        self.done += 1
        if self.done == len(self._results):
            assert self.loop is not None
            self.stopping = asyncio.create_task(self.loop.stop())
            await asyncio.sleep(0)
        self.meanwhile()
        if isinstance(result, Exception):
            raise result
        return result


def run(steps: Steps, options: LoopOptions = OPTIONS) -> Sequence[dict[str, object]]:
    """Run to the end; returns what was logged."""

    async def scenario() -> None:
        steps.loop = Loop(steps, options)
        async with asyncio.timeout(20):
            await steps.loop.run()
            await steps.stopping

    with capture_logs() as logs:
        asyncio.run(scenario())
    return [dict(line) for line in logs]


def test_a_step_says_when_the_next_one_begins() -> None:
    steps = Steps(0.0, 0.0, 0.0)
    assert run(steps) == []
    assert steps.done == 3


def test_a_pause_ends_when_the_loop_is_woken() -> None:
    steps = Steps(None, FOR_EVER, None)

    async def scenario() -> None:
        steps.loop = Loop(steps, OPTIONS)
        steps.meanwhile = steps.loop.wake
        async with asyncio.timeout(20):
            await steps.loop.run()

    asyncio.run(scenario())
    assert steps.done == 3


def test_an_expected_error_is_logged_and_waited_out() -> None:
    steps = Steps(StoreError("away"), StoreBusyError(), 0.0)
    lines = run(steps)
    assert steps.done == 3
    assert [(line["event"], line["loop"], line["error"]) for line in lines] == [
        ("store.unavailable", "test", "away"),
        ("store.unavailable", "test", str(StoreBusyError()) or "StoreBusyError"),
    ]


def test_an_unexpected_error_ends_the_loop() -> None:
    with pytest.raises(ZeroDivisionError):
        run(Steps(ZeroDivisionError(), 0.0))


def test_an_unexpected_error_is_survived_where_the_options_say_so() -> None:
    options = LoopOptions(name="test", pause_s=0.0, survives_faults=True)
    lines = run(Steps(ZeroDivisionError(), 0.0), options)
    assert [(line["event"], line["loop"]) for line in lines] == [("loop.failed", "test")]


def test_a_stop_ends_the_pause_after_an_error() -> None:
    options = LoopOptions(name="test", pause_s=FOR_EVER)
    steps = Steps(StoreError("away"))
    run(steps, options)
    assert steps.done == 1


def test_the_first_step_waits_where_the_options_say_so() -> None:
    steps = Steps(0.0)

    async def scenario() -> None:
        steps.loop = Loop(steps, LoopOptions(name="test", pause_s=FOR_EVER, pause_first=True))
        running = asyncio.create_task(steps.loop.run())
        await asyncio.sleep(0)
        assert steps.done == 0
        steps.loop.wake()
        async with asyncio.timeout(20):
            await running

    asyncio.run(scenario())
    assert steps.done == 1


def test_a_loop_that_was_never_run_stops_at_once() -> None:
    async def scenario() -> None:
        loop = Loop(Steps(), OPTIONS)
        await loop.stop()
        await loop.run()

    asyncio.run(scenario())


class Leases:
    """Results of a store, in turn; then the last repeatedly."""

    def __init__(self, *epochs: int | Exception | None) -> None:
        self._epochs = list(epochs)
        self.asked = 0
        self.now_us = 0

    async def acquire(self, name: str, owner: str, lease_us: int) -> int | None:
        assert (name, owner, lease_us) == ("work", "me", 15_000_000)
        self.asked += 1
        epoch = self._epochs.pop(0) if len(self._epochs) > 1 else self._epochs[0]
        if isinstance(epoch, Exception):
            raise epoch
        return epoch

    def leadership(self) -> Leadership:
        return Leadership(
            self.acquire, "work", owner="me", lease_s=15.0, clock_us=lambda: self.now_us
        )


def outcome(work: Awaitable[int | None]) -> int | None:
    async def waiting() -> int | None:
        return await work

    return asyncio.run(waiting())


def test_a_lease_is_renewed_after_a_third_of_it() -> None:
    leases = Leases(7)
    leadership = leases.leadership()
    assert [outcome(leadership.epoch()) for _ in range(3)] == [7, 7, 7]
    assert leases.asked == 1
    leases.now_us += 5_000_000
    assert outcome(leadership.epoch()) == 7
    assert leases.asked == 2


def test_a_follower_tries_to_lead_each_time() -> None:
    leases = Leases(None, None, 8)
    leadership = leases.leadership()
    assert [outcome(leadership.is_held()) for _ in range(4)] == [False, False, True, True]
    assert leases.asked == 3


def test_doubted_leadership_is_read_from_the_store() -> None:
    leases = Leases(7, StoreError("away"), 8)
    leadership = leases.leadership()
    assert outcome(leadership.epoch()) == 7
    leadership.doubt()
    with pytest.raises(StoreError):
        outcome(leadership.epoch())
    assert outcome(leadership.epoch()) == 8


def test_an_idle_pause_doubles_up_to_its_limit_and_starts_over_after_work() -> None:
    pause = IdlePause(0.5, 3.0)
    assert [pause.next_s() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    pause.reset()
    assert pause.next_s() == 0.5


def test_an_idle_pause_without_a_limit_does_not_grow() -> None:
    pause = IdlePause(0.5, None)
    assert [pause.next_s() for _ in range(2)] == [0.5, 0.5]


def test_a_wake_up_ends_an_idle_pause_and_starts_over() -> None:
    steps = Steps(None, None, None)

    def wake() -> None:
        assert steps.loop is not None
        steps.loop.wake()

    steps.meanwhile = wake
    options = LoopOptions(name="test", pause_s=FOR_EVER, idle_max_s=2 * FOR_EVER)
    assert run(steps, options) == []
    assert steps.loop is not None
    assert steps.loop.idle.next_s() == FOR_EVER
