"""Gives unused space of an embedded store back: a smaller copy takes its place.

1. hold the instance lock, check the log of a killed server, and lock all others out; 2. empty the
log and check the file; 3. copy what is in use to a new file beside the store; 4. compare, check and
sync the copy; 5. remove the empty log, so that it can never be applied to the copy; 6. rename the
copy over the store. A kill leaves the old store until step 6 and the new one after it, and what it
leaves of a copy is removed by the next compaction or start of a server.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import msgspec

from headrace.faults import fail_point
from headrace.private_files import replace_private
from headrace.store.contract.errors import StoreError, StoreFullError, StoreSetupError
from headrace.store.engine.sqlite.connection import BusyHandler, check_version, store_error
from headrace.store.engine.sqlite.disk import free_bytes
from headrace.store.engine.sqlite.file_check import check_file, damaged, problem_of
from headrace.store.engine.sqlite.files import (
    COPY,
    LOG,
    SHARED_MEMORY,
    file_beside,
    remove_unfinished_copy,
)
from headrace.store.engine.sqlite.lock import InstanceLock
from headrace.store.engine.sqlite.log_end import check_log
from headrace.store.engine.sqlite.migrate import newest_version, schema_version
from headrace.store.engine.sqlite.writer import checkpoint_fully

#: Steps of the library between two reports of progress: a few hundred rows.
_STEPS = 1000
#: Needed beyond the pages in use: rows may be packed slightly worse in the copy.
_MARGIN_SHARE = 64
_MARGIN_BYTES = 1024 * 1024
_SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name"
#: Kept in the copy, besides the journal mode.
_KEPT = ("user_version", "application_id", "page_size", "auto_vacuum", "encoding")

#: Called with bytes done and a few words about the step.
Report = Callable[[int, str], None]


class Space(msgspec.Struct, frozen=True, kw_only=True):
    """What a compaction needs and gives back, estimated before it runs."""

    #: Of the database file now.
    size_bytes: int
    #: Of the copy, at most: rows are packed closer there than they are now.
    used_bytes: int
    #: Free on the disk now.
    free_bytes: int

    @property
    def needed_bytes(self) -> int:
        """Room for the copy beside the store."""
        return self.used_bytes + self.used_bytes // _MARGIN_SHARE + _MARGIN_BYTES

    @property
    def given_back_bytes(self) -> int:
        """At least."""
        return max(0, self.size_bytes - self.used_bytes)


class Compaction:
    """A store that no other process has open; made by `open_compaction`.

    Args:
        connection: holds the exclusive lock of the database, until it is closed.
    """

    def __init__(self, path: Path, connection: apsw.Connection) -> None:
        self._path = path
        self._copy = file_beside(path, COPY)
        self._connection = connection
        pages, free, page_bytes = (
            int(connection.pragma(name)) for name in ("page_count", "freelist_count", "page_size")
        )
        self.space = Space(
            size_bytes=path.stat().st_size,
            used_bytes=(pages - free) * page_bytes,
            free_bytes=free_bytes(path),
        )

    def run(self, report: Report, change_copy: Callable[[apsw.Connection], object]) -> int:
        """Replace the store by a compact copy; returns the bytes of the new file.

        Args:
            change_copy: called inside a transaction on the copy.

        Raises:
            StoreError: the store is unchanged.
        """
        with _errors(self._path):
            if self.space.free_bytes < self.space.needed_bytes:
                message = (
                    f"The disk of {self._path} has {self.space.free_bytes} bytes free, "
                    f"{self.space.needed_bytes} are needed. Nothing was changed."
                )
                raise StoreFullError(message)
            try:
                self._reporting(
                    lambda: check_file(self._connection, self._path), report, "checking"
                )
                self._write_copy(report)
                self._finish_copy(report, change_copy)
                self._replace()
            except BaseException:
                remove_unfinished_copy(self._path)
                raise
            return self._path.stat().st_size

    def _write_copy(self, report: Report) -> None:
        os.close(replace_private(self._copy))

        def work() -> None:
            self._connection.execute("VACUUM INTO ?", (str(self._copy),))

        self._reporting(work, report, "copying")
        fail_point("compact_copied")

    def _finish_copy(
        self, report: Report, change_copy: Callable[[apsw.Connection], object]
    ) -> None:
        connection = apsw.Connection(str(self._copy), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.pragma("locking_mode", "exclusive")
            connection.pragma("synchronous", "full")
            report(self.space.used_bytes, "checking the copy")
            same = _layout(connection) == _layout(self._connection)
            problem = problem_of(connection) if same else "another schema"
            if problem:
                message = f"The copy of {self._path} is wrong ({problem}). Nothing was changed."
                raise StoreError(message)
            # A copy begins without a log.
            connection.pragma("journal_mode", "wal")
            with connection:
                change_copy(connection)
            checkpoint_fully(connection)
        finally:
            connection.close()
        _keep_owner(self._path, self._copy)
        _sync(self._copy)
        _sync(self._path.parent)
        fail_point("compact_synced")

    def _replace(self) -> None:
        # Closing must not write the log: its name will belong to the new file.
        self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        # All of it is in the database, which the checkpoint has synced.
        file_beside(self._path, LOG).unlink(missing_ok=True)
        file_beside(self._path, SHARED_MEMORY).unlink(missing_ok=True)
        _sync(self._path.parent)
        fail_point("compact_log_removed")
        self._copy.replace(self._path)
        fail_point("compact_replaced")
        _sync(self._path.parent)

    def _reporting(self, work: Callable[[], object], report: Report, words: str) -> None:
        def note() -> bool:
            fail_point(f"compact_{words}")
            written = self._copy.stat().st_size if self._copy.exists() else 0
            report(min(written, self.space.used_bytes), words)
            return False

        report(0, words)
        self._connection.set_progress_handler(note, _STEPS)
        try:
            work()
        finally:
            self._connection.set_progress_handler(None)


@contextlib.contextmanager
def open_compaction(path: Path) -> Iterator[Compaction]:
    """Lock everyone else out of a store and look at its space.

    Raises:
        StoreSetupError: it is in use, damaged or of another release, or there is none.
    """
    check_version()
    if not path.exists():
        message = f"There is no store at {path}."
        raise StoreSetupError(message)
    with contextlib.ExitStack() as undo:
        with _errors(path):
            lock = InstanceLock(path)
            undo.callback(lock.give_back)
            check_log(path, lock)
            connection = _open_alone(path)
            undo.callback(connection.close)
            if schema_version(connection) != newest_version():
                message = f"{path} has the schema of another release. Run: headrace migrate"
                raise StoreSetupError(message)
            lock.take_over()
            remove_unfinished_copy(path)
            checkpoint_fully(connection)
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
            compaction = Compaction(path, connection)
        undo.pop_all()
    try:
        yield compaction
    finally:
        # The log is empty, whatever has happened since.
        connection.close()
        lock.release()


def _open_alone(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        # A log that has not been checked stays as it is.
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.set_busy_handler(BusyHandler())
        # Of this file only, not of the copy. A process that has the store open holds a shared lock.
        connection.execute("PRAGMA main.locking_mode = exclusive").fetchall()
        connection.pragma("synchronous", "full")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    except apsw.BusyError:
        connection.close()
        message = (
            f"{path} is in use by a worker, a command or another program. Stop it and try again."
        )
        raise StoreSetupError(message) from None
    except BaseException:
        connection.close()
        raise
    return connection


def _layout(connection: apsw.Connection) -> list[object]:
    kept = [connection.pragma(name) for name in _KEPT]
    return [*kept, connection.execute(_SCHEMA).fetchall()]


def _keep_owner(path: Path, copy: Path) -> None:
    owner, made = path.stat(), copy.stat()
    if (owner.st_uid, owner.st_gid) != (made.st_uid, made.st_gid):
        os.chown(copy, owner.st_uid, owner.st_gid)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise damaged(path, str(error)) from error
    except apsw.Error as error:
        raise store_error(error) from error
    except OSError as error:
        message = f"{path} cannot be compacted: {error.strerror or error}"
        raise StoreError(message) from error
