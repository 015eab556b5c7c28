"""Opens connections to the embedded store and maps their errors."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path

import apsw

from headrace.store.contract.errors import (
    StoreBusyError,
    StoreError,
    StoreFailedError,
    StoreFullError,
    StoreSetupError,
)
from headrace.store.engine.sqlite.files import make_store_private

#: Older libraries can lose committed rows when two connections write or checkpoint at once
#: in WAL mode (fixed in SQLite 3.51.3).
VERSION_MIN = (3, 51, 3)
BUSY_SECONDS_MAX = 5.0
#: Pause between attempts to take the write lock. SQLite's own handler sleeps up to 100 ms, which
#: would delay every caller whose commit meets a batch of the worker.
_BUSY_NAP_SECONDS = 0.0002
CACHE_KIB = 32 * 1024
READER_CACHE_KIB = 4 * 1024

#: After one of these the operating system may have dropped data it was told to keep. SQLite would
#: carry on as if nothing had happened; this store stops.
_FATAL = frozenset(
    {
        apsw.SQLITE_IOERR_FSYNC,
        apsw.SQLITE_IOERR_DIR_FSYNC,
        apsw.SQLITE_IOERR_CORRUPTFS,
        apsw.SQLITE_IOERR_DATA,
        apsw.SQLITE_CORRUPT,
        apsw.SQLITE_NOTADB,
    }
)


def check_version() -> None:
    """Reject a library that can lose rows.

    Raises:
        StoreSetupError: naming the version found and the one needed.
    """
    found = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if found < VERSION_MIN:
        needed = ".".join(map(str, VERSION_MIN))
        message = (
            f"SQLite {apsw.sqlite_lib_version()} can lose committed rows in WAL mode; "
            f"{needed} or newer is needed. Run: pip install --upgrade apsw"
        )
        raise StoreSetupError(message)


class BusyHandler:
    """Waits for another process's write lock in short sleeps."""

    def __init__(self) -> None:
        #: How often the lock was taken by another process.
        self.waits = 0
        self._deadline = 0.0

    def __call__(self, calls: int) -> bool:
        now = time.monotonic()
        if calls == 0:
            self.waits += 1
            self._deadline = now + BUSY_SECONDS_MAX
        time.sleep(_BUSY_NAP_SECONDS)
        return now < self._deadline


def open_writer(path: str) -> apsw.Connection:
    """The one connection of a process that writes and checkpoints.

    Raises:
        OSError: the file does not exist and cannot be created.
        StoreBusyError: `headrace compact` has just replaced the file.
    """
    make_store_private(Path(path))
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    connection = apsw.Connection(path, flags=flags)
    connection.set_busy_handler(BusyHandler())
    connection.pragma("journal_mode", "wal")
    try:
        check_not_replaced(connection)
    except StoreBusyError:
        connection.close()
        raise
    connection.pragma("synchronous", "full")
    # Checkpoints run between commits, never inside one that a caller waits for.
    connection.wal_autocheckpoint(0)
    connection.pragma("foreign_keys", 1)
    connection.pragma("cache_size", -CACHE_KIB)
    connection.pragma("temp_store", "memory")
    # Removed rows are overwritten where that writes no further page; erasure does the rest.
    connection.pragma("secure_delete", "fast")
    connection.pragma("journal_size_limit", 64 * 1024 * 1024)
    return connection


def check_not_replaced(connection: apsw.Connection) -> None:
    """Reject a file whose name another file has taken since it was opened.

    What is written to it would be lost. After this the file stays in place: a connection in WAL
    mode has a shared lock from its first read until it is closed, and `compact.py` replaces the
    file only where there is none.

    Raises:
        StoreBusyError: open it again.
    """
    connection.pragma("schema_version")
    moved = ctypes.c_int()
    connection.file_control("main", apsw.SQLITE_FCNTL_HAS_MOVED, ctypes.addressof(moved))
    if moved.value:
        message = "The file of the store has just been replaced. Try again."
        raise StoreBusyError(message)


def open_checkpointer(path: str) -> apsw.Connection:
    """A connection that only moves the log into the database."""
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
    connection.pragma("synchronous", "full")
    connection.wal_autocheckpoint(0)
    return connection


def open_reader(path: str) -> apsw.Connection:
    """A read-only connection."""
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_handler(BusyHandler())
    connection.pragma("query_only", 1)
    connection.pragma("cache_size", -READER_CACHE_KIB)
    connection.wal_autocheckpoint(0)
    return connection


def store_error(error: BaseException) -> StoreError:
    """The store error for an error of the library."""
    if isinstance(error, StoreError):
        return error
    code = getattr(error, "extendedresult", 0)
    if code in _FATAL or getattr(error, "result", 0) in _FATAL:
        return StoreFailedError(f"{type(error).__name__}: {error}")
    if isinstance(error, apsw.FullError):
        return StoreFullError("The disk of the store is full.")
    if isinstance(error, (apsw.BusyError, apsw.LockedError)):
        return StoreBusyError("Another process holds the store.")
    if isinstance(error, apsw.InterruptError):
        return StoreBusyError("The query took too long; narrow it down.")
    return StoreError(f"{type(error).__name__}: {error}")


#: Errors that are about one row and its values, not about the disk.
ROW_ERRORS = (
    apsw.ConstraintError,
    apsw.TooBigError,
    apsw.MismatchError,
    apsw.RangeError,
    OverflowError,
    TypeError,
    UnicodeError,
)
