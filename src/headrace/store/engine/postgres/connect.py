"""Open a connection to the first server of a URL that responds."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

from headrace.store.engine.url import one_host_each

#: A server without power does not refuse connections, it does not respond. After so long the next
#: host is tried as well; the first suitable one is taken.
NEXT_HOST_SECONDS = 0.5


async def connect(url: str, options: dict[str, Any], seconds_max: float) -> Any:
    """A new connection.

    Args:
        options: keyword arguments for `asyncpg.connect`.

    Raises:
        ConnectionError: no server has responded in time.
        Exception: the error of the last server, if each has refused.
    """
    try:
        async with asyncio.timeout(seconds_max):
            return await _first(one_host_each(url), options)
    except TimeoutError:
        message = f"no server responded within {seconds_max:g} s"
        raise ConnectionError(message) from None


async def _first(urls: list[str], options: dict[str, Any]) -> Any:
    trying: set[asyncio.Task[Any]] = set()
    last_error: BaseException | None = None
    try:
        for number, url in enumerate(urls, 1):
            trying.add(asyncio.create_task(asyncpg.connect(url, **options)))
            pause = NEXT_HOST_SECONDS if number < len(urls) else None
            while trying:
                done, trying = await asyncio.wait(
                    trying, timeout=pause, return_when=asyncio.FIRST_COMPLETED
                )
                connected = [task for task in done if task.exception() is None]
                trying.update(connected[1:])
                if connected:
                    return connected[0].result()
                for task in done:
                    last_error = task.exception()
                if pause is not None:
                    break
        assert last_error is not None
        raise last_error
    finally:
        for task in trying:
            task.add_done_callback(_discard)
            task.cancel()


def _discard(task: asyncio.Task[Any]) -> None:
    """Close a connection that came second and ignore its error, if any."""
    if not task.cancelled() and task.exception() is None:
        task.result().terminate()
