"""SQLite alone: `executemany` of the rows that the service has stored, into the same schema.

Nothing is decoded, checked or answered here, and nothing else uses the interpreter: it is the
ceiling of what any server with this schema could store.
"""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path

import apsw

from headrace.store.engine.sqlite.connection import open_writer
from headrace.store.engine.sqlite.migrate import migrate

#: Rows held in memory at a time; loading them is not timed.
CHUNK_ROWS = 20_480
#: SQLite's own default, which the service replaces by checkpoints between commits.
AUTOCHECKPOINT_PAGES = 1_000
#: Filled in after the accept, so they keep their defaults here.
SET_BY_PROCESSING = frozenset(
    {"status", "attempts", "resolved_contact_id", "last_error", "resolution", "processed_us"}
)


def events_per_second(stored: Path, target: Path, *, rows_per_commit: int, rows_max: int) -> float:
    """Copy at most `rows_max` events of the database `stored` into the new file `target`.

    Every event is written as at the accept, its row and by the trigger its queue row, and synced.
    """
    source = apsw.Connection(str(stored), flags=apsw.SQLITE_OPEN_READONLY)
    writer = open_writer(str(target))
    try:
        migrate(writer)
        writer.wal_autocheckpoint(AUTOCHECKPOINT_PAGES)
        return _timed_copy(source, writer, rows_per_commit, rows_max)
    finally:
        writer.close()
        source.close()


def _timed_copy(
    source: apsw.Connection, writer: apsw.Connection, rows_per_commit: int, rows_max: int
) -> float:
    columns = [row[1] for row in source.execute("PRAGMA table_info(events)")]
    named = ", ".join(name for name in columns if name not in SET_BY_PROCESSING)
    marks = ", ".join("?" * (named.count(",") + 1))
    insert_event = f"INSERT INTO events ({named}) VALUES ({marks})"
    events = source.execute(
        f"SELECT {named} FROM events ORDER BY sequence LIMIT ?",
        (rows_max,),
    )
    copied, spent_s = 0, 0.0
    while chunk := list(islice(events, CHUNK_ROWS)):
        started = time.perf_counter()
        for at in range(0, len(chunk), rows_per_commit):
            writer.execute("BEGIN IMMEDIATE")
            writer.executemany(insert_event, chunk[at : at + rows_per_commit])
            writer.execute("COMMIT")
        spent_s += time.perf_counter() - started
        copied += len(chunk)
    return copied / spent_s
