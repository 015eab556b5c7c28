"""Backs up an embedded store while it is used, and restores the backup to a new store.

A backup is one snapshot: everything that was committed when it began, and nothing of what came
later. It is written under another name, checked, synced and renamed, so that a file with the name
of a backup is always whole.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw

from headrace.faults import fail_point
from headrace.private_files import create_private_folder, replace_private
from headrace.store.contract.errors import StoreError, StoreSetupError
from headrace.store.engine.sqlite.connection import check_version, open_reader, store_error
from headrace.store.engine.sqlite.file_check import damaged, problem_of
from headrace.store.engine.sqlite.files import LOG, SHARED_MEMORY, file_beside
from headrace.store.engine.sqlite.lock import InstanceLock
from headrace.store.engine.sqlite.migrate import newest_version, schema_version

#: Of a backup or a store that is being written.
UNFINISHED = ".unfinished"
#: Pages copied between two reports of progress: 16 MiB.
_PAGES = 4096

#: Called with bytes done, bytes in all, and a few words about the step.
Report = Callable[[int, int, str], None]


def write_backup(
    path: Path, target: Path, report: Report, change: Callable[[apsw.Connection], object]
) -> int:
    """Write a backup of the store at `path`; returns its size in bytes.

    Servers and workers go on meanwhile. Their log grows by what they write, since it cannot be
    emptied past the snapshot.

    Args:
        change: called inside a transaction on the backup.

    Raises:
        StoreSetupError: there is no store, or `target` exists.
        StoreError: nothing was written.
    """
    check_version()
    if not path.exists():
        message = f"There is no store at {path}."
        raise StoreSetupError(message)
    _reject_existing(target, "Name another file")
    with _errors(target), contextlib.closing(open_reader(str(path))) as source:
        # What a killed server left of its log is not for a backup to move.
        source.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        # One snapshot from here to the end: without it, each write of others would begin it again.
        source.execute("BEGIN")
        _check_schema(source, path)
        fail_point("backup_begun")
        _copy(source, target, report, change)
    return target.stat().st_size


def restore_backup(
    backup: Path, path: Path, report: Report, change: Callable[[apsw.Connection], object]
) -> int:
    """Make a new store at `path` from a backup; returns its size in bytes.

    Args:
        backup: any whole copy of a store in one file. It is not changed.
        change: called inside a transaction on the new store.

    Raises:
        StoreSetupError: there is a store at `path`, or the file is no backup.
        StoreError: nothing was written.
    """
    check_version()
    _check_backup(backup)
    create_private_folder(path.parent)
    # No server can start meanwhile, and what the last one has noted of its log is forgotten.
    lock = InstanceLock(path)
    try:
        _reject_existing(path, "Move it away with all files beside it")
        for ending in (LOG, SHARED_MEMORY, "-journal"):
            _reject_existing(file_beside(path, ending), "It belongs to another store: move it away")
        lock.take_over()
        with _errors(backup), contextlib.closing(_open_unchanged(backup)) as source:
            _check_schema(source, backup)
            _copy(source, path, report, change)
        return path.stat().st_size
    finally:
        lock.release()


def _copy(
    source: apsw.Connection,
    target: Path,
    report: Report,
    change: Callable[[apsw.Connection], object],
) -> None:
    unfinished = target.with_name(target.name + UNFINISHED)
    os.close(replace_private(unfinished))
    try:
        connection = apsw.Connection(str(unfinished), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            page_bytes, total = int(source.pragma("page_size")), 0
            with connection.backup("main", source, "main") as copying:
                while not copying.done:
                    copying.step(_PAGES)
                    total = copying.page_count * page_bytes
                    report(total - copying.remaining * page_bytes, total, "copying")
            fail_point("backup_copied")
            # One file without a log, that opens read-only as well.
            connection.pragma("journal_mode", "delete")
            connection.pragma("synchronous", "full")
            report(total, total, "checking")
            if problem := problem_of(connection):
                message = f"What was copied to {target} is damaged ({problem})."
                raise StoreError(message)
            with connection:
                change(connection)
        finally:
            connection.close()
        _sync(unfinished)
        unfinished.replace(target)
        _sync(target.parent)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _check_backup(backup: Path) -> None:
    if not backup.is_file():
        message = f"There is no backup at {backup}."
        raise StoreSetupError(message)
    log = file_beside(backup, LOG)
    if log.exists() and log.stat().st_size:
        message = (
            f"{backup} has a log beside it, so it is a store or a copy of its files, not a backup. "
            "Write one with: headrace backup"
        )
        raise StoreSetupError(message)


def _open_unchanged(backup: Path) -> apsw.Connection:
    """A connection that makes no files beside the backup, which may be on a read-only disk."""
    uri = f"{backup.absolute().as_uri()}?immutable=1"
    return apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)


def _check_schema(source: apsw.Connection, path: Path) -> None:
    found = schema_version(source)
    if not 0 < found <= newest_version():
        what = "is no store of Headrace" if not found else "was written by a newer release"
        message = f"{path} {what}."
        raise StoreSetupError(message)


def _reject_existing(path: Path, advice: str) -> None:
    if path.exists() or path.is_symlink():
        message = f"{path} exists. {advice}."
        raise StoreSetupError(message)


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
        message = f"{path} cannot be written: {error.strerror or error}"
        raise StoreError(message) from error
