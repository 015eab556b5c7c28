"""The thread that moves the log into the database while the writing thread commits.

A checkpoint writes and syncs thousands of pages. On the writing thread every caller would wait for
it. On a thread and a connection of its own it runs beside the commits; what they add to the log in
the meantime is little, and the writing thread moves that itself, so that the next commit can begin
the log again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import apsw

from headrace.faults import fail_point


class Checkpointer:
    """One checkpoint at a time. `request` and `close` are for one thread, the writing one.

    Args:
        connection: used by this thread only, until `close` has returned.
        on_end: called in this thread after each checkpoint, with its error if it failed.
    """

    def __init__(
        self, connection: apsw.Connection, on_end: Callable[[apsw.Error | None], None]
    ) -> None:
        self._connection = connection
        self._on_end = on_end
        self._requests = threading.Semaphore(0)
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="headrace-checkpoint", daemon=True)
        self._thread.start()

    def request(self) -> None:
        """Start a checkpoint; not to be called again before its end."""
        self._requests.release()

    def close(self) -> None:
        """End the thread, after the checkpoint that runs, and close the connection."""
        self._closing = True
        self._requests.release()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while True:
            self._requests.acquire()
            if self._closing:
                return
            fail_point("before_checkpoint")
            try:
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            except apsw.Error as error:
                self._on_end(error)
            else:
                self._on_end(None)
