"""Fills a PostgreSQL store with very many processed events, by SQL on the server.

They are inserted in the order of their sequences, as a server and a worker do, so their indexes are
as full as those of a real store. Contacts are not made: `contact_id` names some that do not exist.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

from bench.load.template import WRK_PEOPLE
from bench.scenario import Progress
from headrace.domain.events.identity import LANES
from headrace.store.engine.postgres.database import PartitionMadeError, with_partitions
from headrace.store.engine.postgres.partitions import TABLES

#: Events of one statement, and those of a second of the store's past.
CHUNK_EVENTS = 20_000
EVENTS_A_SECOND = 1_000
#: Passes in which the keys get into the large table: as many as keys move there in practice.
KEY_PASSES = 16

_PAYLOAD = (
    '{"order_id":"ord_%s","total":129.90,"currency":"EUR","items":[{"sku":"A-100","qty":2},'
    '{"sku":"B-220","qty":1}],"note":"leave at the door, please ring twice","coupon":null}'
)
# Sequence and id as in domain/ids.py. $1: the millisecond of the first event, $2: its number,
# $3: how many.
_EVENTS = f"""
WITH made AS MATERIALIZED (
    SELECT n, ($1::bigint + n * 1000 / {EVENTS_A_SECOND}) AS ms, (n % 1024) * 512 + 1 AS counter,
        (hashint8(n) & {LANES - 1})::smallint AS lane, md5(n::text) AS digits,
        'user_' || lpad((abs(hashint8(n + 1)) % {WRK_PEOPLE})::text, 6, '0') AS person
    FROM generate_series($2::bigint, $2::bigint + $3::bigint - 1) AS n
), events_of AS (
    INSERT INTO events (sequence, id, project_id, lane, event, external_id, idempotency_key,
        occurred_us, received_us, source, api_key_id, request_id, payload)
    SELECT (ms << 21) | counter, (lpad(to_hex(ms), 12, '0') || '7'
        || lpad(to_hex(counter >> 9), 3, '0') || to_hex((-9223372036854775808)::bigint
        | ((counter & 511) << 53) | (lane::bigint << 45) | n))::uuid,
        1, lane, 'order.completed', person, left(digits, 16), ms * 1000, ms * 1000 + 500, 0,
        'b6a719dd6d3157fe', left(digits, 10) || '00000000', format('{_PAYLOAD}', left(digits, 16))
    FROM made ORDER BY n
)
INSERT INTO event_states (lane, sequence, project_id, status, attempts, contact_id,
    resolution, processed_us)
SELECT lane, (ms << 21) | counter, 1, 3, 1, md5(person)::uuid::text, 'matched external_id',
    ms * 1000 + 900
FROM made ORDER BY n
"""
# Hashes are not those of the keys, which is of no matter to their index.
_KEYS = """
INSERT INTO sorted_keys (lane, hash, event_lane, event_sequence)
SELECT get_byte(uuid_send(hash), 15), hash, lane, sequence FROM (
    SELECT md5(idempotency_key)::uuid AS hash, lane, sequence FROM events
    WHERE sequence >= $1 AND sequence < $2
) AS k ORDER BY 1, 2
"""


async def fill_by_sql(connection: Any, events: int, progress: Progress) -> None:
    """Insert that many processed events with their keys into an empty store."""
    await connection.execute("SET synchronous_commit = off")
    first_ms = int(time.time() * 1000) - events * 1000 // EVENTS_A_SECOND
    await _end_first_partition(connection, first_ms << 21)
    for number in range(0, events, CHUNK_EVENTS):
        values = (first_ms, number, min(CHUNK_EVENTS, events - number))
        await _insert(connection, values)
        if number % (50 * CHUNK_EVENTS) == 0:
            progress(f"{number:,} of {events:,} events")
    for number in range(KEY_PASSES):
        bounds = [
            (first_ms + events * each // KEY_PASSES * 1000 // EVENTS_A_SECOND) << 21
            for each in (number, number + 1)
        ]
        if number == KEY_PASSES - 1:
            bounds[1] = 2**63 - 1
        await connection.execute(_KEYS, *bounds)
    progress(f"{events:,} keys")
    await connection.execute("VACUUM ANALYZE")
    await connection.execute("SET synchronous_commit = on")


async def _end_first_partition(connection: Any, sequence: int) -> None:
    """Let the first partition, which is empty, end in the past."""
    for parent in TABLES:
        await connection.execute(f"ALTER TABLE {parent} DETACH PARTITION {parent}_0")
        await connection.execute(
            f"ALTER TABLE {parent} ATTACH PARTITION {parent}_0 "
            f"FOR VALUES FROM (MINVALUE) TO ({sequence})"
        )


async def _insert(connection: Any, values: tuple[int, ...]) -> None:
    while True:
        with contextlib.suppress(PartitionMadeError):
            await with_partitions(connection, lambda each: each.execute(_EVENTS, *values))
            return
