"""One server per store: a lock on a separate file next to the database.

Not on the database file: closing any descriptor of that file would drop SQLite's own locks of
the whole process (POSIX), so ordinary file calls never touch it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from pathlib import Path

from headrace.private_files import open_private
from headrace.store.contract.errors import StoreSetupError
from headrace.store.engine.sqlite.files import LOCK, file_beside

_PID_BYTES = 32
#: Bytes after the process id that a holder may write, see `log_end.py`.
NOTE_BYTES = 64


class InstanceLock:
    """Held from opening to closing; the kernel releases it when the process dies.

    Raises:
        StoreSetupError: another process holds it.
    """

    #: Where the note stands in the file.
    note_at = _PID_BYTES

    def __init__(self, database: Path) -> None:
        self._path = file_beside(database, LOCK)
        self.descriptor = open_private(self._path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self.descriptor, _PID_BYTES, 0).decode("ascii", "replace")
            os.close(self.descriptor)
            holder = holder.strip("\0\n ") or "unknown"
            message = (
                f"{database} is in use by another headrace process (pid {holder}). "
                "Stop it first, or talk to it over HTTP with --url and --key."
            )
            raise StoreSetupError(message) from None
        #: What the last holder noted, if it was killed; zeros otherwise.
        self.note = os.pread(self.descriptor, NOTE_BYTES, self.note_at).ljust(NOTE_BYTES, b"\0")

    def take_over(self) -> None:
        """Forget the last holder: this process is the holder now."""
        os.ftruncate(self.descriptor, 0)
        os.ftruncate(self.descriptor, mmap.PAGESIZE)
        os.pwrite(self.descriptor, f"{os.getpid()}\n".encode(), 0)
        # What was noted must not outlive the log that is emptied next.
        os.fsync(self.descriptor)

    def release(self) -> None:
        """Release the lock of a holder that has ended well."""
        os.ftruncate(self.descriptor, 0)
        os.close(self.descriptor)

    def give_back(self) -> None:
        """Release the lock and keep what the last holder noted."""
        os.close(self.descriptor)
