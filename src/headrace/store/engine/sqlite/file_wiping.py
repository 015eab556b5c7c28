"""Wipes what removed rows leave behind in the file."""

from __future__ import annotations

import contextlib
from pathlib import Path

import apsw

from headrace.store.contract.erasures import Wiped
from headrace.store.engine.sqlite.connection import open_writer
from headrace.store.engine.sqlite.writer import Writer

#: A file up to this size is rewritten, which blocks all writing for a second or two.
REWRITTEN_BYTES_MAX = 256 * 1024 * 1024


def wipe_file(connection: apsw.Connection, path: Path) -> Wiped:
    """Leave nothing of removed rows in the file and its log; not inside a transaction.

    Removed rows have been overwritten already. Copies in unused bytes of pages, left when rows
    moved between pages, have not: only rewriting the file is sure to drop them. A file that is too
    large for that keeps them until its pages are reused, or until `compact.py` copies the rest.

    Returns:
        Not yet when a reader still has an old snapshot, so that the log cannot be emptied.
    """
    is_rewritten = path.stat().st_size <= REWRITTEN_BYTES_MAX
    if is_rewritten:
        # With its temporary files on the disk. On a connection of its own: changing that setting
        # drops the temporary tables of a connection, and the accepting one has some.
        with contextlib.closing(open_writer(str(path))) as other:
            other.pragma("temp_store", "file")
            other.execute("VACUUM")
    try:
        pages, moved = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except apsw.BusyError:
        return Wiped.NOT_YET
    if pages != moved:
        return Wiped.NOT_YET
    return Wiped.DONE if is_rewritten else Wiped.IN_PLACE


class SqliteFiles:
    """See `headrace.store.privacy.erasures.Files`."""

    def __init__(self, writer: Writer, path: Path) -> None:
        self._writer = writer
        self._path = path

    async def wipe(self) -> Wiped:
        return await self._writer.run_bare(lambda connection: wipe_file(connection, self._path))
