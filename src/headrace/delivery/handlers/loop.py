"""The event loop that one async handler runs on, in a thread of its own.

A coroutine that blocks stops everything on its loop. With a loop for each handler that is itself
alone: neither the server nor another handler waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from headrace.delivery.threads import Finished, start_in_thread


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

    def _cancel_task(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _report(self, task: asyncio.Task[Finished[None]]) -> None:
        ended = Finished(None, asyncio.CancelledError()) if task.cancelled() else task.result()
        with suppress(RuntimeError):  # nobody waits on a loop that is closed
            self.finished.get_loop().call_soon_threadsafe(self._settle, ended)

    def _settle(self, ended: Finished[None]) -> None:
        if not self.finished.done():
            self.finished.set_result(ended)


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
        self._ended = start_in_thread(self._run, f"handler {name}")

    def start(self, call: Callable[[], Awaitable[None]]) -> RunningCall:
        """Start a coroutine.

        Args:
            call: makes the awaitable; called on the handler's own loop.
        """
        running = RunningCall(self._loop)
        self._loop.call_soon_threadsafe(running.begin, call)
        return running

    async def close(self, grace_s: float) -> None:
        """Cancel what runs and end the thread; a blocked one is left behind after the grace."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.wait({self._ended}, timeout=grace_s)

    def _run(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            loop.close()
