"""Handlers that crash their process: called where nothing else is affected."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace as replace_struct

from headrace.delivery.contract import (
    AttemptOutcome,
    Delivered,
    Delivery,
    Failed,
    FailureCause,
    Isolation,
)
from headrace.delivery.handlers import HandlerRegistry, HandlerTransport
from headrace.delivery.handlers.isolation import IsolatingHandlers, IsolationLimits
from tests.delivery.samples import EVENT, call
from tests.support.waiting import wait_until

pytestmark = pytest.mark.anyio

#: One handler per behaviour; each records the process it runs in.
HANDLERS = """
import asyncio, ctypes, faulthandler, os, signal, sys, threading, time
from pathlib import Path
from headrace.delivery.handlers import Event, Permanent, on

HERE = Path(__file__).parent


def note(event: Event) -> None:
    with (HERE / "calls").open("a") as file:
        file.write(f"{event.attempt} {os.getpid()}\\n")


@on("*", name="good")
def good(event: Event) -> None:
    note(event)


@on("*", name="good async")
async def good_async(event: Event) -> None:
    await asyncio.sleep(0)
    note(event)


@on("*", name="raises")
def raises(event: Event) -> None:
    raise ValueError("no such order")


@on("*", name="permanent")
async def permanent(event: Event) -> None:
    raise Permanent("never")


@on("*", name="exits")
def exits(event: Event) -> None:
    note(event)
    os._exit(3)


@on("*", name="exits well")
async def exits_well(event: Event) -> None:
    os._exit(0)


@on("*", name="killed")
def killed(event: Event) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@on("*", name="group killed")
def group_killed(event: Event) -> None:
    os.killpg(0, signal.SIGKILL)


@on("*", name="aborts")
def aborts(event: Event) -> None:
    os.abort()


@on("*", name="segfaults")
async def segfaults(event: Event) -> None:
    ctypes.string_at(0)


@on("*", name="closes")
def closes(event: Event) -> None:
    os.closerange(3, 256)
    time.sleep(60)


@on("*", name="leaves a child")
def leaves_a_child(event: Event) -> None:
    if os.fork() == 0:
        time.sleep(5)
        os._exit(0)
    os._exit(4)


@on("*", name="system exit")
def system_exit(event: Event) -> None:
    sys.exit(5)


@on("*", name="too long")
def too_long(event: Event) -> None:
    note(event)
    time.sleep(60)


@on("*", name="holds the interpreter")
def holds(event: Event) -> None:
    note(event)
    ctypes.PyDLL(None).sleep(60)


@on("*", name="waits")
def waits(event: Event) -> None:
    note(event)
    while not (HERE / "go").exists():
        time.sleep(0.005)
"""
QUICK = IsolationLimits(deadline_s=0.3, grace_s=0.3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "isolated_handlers.py").write_text(HANDLERS)
    return tmp_path


@asynccontextmanager
async def isolating(
    folder: Path, limits: IsolationLimits | None = None, module: str = "isolated_handlers"
) -> AsyncIterator[IsolatingHandlers]:
    in_worker = HandlerTransport(HandlerRegistry())
    handlers = IsolatingHandlers(in_worker, [module], folder, limits)
    try:
        yield handlers
    finally:
        await handlers.close()
        await in_worker.close()


def suspect(name: str, attempt: int = 1, *, new: bool = False) -> Delivery:
    isolation = Isolation.NEW if new else Isolation.SHARED
    made = call(name, attempt=attempt)
    return Delivery(
        id=made.id, attempt=attempt, event=EVENT, target=made.target, isolation=isolation
    )


async def outcome_of(folder: Path, name: str) -> AttemptOutcome:
    async with isolating(folder) as handlers:
        return await handlers.attempt(suspect(name))


def calls(folder: Path) -> list[tuple[int, int]]:
    """Attempt and process of each call."""
    path = folder / "calls"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(attempt), int(pid)) for attempt, pid in (line.split() for line in lines)]


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def ended(pid: int) -> None:
    await asyncio.to_thread(wait_until, lambda: not runs(pid), "the process has ended")


@pytest.mark.parametrize("name", ["good", "good async"])
async def test_a_suspect_runs_in_another_process(folder: Path, name: str) -> None:
    assert isinstance(await outcome_of(folder, name), Delivered)
    ((attempt, pid),) = calls(folder)
    assert attempt == 1
    assert pid != os.getpid()
    assert not runs(pid)


async def test_other_deliveries_run_in_the_worker(folder: Path) -> None:
    pids: list[int] = []
    registry = HandlerRegistry()
    registry.on("*", name="it")(lambda _event: pids.append(os.getpid()))
    in_worker = HandlerTransport(registry)
    handlers = IsolatingHandlers(in_worker, ["absent"], folder)
    assert isinstance(await handlers.attempt(call("it")), Delivered)
    assert pids == [os.getpid()]
    await handlers.close()
    await in_worker.close()


@pytest.mark.parametrize(
    ("name", "cause", "message"),
    [
        ("raises", FailureCause.HANDLER_RAISED, "ValueError: no such order"),
        ("permanent", FailureCause.HANDLER_PERMANENT, "never"),
        ("system exit", FailureCause.HANDLER_RAISED, "SystemExit: 5"),
        ("unknown", FailureCause.HANDLER_MISSING, "unknown"),
        ("exits", FailureCause.HANDLER_DIED, "exited with status 3"),
        ("exits well", FailureCause.HANDLER_DIED, "exited with status 0"),
        ("killed", FailureCause.HANDLER_DIED, "SIGKILL"),
        ("group killed", FailureCause.HANDLER_DIED, "SIGKILL"),
        ("aborts", FailureCause.HANDLER_DIED, "SIGABRT"),
        ("segfaults", FailureCause.HANDLER_DIED, "SIGSEGV"),
        ("closes", FailureCause.HANDLER_DIED, "during the call"),
        ("leaves a child", FailureCause.HANDLER_DIED, "exited with status 4"),
    ],
)
async def test_every_end_is_an_outcome(
    folder: Path, name: str, cause: FailureCause, message: str
) -> None:
    outcome = await outcome_of(folder, name)
    assert isinstance(outcome, Failed)
    assert outcome.cause is cause
    assert message in outcome.message


@pytest.mark.parametrize("name", ["too long", "holds the interpreter"])
async def test_process_is_killed_past_the_deadline(folder: Path, name: str) -> None:
    async with isolating(folder, QUICK) as handlers:
        outcome = await handlers.attempt(suspect(name))
        assert isinstance(outcome, Failed)
        assert outcome.cause is FailureCause.DEADLINE_EXCEEDED
        assert "0.3 seconds" in outcome.message
        ((_, pid),) = calls(folder)
        assert not runs(pid)
        assert isinstance(await handlers.attempt(suspect("good")), Delivered)


async def test_process_makes_one_call_at_a_time_and_is_reused(folder: Path) -> None:
    async with isolating(folder, IsolationLimits(processes_max=2)) as handlers:
        waiting = [asyncio.create_task(handlers.attempt(suspect("waits", n))) for n in range(5)]
        await asyncio.to_thread(wait_until, lambda: len(calls(folder)) == 2, "two calls")
        assert len({pid for _, pid in calls(folder)}) == 2
        (folder / "go").touch()
        assert {type(outcome) for outcome in await asyncio.gather(*waiting)} == {Delivered}
        # In order of arrival; the two that run concurrently in either order.
        assert {attempt for attempt, _ in calls(folder)[:2]} == {0, 1}
        assert len({pid for _, pid in calls(folder)}) == 2


async def test_new_process_has_no_earlier_call_and_the_number_is_limited(folder: Path) -> None:
    async with isolating(folder, IsolationLimits(processes_max=1)) as handlers:
        for attempt in range(3):
            outcome = await handlers.attempt(suspect("good", attempt, new=True))
            assert isinstance(outcome, Delivered)
            assert sum(runs(pid) for _, pid in calls(folder)) == 1
        assert len({pid for _, pid in calls(folder)}) == 3


async def test_idle_process_ends_and_a_crashed_one_is_replaced(folder: Path) -> None:
    async with isolating(folder, IsolationLimits(idle_s=0.05)) as handlers:
        await handlers.attempt(suspect("good"))
        (_, first) = calls(folder)[0]
        await ended(first)
    async with isolating(folder) as handlers:
        await handlers.attempt(suspect("good"))
        (_, second) = calls(folder)[1]
        os.kill(second, signal.SIGKILL)
        await ended(second)
        assert isinstance(await handlers.attempt(suspect("good")), Delivered)


async def test_a_cancelled_attempt_ends_its_process(folder: Path) -> None:
    async with isolating(folder) as handlers:
        attempt = asyncio.create_task(handlers.attempt(suspect("too long")))
        await asyncio.to_thread(wait_until, lambda: len(calls(folder)) == 1, "it is called")
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        assert not runs(calls(folder)[0][1])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import os; os._exit(7)", "exited with status 7 while it started"),
        ("import time; time.sleep(60)", "not loaded within 1 seconds"),
    ],
)
async def test_failure_to_load_handlers_does_not_blame_the_event(
    folder: Path, source: str, message: str
) -> None:
    (folder / "broken_handlers.py").write_text(source)
    limits = IsolationLimits(start_s=1.0)
    async with isolating(folder, limits, module="broken_handlers") as handlers:
        outcome = await handlers.attempt(suspect("good"))
    assert isinstance(outcome, Failed)
    assert outcome.cause is FailureCause.INTERNAL
    assert message in outcome.message


async def test_a_large_event_arrives_whole(folder: Path) -> None:
    payload = '{"text": "' + "ü" * 500_000 + '"}'
    made = suspect("good")
    large = Delivery(
        id=made.id,
        attempt=1,
        event=replace_struct(EVENT, payload=payload),
        target=made.target,
        isolation=Isolation.SHARED,
    )
    async with isolating(folder) as handlers:
        assert isinstance(await handlers.attempt(large), Delivered)


#: A worker that is killed while a handler holds the interpreter of its process.
WORKER = """
import asyncio, os, sys
from pathlib import Path
from headrace.delivery.handlers import HandlerRegistry, HandlerTransport
from headrace.delivery.handlers.isolation import IsolatingHandlers
from tests.delivery.test_handlers_isolation import suspect

async def main():
    handlers = IsolatingHandlers(
        HandlerTransport(HandlerRegistry()), ["isolated_handlers"], Path(sys.argv[1])
    )
    await handlers.attempt(suspect(sys.argv[2]))

asyncio.run(main())
"""


@pytest.mark.parametrize("name", ["too long", "holds the interpreter"])
async def test_no_process_outlives_its_worker(folder: Path, name: str) -> None:
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", WORKER, str(folder), name)
    await asyncio.to_thread(wait_until, lambda: len(calls(folder)) == 1, "it is called")
    worker.kill()
    await worker.wait()
    (_, pid) = calls(folder)[0]
    await ended(pid)
