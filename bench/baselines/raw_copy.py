"""PostgreSQL alone: `COPY` of the rows that the service has stored, into the same schema.

Nothing is decoded, checked or answered here. One connection stores the events, their keys and queue
rows, which is everything that an accept writes; `COPY` is the fastest way into PostgreSQL.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

import asyncpg

from headrace.store.engine.postgres.database import PartitionMadeError, with_partitions
from headrace.store.queues.postgres.accept import EVENT_COLUMNS
from tests.support.postgres import aside

#: Rows held in memory at a time; loading them is not timed.
CHUNK_ROWS = 20_480

_EVENT = tuple(EVENT_COLUMNS)
_KEY = ("lane", "hash", "event_lane", "event_sequence")
_WORK = ("lane", "sequence", "project_id", "queued_us")
_STORED = (
    f"SELECT {', '.join(f'e.{name}' for name in _EVENT)}, "
    "k.lane AS key_lane, k.hash AS hash "
    "FROM events e LEFT JOIN (TABLE recent_keys UNION ALL TABLE sorted_keys) k "
    "ON k.event_lane = e.lane AND k.event_sequence = e.sequence "
    "WHERE e.sequence > $1 ORDER BY e.sequence LIMIT $2"
)


def events_per_second(source: str, target: str, *, rows_per_commit: int, rows_max: int) -> float:
    """Copy at most `rows_max` events of the database `source` into the empty `target`."""
    return aside(_copy(source, target, rows_per_commit, rows_max))


async def _copy(source: str, target: str, rows_per_commit: int, rows_max: int) -> float:
    reader, writer = await asyncpg.connect(source), await asyncpg.connect(target)
    try:
        copied, after, spent_s = 0, 0, 0.0
        while copied < rows_max:
            rows = await reader.fetch(_STORED, after, min(CHUNK_ROWS, rows_max - copied))
            if not rows:
                break
            parts = [rows[at : at + rows_per_commit] for at in range(0, len(rows), rows_per_commit)]
            prepared = [_records(part) for part in parts]
            started = time.perf_counter()
            for records in prepared:
                await _store(writer, records)
            spent_s += time.perf_counter() - started
            copied += len(rows)
            after = rows[-1]["sequence"]
        return copied / spent_s
    finally:
        await writer.close()
        await reader.close()


_Records = dict[str, tuple[tuple[str, ...], list[Any]]]


def _records(rows: list[Any]) -> _Records:
    """Rows of each table."""
    keyed = [row for row in rows if row["hash"] is not None]
    return {
        "events": (_EVENT, [tuple(row)[: len(_EVENT)] for row in rows]),
        "recent_keys": (
            _KEY,
            [(row["key_lane"], row["hash"], row["lane"], row["sequence"]) for row in keyed],
        ),
        "event_queue": (
            _WORK,
            [(row["lane"], row["sequence"], row["project_id"], row["received_us"]) for row in rows],
        ),
    }


async def _store(writer: Any, records: _Records) -> None:
    async def work(connection: Any) -> None:
        async with connection.transaction():
            for table, (columns, rows) in records.items():
                await connection.copy_records_to_table(table, columns=columns, records=rows)

    # Partitions are made as the store itself does.
    done = False
    while not done:
        with contextlib.suppress(PartitionMadeError):
            await with_partitions(writer, work)
            done = True
