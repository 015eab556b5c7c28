"""Write a batch of accepted events with one statement, which is its own transaction.

A transaction of several statements has a round trip for each; this one saves a fifth of the CPU
time of client and server. It only inserts new events: duplicates are left to accept.py. A cluster
with sharded tables does not accept this statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.domain.events.identity import lane_of_key
from headrace.store.contract.commits import Pending
from headrace.store.engine.postgres.database import Connection, failing_on_warnings
from headrace.store.queues.postgres.accept import EVENT_COLUMNS

_COLUMNS = ", ".join(EVENT_COLUMNS)
_KINDS = (*EVENT_COLUMNS.values(), "smallint", "uuid")
# Keys are sorted as in keys.py, or two batches could deadlock. Of two events of a batch with one
# key, the first gets it. `queued_us` is as in accept.py, read after all waits for locks and keys.
# The function is given all keys that were inserted, so it runs after the last of them.
INSERT_AT_ONCE = f"""
WITH batch AS MATERIALIZED (
    SELECT * FROM unnest({", ".join(f"${n}::{kind}[]" for n, kind in enumerate(_KINDS, 1))})
    AS t ({_COLUMNS}, key_lane, hash)
), won AS (
    INSERT INTO recent_keys (lane, hash, event_lane, event_sequence)
    SELECT key_lane, hash, lane, sequence FROM batch WHERE hash IS NOT NULL
    ORDER BY key_lane, hash, sequence
    ON CONFLICT (lane, hash) DO NOTHING RETURNING lane, hash, event_sequence
), checked AS MATERIALIZED (
    SELECT coalesce(give_back_sorted(array_agg(lane), array_agg(hash)), '{{}}') AS known FROM won
), kept AS MATERIALIZED (
    SELECT event_sequence FROM won, checked WHERE hash <> ALL (known)
), fresh AS MATERIALIZED (
    SELECT * FROM batch WHERE hash IS NULL OR sequence IN (SELECT event_sequence FROM kept)
), place AS MATERIALIZED (
    SELECT array_agg(event_sequence) AS keyed,
        greatest((extract(epoch FROM clock_timestamp()) * 1000000)::bigint, ${len(_KINDS) + 1})
        AS queued_us
    FROM kept
), stored AS (
    INSERT INTO events ({_COLUMNS}) SELECT {_COLUMNS} FROM fresh
), waiting AS (
    INSERT INTO event_queue (lane, sequence, project_id, queued_us)
    SELECT lane, sequence, project_id, queued_us FROM fresh, place
)
SELECT queued_us, keyed FROM place
"""


async def insert_at_once(
    connection: Connection, batch: Sequence[Pending], queued_us: int
) -> tuple[list[Pending], int]:
    """Insert and commit what is new.

    Args:
        queued_us: what this returned for the last batch that was committed, 0 for the first.

    Returns:
        The duplicates, of which nothing is written yet, and `queued_us` of the new events.

    Raises:
        StoreError: see `failing_on_warnings`.
    """
    events = [pending.event for pending in batch]
    columns: list[list[Any]] = [
        [getattr(event, name) for event in events] for name in EVENT_COLUMNS
    ]
    hashes = [event.idempotency_hash for event in events]
    lanes = [None if hashed is None else lane_of_key(hashed) for hashed in hashes]
    with failing_on_warnings(connection):
        row = await connection.fetchrow(INSERT_AT_ONCE, *columns, lanes, hashes, queued_us)
    queued_us, keyed = row
    won = {*(keyed or ())}
    if len(won) == len(hashes) - hashes.count(None):
        return [], queued_us
    repeats = [
        pending
        for pending in batch
        if pending.event.idempotency_hash is not None and pending.event.sequence not in won
    ]
    return repeats, queued_us
