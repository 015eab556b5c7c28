"""One server per store: a lock on a separate file next to the database.

Not on the database file: closing any descriptor of that file would drop SQLite's own locks of
the whole process (POSIX), so ordinary file calls never touch it.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from headrace.private_files import open_private
from headrace.store.contract.errors import StoreSetupError
from headrace.store.engine.sqlite.files import LOCK, file_beside


class InstanceLock:
    """Held from opening to closing; the kernel releases it when the process dies."""

    def __init__(self, database: Path) -> None:
        self._path = file_beside(database, LOCK)
        self._descriptor = open_private(self._path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            message = (
                f"{database} is in use by another headrace process (pid {holder or 'unknown'}). "
                "Stop it first, or talk to it over HTTP with --url and --key."
            )
            raise StoreSetupError(message) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Release the lock."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
