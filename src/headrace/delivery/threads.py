"""Runs blocking calls, each in a daemon thread of its own.

The threads of `concurrent.futures` are joined when the interpreter exits, so one hanging call would
block a shutdown. Daemon threads are not. One takes some 50 microseconds to start, which is little
compared with its call; the caller limits their number.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Finished(NamedTuple, Generic[T]):
    """How a call ended: with a value, or with an error."""

    value: T | None
    error: BaseException | None


def finish(call: Callable[[], T]) -> Finished[T]:
    """Make a call and catch everything: not even `SystemExit` may end the thread."""
    try:
        return Finished(call(), None)
    except BaseException as error:  # noqa: BLE001 - see the docstring
        return Finished(None, error)


def start_in_thread(call: Callable[[], T], name: str) -> asyncio.Future[Finished[T]]:
    """Start a call now; the future belongs to the running loop and never fails.

    Cancelling the future stops the waiting, not the thread.

    Raises:
        RuntimeError: the system cannot start another thread.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Finished[T]] = loop.create_future()

    def settle(finished: Finished[T]) -> None:
        if not future.done():
            future.set_result(finished)

    def run() -> None:
        finished = finish(call)
        # A closed loop raises: nothing waits for the result then.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, finished)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
