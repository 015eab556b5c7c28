"""System events, written in the transaction of the change that causes them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import apsw

from headrace.domain.events.event import Source
from headrace.domain.ids import id_of_sequence, received_us_of, system_sequences_of
from headrace.store.contract.processing import SystemEvent
from headrace.store.engine.sqlite.bulk import BulkInsert
from headrace.store.engine.sqlite.transaction import SqliteTransaction
from headrace.store.engine.transaction import Transaction

_INSERT = BulkInsert(
    "INSERT INTO events (sequence, id, project_id, lane, event, contact_id, occurred_us, "
    "received_us, source, payload)",
    10,
)
_tail_bits = random.SystemRandom().getrandbits


def insert_system_events(
    connection: apsw.Connection, events: Sequence[SystemEvent], now_us: int
) -> None:
    """Insert the events, and by the trigger their work; runs inside the caller's transaction.

    They are numbered here, under the write lock, above all earlier system events: several processes
    may write some, with times read before they waited for the lock.
    """
    if not events:
        return
    first = _first_free(connection, now_us, len(events))
    now_us = max(now_us, received_us_of(first))
    rows: list[tuple[Any, ...]] = []
    for offset, event in enumerate(events):
        sequence = first + offset
        event_id = id_of_sequence(sequence, event.lane, _tail_bits(45))
        rows.append(
            (
                sequence,
                event_id,
                event.project_id,
                event.lane,
                event.event,
                event.contact_id,
                now_us,
                now_us,
                Source.SYSTEM.value,
                event.payload,
            )
        )
    _INSERT.run(connection, rows)


def _first_free(connection: apsw.Connection, now_us: int, count: int) -> int:
    # A time that is behind continues in the millisecond of the newest event. No system event is
    # later than that.
    newest = connection.execute("SELECT coalesce(max(sequence), 0) FROM events").get
    now_us = max(now_us, received_us_of(newest))
    start, end = system_sequences_of(now_us)
    row: Any = connection.execute(
        "SELECT max(sequence) FROM events WHERE sequence >= ? AND sequence < ?", (start, end)
    ).fetchone()
    first = start if row[0] is None else int(row[0]) + 1
    return first if first + count <= end else system_sequences_of(now_us + 1000)[0]


class SqliteSystemEvents:
    """See `headrace.store.engine.system_events.SystemEvents`."""

    async def insert(self, tx: Transaction, events: Sequence[SystemEvent], now_us: int) -> None:
        assert isinstance(tx, SqliteTransaction)
        insert_system_events(tx.connection, events, now_us)
