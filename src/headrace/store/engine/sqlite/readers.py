"""Reading connections, each in a thread of its own, with limits on time and on waiters."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import apsw

from headrace.store.contract.errors import StoreBusyError
from headrace.store.engine.sqlite.connection import open_reader, store_error
from headrace.store.engine.transaction import READ_SECONDS_MAX

T = TypeVar("T")

#: Two are enough to keep a slow list from delaying a look-up; more would only share the cores.
READERS = 3
#: Reads that may wait for a connection.
WAITING_MAX = 200
#: Extra time for a read's turn, and for a disk that does not respond; the limit of the read itself
#: comes first.
RESPONSE_SECONDS_MAX = 5.0
#: Virtual machine steps between two checks of the clock; some tens of microseconds.
_STEPS = 5000


class Readers:
    """A pool of reading connections, opened when first needed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._executor = ThreadPoolExecutor(READERS, thread_name_prefix="headrace-reader")
        self._idle: queue.SimpleQueue[apsw.Connection] = queue.SimpleQueue()
        self._opened: list[apsw.Connection] = []
        self._waiting = 0

    async def run(
        self, read: Callable[[apsw.Connection], T], seconds_max: float = READ_SECONDS_MAX
    ) -> T:
        """Run `read` in one snapshot.

        Raises:
            StoreBusyError: too many reads wait, this one took longer than `seconds_max`, or it had
            no result `RESPONSE_SECONDS_MAX` later.
        """
        if self._waiting >= WAITING_MAX:
            message = "Too many reads at once."
            raise StoreBusyError(message)
        self._waiting += 1
        loop = asyncio.get_running_loop()
        reading = loop.run_in_executor(self._executor, self._read, read, seconds_max)
        reading.add_done_callback(self._ended)
        # Not cancelled with its caller: its thread is busy until it ends.
        await asyncio.wait({reading}, timeout=seconds_max + RESPONSE_SECONDS_MAX)
        if not reading.done():
            message = "The store does not respond."
            raise StoreBusyError(message)
        return reading.result()

    def _ended(self, reading: asyncio.Future[T]) -> None:
        self._waiting -= 1
        if not reading.cancelled():
            # Its caller may be cancelled.
            reading.exception()

    def _read(self, read: Callable[[apsw.Connection], T], seconds_max: float) -> T:
        try:
            connection = self._take()
        except apsw.Error as error:
            raise store_error(error) from error
        deadline = time.monotonic() + seconds_max
        try:
            connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
            connection.execute("BEGIN")
            try:
                return read(connection)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except apsw.Error as error:
            raise store_error(error) from error
        finally:
            self._idle.put(connection)

    def _take(self) -> apsw.Connection:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            connection = open_reader(self._path)
            self._opened.append(connection)
            return connection

    def close(self) -> None:
        """Wait for reads in progress and close the connections."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        for connection in self._opened:
            connection.close()
