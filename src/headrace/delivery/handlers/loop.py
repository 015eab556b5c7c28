"""The event loop of one async handler, in a thread of its own.

A coroutine that blocks stops everything on its loop. With a loop for each handler that affects only
the handler itself, not the server or other handlers. Nothing that the handler's code does, in the
coroutine or in tasks and callbacks that it has started, prevents later calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from headrace.delivery.threads import Finished, finish, start_in_thread

#: What a task or a callback may raise through `run_forever`; the loop stays usable.
_ENDS_A_RUN = (SystemExit, KeyboardInterrupt)


class RunningCall:
    """A coroutine running in another thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._task: asyncio.Task[Finished[None]] | None = None
        #: Belongs to the loop of the caller; done when the coroutine has ended.
        self.finished: asyncio.Future[Finished[None]] = asyncio.get_running_loop().create_future()

    def begin(self, call: Callable[[], Awaitable[None]]) -> None:
        """Start the coroutine; called on its loop."""
        self._task = self._loop.create_task(_finish(call))
        self._task.add_done_callback(self._report)

    def cancel(self) -> None:
        """Cancel the coroutine; it may end late or never."""
        # A closed loop raises; there is nothing left to cancel then.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._cancel_task)

    def settle(self, ended: Finished[None]) -> None:
        """Set how it ended, unless that is set; on the loop of the caller."""
        if not self.finished.done():
            self.finished.set_result(ended)

    def _cancel_task(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _report(self, task: asyncio.Task[Finished[None]]) -> None:
        ended = Finished(None, asyncio.CancelledError()) if task.cancelled() else task.result()
        with suppress(RuntimeError):  # nothing waits on a closed loop
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
        #: Calls that have not ended.
        self._calls: set[RunningCall] = set()
        self._ended = start_in_thread(self._run, f"handler {name}")
        self._ended.add_done_callback(self._settle_calls)

    @property
    def ended(self) -> bool:
        """Whether it is unusable: broken, or closed here or by the handler."""
        return self._ended.done()

    def start(self, call: Callable[[], Awaitable[None]]) -> RunningCall:
        """Start a coroutine. It fails if the loop ends first.

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
        """Cancel running calls and end the thread; abandon a blocked one after the grace time."""
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
            # `loop.stop()` in the handler ends a run as well.
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
