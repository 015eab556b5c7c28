"""Makes a SQLite store large in minutes instead of the hour that accepting its events takes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import apsw

from bench.load.template import KEY_DIGITS
from headrace.domain.ids import EventIdGenerator
from headrace.store.queues.sqlite.parts import PART_EVENTS

#: The store looks as if its events had come at this pace, the last one just now.
US_AN_EVENT = 500
SLICE = 50_000
PROGRESS_EVERY = 20 * SLICE
HASH_BYTES = 16
#: Columns in which an event differs from the one that it copies.
_OWN = (
    "sequence", "id", "idempotency_hash", "idempotency_key", "occurred_us", "received_us",
    "processed_us", "part",
)  # fmt: skip
# Inserting an event queues it; these are processed already.
_NOT_QUEUED = "DELETE FROM event_queue"
_PARTS = (
    "INSERT INTO event_parts (part, first_sequence) "
    "SELECT part, min(sequence) FROM events GROUP BY part"
)
_SORT_KEYS = (
    "INSERT INTO sorted_keys (hash, sequence) SELECT idempotency_hash, sequence FROM events "
    "ORDER BY idempotency_hash"
)
_MARK = (
    "INSERT OR REPLACE INTO meta (name, value) "
    "SELECT 'keys_sorted_to', CAST(max(sequence) AS TEXT) FROM events"
)


def generate(database: Path, events: int, progress: Callable[[str], None]) -> None:
    """Replace the processed events of a store by `events` copies of them, in random order.

    Each copy has an id, times and a key of its own. Rows, indexes, parts and sorted keys are those
    that accepting and processing leave behind; counts in the catalog stay as they are. No other
    process may use the store.
    """
    connection = apsw.Connection(str(database))
    try:
        connection.pragma("synchronous", "off")
        columns = [row[1] for row in connection.execute("PRAGMA table_info(events)")]
        copied = [name for name in columns if name not in _OWN]
        seeds = connection.execute(f"SELECT {', '.join(copied)} FROM events").fetchall()
        with connection:
            for table in ("events", "event_queue", "sorted_keys", "expired_keys", "event_parts"):
                connection.execute(f"DELETE FROM {table}")
        rows = _rows(seeds, copied.index("lane"), events)
        marks = ", ".join("?" * len(columns))
        insert = f"INSERT INTO events ({', '.join((*_OWN, *copied))}) VALUES ({marks})"
        for written in range(0, events, SLICE):
            with connection:
                connection.executemany(insert, islice(rows, SLICE))
                connection.execute(_NOT_QUEUED)
            if written % PROGRESS_EVERY == 0:
                progress(f"writing: {written:,} of {events:,} events")
        with connection:
            for statement in (_PARTS, _SORT_KEYS, _MARK):
                connection.execute(statement)
        connection.pragma("wal_checkpoint(truncate)")
    finally:
        connection.close()


def _rows(seeds: list[Any], lane: int, events: int) -> Iterator[tuple[Any, ...]]:
    draw = random.Random()
    first_us = time.time_ns() // 1000 - events * US_AN_EVENT
    ids = EventIdGenerator(lambda: first_us)
    for number in range(events):
        seed = draw.choice(seeds)
        at_us = first_us + number * US_AN_EVENT
        sequence, event_id = ids.next(seed[lane], at_us)
        key = f"{draw.getrandbits(4 * KEY_DIGITS):0{KEY_DIGITS}x}"
        part = number // PART_EVENTS + 1
        own = (sequence, event_id, draw.randbytes(HASH_BYTES), key, at_us, at_us, at_us, part)
        yield (*own, *seed)
