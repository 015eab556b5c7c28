"""The event loop that one async handler runs on, in a thread of its own.

A coroutine that blocks stops everything on its loop. With a loop for each handler that is itself
alone: neither the server nor another handler waits for it. Nothing that the handler's code does,
in the coroutine or in tasks and callbacks that it has started, keeps later calls from being made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from headrace.delivery.threads import Finished, finish, start_in_thread

#: What a task or a callback may raise through `run_forever`; the loop itself is as before.
_ENDS_A_RUN = (SystemExit, KeyboardInterrupt)


class RunningCall:
    """A coroutine on its way in another thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._task: asyncio.Task[Finished[None]] | None = None
        #: Belongs to the loop of the caller; done when the coroutine really ended.
        self.finished: asyncio.Future[Finished[None]] = asyncio.get_running_loop().create_future()

    def begin(self, call: Callable[[], Awaitable[None]]) -> None:
        """Start the coroutine; called on its loop."""
        self._task = self._loop.create_task(_finish(call))
        self._task.add_done_callback(self._report)

    def cancel(self) -> None:
        """Ask the coroutine to end; it may take its time, or never look."""
        # A closed loop raises; there is nothing left to cancel then.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._cancel_task)

    def settle(self, ended: Finished[None]) -> None:
        """Say how it ended, unless that is known; on the loop of the caller."""
        if not self.finished.done():
            self.finished.set_result(ended)

    def _cancel_task(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _report(self, task: asyncio.Task[Finished[None]]) -> None:
        ended = Finished(None, asyncio.CancelledError()) if task.cancelled() else task.result()
        with suppress(RuntimeError):  # nobody waits on a loop that is closed
            self.finished.get_loop().call_soon_threadsafe(self.settle, ended)


async def _finish(call: Callable[[], Awaitable[None]]) -> Finished[None]:
    try:
        await call()
    except BaseException as error:  # noqa: BLE001 - a `SystemExit` would end the whole loop
        return Finished(None, error)
    return Finished(None, None)


class HandlerLoop:
    """Runs the coroutines of one handler. Made inside a running loop."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._closing = False
        #: Those that have not ended.
        self._calls: set[RunningCall] = set()
        self._ended = start_in_thread(self._run, f"handler {name}")
        self._ended.add_done_callback(self._settle_calls)

    @property
    def ended(self) -> bool:
        """Whether it can run nothing more: broken, or closed here or by the handler."""
        return self._ended.done()

    def start(self, call: Callable[[], Awaitable[None]]) -> RunningCall:
        """Start a coroutine. Should the loop end before it, it has failed.

        Args:
            call: makes the awaitable; called on the handler's own loop.

        Raises:
            RuntimeError: the handler has closed the loop.
        """
        running = RunningCall(self._loop)
        self._loop.call_soon_threadsafe(running.begin, call)
        self._calls.add(running)
        running.finished.add_done_callback(lambda _: self._calls.discard(running))
        return running

    async def close(self, grace_s: float) -> None:
        """Cancel what runs and end the thread; a blocked one is left behind after the grace."""
        self._closing = True
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.wait({self._ended}, timeout=grace_s)

    def _settle_calls(self, _: asyncio.Future[Finished[None]]) -> None:
        error = RuntimeError("the event loop of the handler was closed")
        for running in [*self._calls]:
            running.settle(Finished(None, error))

    def _run(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        try:
            # A `loop.stop()` of the handler ends a run as well.
            while not self._closing and not loop.is_closed():
                error = finish(loop.run_forever).error
                if error is not None and not isinstance(error, _ENDS_A_RUN):
                    break
            finish(lambda: _cancel_tasks(loop))
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def _cancel_tasks(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
