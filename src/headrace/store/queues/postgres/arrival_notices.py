"""Tells idle workers on other machines that events have arrived.

A notice is sent after a commit, in a transaction of its own: transactions that notify are committed
one after the other. It only ends a pause; a worker that misses one polls a moment later.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

from headrace.store.engine.postgres.database import Database
from headrace.store.engine.postgres.errors import is_error, store_error

#: Minimum interval between notices of one process. A worker polls several times in that time after
#: it got one (`PostgresProcessing.pace`).
INTERVAL_SECONDS = 0.1
#: Limit for the server to answer an idle listener, and how often it is asked.
ALIVE_SECONDS = 30.0

_NOTIFY = "NOTIFY headrace_events"
_CHANNEL = "headrace_events"


class ArrivalNotices:
    """Sends notices; for one process that accepts events."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._sent_s = -INTERVAL_SECONDS

    async def send(self, connection: Any) -> None:
        """Send one unless that was done recently; a failure is found by the next commit."""
        now_s = self._monotonic_s()
        if now_s - self._sent_s < INTERVAL_SECONDS:
            return
        self._sent_s = now_s
        with contextlib.suppress(Exception):
            async with asyncio.timeout(INTERVAL_SECONDS):
                await connection.execute(_NOTIFY)


async def listen(database: Database, arrived: Callable[[], None]) -> None:
    """Call `arrived` for every notice until the connection is lost.

    Raises:
        StoreError: it was lost, or there is none.
    """
    try:
        connection = await database.dedicated_connection(ALIVE_SECONDS)
    except Exception as error:
        if not is_error(error):
            raise
        raise store_error(error) from error
    try:
        await connection.add_listener(_CHANNEL, lambda *_: arrived())
        # Whatever was stored before this connection listened.
        arrived()
        while True:
            await asyncio.sleep(ALIVE_SECONDS)
            await connection.execute("SELECT 1")
    except Exception as error:
        if not is_error(error):
            raise
        raise store_error(error) from error
    finally:
        connection.terminate()
