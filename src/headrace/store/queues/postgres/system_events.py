"""System events, written in the transaction of the change that causes them."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.domain.events.event import Source
from headrace.store.contract.processing import SystemEvent
from headrace.store.engine.columns import columns_of
from headrace.store.engine.postgres.database import Connection
from headrace.store.engine.postgres.sequences import SequenceAllocator
from headrace.store.engine.postgres.transaction import PostgresTransaction
from headrace.store.engine.transaction import Transaction

_EVENTS = (
    "INSERT INTO events (lane, sequence, id, project_id, event, contact_id, payload, occurred_us, "
    "received_us, source) SELECT n.*, $8, $8, "
    f"{Source.SYSTEM:d} FROM unnest($1::smallint[], $2::bigint[], $3::uuid[], $4::int[], "
    "$5::text[], $6::text[], $7::text[]) AS n"
)
_WORK = (
    "INSERT INTO event_queue (lane, sequence, project_id, queued_us) SELECT n.*, "
    "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint "
    "FROM unnest($1::smallint[], $2::bigint[], $3::int[]) AS n"
)


async def insert_system_events(
    connection: Connection, numbers: SequenceAllocator, events: Sequence[SystemEvent], now_us: int
) -> None:
    """Insert the events and their work; runs inside the caller's transaction.

    They are numbered by the current time: the caller's may be from before it waited for rows that
    another transaction changed.
    """
    if not events:
        return
    numbered_us = max(now_us, numbers.now_us())
    rows = [
        (
            event.lane,
            *numbers.event(event.lane, numbered_us),
            event.project_id,
            event.event,
            event.contact_id,
            event.payload,
        )
        for event in events
    ]
    lanes, sequences, ids, projects, names, contacts, payloads = columns_of(rows, 7)
    await connection.execute(
        _EVENTS, lanes, sequences, ids, projects, names, contacts, payloads, now_us
    )
    await connection.execute(_WORK, lanes, sequences, projects)


class PostgresSystemEvents:
    """See `headrace.store.engine.system_events.SystemEvents`."""

    def __init__(self, numbers: SequenceAllocator) -> None:
        self._numbers = numbers

    async def insert(self, tx: Transaction, events: Sequence[SystemEvent], now_us: int) -> None:
        assert isinstance(tx, PostgresTransaction)
        await insert_system_events(tx.connection, self._numbers, events, now_us)
