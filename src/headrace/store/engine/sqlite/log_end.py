"""Remembers how far the log reached, so that a start after a kill notices what is missing.

A killed process leaves its last commits in the log only. If that file is then removed, cut or
damaged, SQLite opens the database without them and reports nothing. So the serving process notes
after each commit, in its lock file, which log it is, how many pages it has, and the newest event.
The note survives a kill, because the kernel keeps it. After a restart of the machine it may be
older or newer than what reached the disk, so it is not compared then.

A log that is not as noted is no loss when another program has emptied it into the database: then
the newest event is there. The event alone would not do, since it may have been erased.

The end of the log is read from the index that SQLite shares between processes, whose format is
documented (https://sqlite.org/walformat.html, section 2): no call into the library is needed, which
would release the interpreter lock in the middle of every commit.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

import apsw

from headrace.store.contract.commits import Pending
from headrace.store.contract.errors import StoreSetupError
from headrace.store.engine.sqlite.files import LOCK, LOG, SHARED_MEMORY, file_beside
from headrace.store.engine.sqlite.lock import NOTE_BYTES, InstanceLock

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
#: In the index: two copies of its header, and in a copy the number of pages and the log's salts.
_COPY_BYTES = 48
_PAGES = slice(16, 20)
_SALTS = slice(32, 40)
#: In the log, where the salts stand.
_SALTS_IN_LOG = slice(16, 24)
#: In the note: the boot, pages and salts as in the index, and the sequence of the newest event.
_NOTE = struct.Struct("=36sI8sQ")
assert _NOTE.size <= NOTE_BYTES
_NO_PAGES = bytes(4)


class LogEnd:
    """Notes the end of the log after each commit; for the one process that serves.

    Args:
        connection: has the store open.
        lock: held until after `close`.
    """

    def __init__(self, path: Path, connection: apsw.Connection, lock: InstanceLock) -> None:
        # Reading makes the library create the index.
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        # Closing a descriptor of this file would drop SQLite's locks of the whole process, so it
        # stays open until the connections are closed.
        self._descriptor = os.open(file_beside(path, SHARED_MEMORY), os.O_RDONLY | os.O_CLOEXEC)
        self._index = mmap.mmap(self._descriptor, 2 * _COPY_BYTES, access=mmap.ACCESS_READ)
        self._note = mmap.mmap(lock.descriptor, mmap.PAGESIZE)
        start = lock.note_at
        self._at_pages = slice(start + 36, start + 40)
        self._at_salts = slice(start + 40, start + 48)
        self._at_newest = slice(start + 48, start + 56)
        self._note[start : start + 36] = _boot_id()

    def note(self, batch: Sequence[Pending]) -> None:
        """Note the end of the log after a batch has been committed."""
        index = self._index
        if index[:_COPY_BYTES] != index[_COPY_BYTES : 2 * _COPY_BYTES]:
            # Another process is committing; the next commit notes the end.
            return
        note = self._note
        # A kill between two of these leaves a note of no pages, which asks for nothing.
        note[self._at_pages] = _NO_PAGES
        note[self._at_salts] = index[_SALTS]
        for pending in reversed(batch):
            if pending.outcome is None:
                note[self._at_newest] = pending.event.sequence.to_bytes(8, sys.byteorder)
                break
        note[self._at_pages] = index[_PAGES]

    def close(self) -> None:
        """Stop noting; only after the last connection of the process has been closed."""
        self._index.close()
        self._note.close()
        os.close(self._descriptor)


def check_log(path: Path, lock: InstanceLock) -> None:
    """Reject a log that ends before the note of a killed process.

    Call it before any connection of this process is open.

    Raises:
        StoreSetupError: with what to do about it.
    """
    boot, pages, salts, newest = _NOTE.unpack(lock.note[: _NOTE.size])
    if not pages or boot != _boot_id() or not path.exists():
        return
    log = file_beside(path, LOG)
    problem = _beginning(log, salts)
    whole, has_newest = _contents(path, newest)
    if not problem and _salts(log) == salts and whole < pages:
        problem = f"is whole up to page {whole} of {pages}"
    if problem and not has_newest:
        raise _lost(path, problem)


def _beginning(log: Path, salts: bytes) -> str:
    """What is wrong with the beginning of the log, or nothing."""
    if not log.exists():
        return "is missing"
    found = _salts(log)
    if len(found) < len(salts):
        return "is empty"
    # Each time the log begins again, its first salt grows by 1.
    if (_first(found) - _first(salts)) % 2**32 >= 2**31:
        return "is not the one that was written last"
    return ""


def _contents(path: Path, newest: int) -> tuple[int, bool]:
    """Pages of the log up to its last whole commit, and whether an event is stored.

    The log and the database stay as they are.
    """
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        row = connection.execute("SELECT 1 FROM events WHERE sequence = ?", (newest,)).fetchone()
        pages, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        return pages, row is not None
    finally:
        connection.close()


def _salts(log: Path) -> bytes:
    with log.open("rb") as file:
        return file.read(32)[_SALTS_IN_LOG]


def _first(salts: bytes) -> int:
    return int.from_bytes(salts[:4], byteorder="big")


def _boot_id() -> bytes:
    try:
        return _BOOT_ID.read_bytes().strip()[:36].ljust(36, b"\0")
    except OSError:
        return bytes(36)


def _lost(path: Path, problem: str) -> StoreSetupError:
    log, lock = file_beside(path, LOG).name, file_beside(path, LOCK).name
    return StoreSetupError(
        f"The last server on {path} was killed, and the log of its last changes ({log}) {problem}. "
        "Events that were answered with 202 would be lost. Put the log back, or restore a backup "
        f"and remove {lock}. To go on without the lost events, start with --accept-data-loss."
    )
