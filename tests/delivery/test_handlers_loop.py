"""A handler can be called again whatever it does to its event loop or in its threads."""

from __future__ import annotations

import asyncio
import errno
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from headrace.delivery.contract import Delivered, Failed, FailureCause
from headrace.delivery.handlers import Event, HandlerLimits, HandlerRegistry, HandlerTransport
from tests.delivery.samples import call

pytestmark = pytest.mark.anyio

LIMITS = HandlerLimits(deadline_s=5.0, close_grace_s=5.0)
Harm = Callable[[], Awaitable[None]]


@pytest.fixture(params=["asyncio", "uvloop"])
def loops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops of handlers are those of asyncio, unless a module of handlers sets another policy."""
    if request.param == "uvloop":
        monkeypatch.setattr(asyncio, "new_event_loop", uvloop.new_event_loop)


@asynccontextmanager
async def transport_of(function: Callable[[Event], Any]) -> AsyncIterator[HandlerTransport]:
    registry = HandlerRegistry()
    registry.on("*", name="it")(function)
    transport = HandlerTransport(registry, LIMITS)
    try:
        yield transport
    finally:
        await transport.close()


async def fail(error: BaseException) -> None:
    raise error


async def task_left_behind(error: BaseException) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    task = asyncio.create_task(fail(error))
    await asyncio.wait({task})


async def task_awaited(error: BaseException) -> None:
    await asyncio.create_task(fail(error))


async def task_of_a_group(error: BaseException) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(fail(error))
        group.create_task(asyncio.sleep(30))


async def callback(error: BaseException) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)

    def run() -> None:
        raise error

    asyncio.get_running_loop().call_soon(run)
    # The callback runs before this continues.
    await asyncio.sleep(0)


async def thread(error: BaseException) -> None:
    def run() -> None:
        raise error

    await asyncio.to_thread(run)


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize(
    ("harm", "raises"),
    [
        (fail, True),
        (task_awaited, True),
        (task_of_a_group, True),
        (thread, True),
        (task_left_behind, False),
        (callback, False),
    ],
)
async def test_no_exit_ends_the_loop(
    harm: Callable[[BaseException], Awaitable[None]], error: type[BaseException], *, raises: bool
) -> None:
    harms = [True, False, True, False]

    async def handler(_event: Event) -> None:
        if harms.pop(0):
            await harm(error())

    async with transport_of(handler) as transport:
        for harmed in [*harms]:
            outcome = await transport.attempt(call("it"))
            if harmed and raises:
                assert isinstance(outcome, Failed)
                assert outcome.cause is FailureCause.HANDLER_RAISED
                assert outcome.message
            else:
                assert isinstance(outcome, Delivered)


async def stop() -> None:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.001)


async def stop_from_a_thread() -> None:
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(loop.call_soon_threadsafe, loop.stop)


@pytest.mark.usefixtures("loops")
@pytest.mark.parametrize("harm", [stop, stop_from_a_thread])
async def test_stopped_loop_continues(harm: Harm) -> None:
    """With the call that stopped it and with another one in progress."""
    waits = asyncio.Event()
    here = asyncio.get_running_loop()
    go_on: list[asyncio.Event] = []

    async def handler(_event: Event) -> None:
        if not go_on:
            go_on.append(asyncio.Event())
            here.call_soon_threadsafe(waits.set)
            await go_on[0].wait()
        else:
            await harm()
            go_on[0].set()

    async with transport_of(handler) as transport:
        waiting = asyncio.create_task(transport.attempt(call("it")))
        await waits.wait()
        assert isinstance(await transport.attempt(call("it")), Delivered)
        assert isinstance(await waiting, Delivered)
        assert isinstance(await transport.attempt(call("it")), Delivered)


def close(loop: Any) -> None:
    # Like code that nests loops.
    loop._thread_id = None
    loop.close()


def break_it(loop: Any) -> None:
    """Like a handler that closes foreign descriptors."""

    def fail() -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    loop._run_once = fail


@pytest.mark.parametrize("harm", [close, break_it])
async def test_a_closed_loop_is_replaced(harm: Callable[[Any], None]) -> None:
    """Calls in progress fail at once, not at their deadline."""
    waits = asyncio.Event()
    here = asyncio.get_running_loop()
    behaviours = ["wait", "harm"]

    async def handler(_event: Event) -> None:
        behaviour = behaviours.pop(0) if behaviours else ""
        if behaviour == "wait":
            here.call_soon_threadsafe(waits.set)
        if behaviour == "harm":
            loop = asyncio.get_running_loop()
            loop.call_soon(harm, loop)
        if behaviour:
            await asyncio.Event().wait()

    async with transport_of(handler) as transport:
        waiting = asyncio.create_task(transport.attempt(call("it")))
        await waits.wait()
        for outcome in await asyncio.gather(waiting, transport.attempt(call("it"))):
            assert isinstance(outcome, Failed)
            assert outcome.cause is FailureCause.HANDLER_RAISED
            assert outcome.message == "RuntimeError: the event loop of the handler was closed"
        for _ in range(3):
            assert isinstance(await transport.attempt(call("it")), Delivered)
        assert transport.stuck() == []


def exit_in_a_thread() -> None:
    started = threading.Thread(target=sys.exit)
    started.start()
    started.join()


def exit_in_a_loop() -> None:
    asyncio.run(task_awaited(SystemExit()))


# Threads ignore an exit silently; only pytest reports it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("harm", "raises"), [(sys.exit, True), (exit_in_a_loop, True), (exit_in_a_thread, False)]
)
async def test_no_exit_of_a_plain_function_ends_anything(
    harm: Callable[[], None], *, raises: bool
) -> None:
    harms = [True, False]

    def handler(_event: Event) -> None:
        if harms.pop(0):
            harm()

    async with transport_of(handler) as transport:
        outcome = await transport.attempt(call("it"))
        assert isinstance(outcome, Failed if raises else Delivered)
        assert isinstance(await transport.attempt(call("it")), Delivered)
