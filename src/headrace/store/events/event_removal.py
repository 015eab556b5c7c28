"""Removes events with everything that is kept only about them; in the caller's transaction.

Workers of PostgreSQL may write about the same events at the same time. Each of their writes first
locks a row that is removed here before the rows it refers to: so either the write is seen here, or
it finds no row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from headrace.domain.events.identity import idempotency_hash, lane_of_key
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import Statement, sql
from headrace.store.engine.transaction import Transaction

#: Deliveries that one transaction removes; each has some attempts.
DELIVERIES_MAX = 1000

#: Lane and number of a row. SQLite finds it by the number alone.
Place = tuple[int, int]


def removal(table: str, column: str) -> Statement:
    """A statement that removes rows by the number in a column, and their lane."""
    return sql(
        f"DELETE FROM {table} t USING unnest($1::smallint[], $2::bigint[]) AS k (lane, number) "
        f"WHERE t.lane = k.lane AND t.{column} = k.number",
        sqlite=f"DELETE FROM {table} WHERE {column} IN (SELECT value FROM json_each(?2))",
    )


REMOVE_DELIVERIES = removal("deliveries", "number")
REMOVE_ATTEMPTS = removal("delivery_attempts", "delivery_number")
REMOVE_DETAILS = {
    "duplicate_requests": removal("duplicate_requests", "sequence"),
    "attempts": removal("processing_attempts", "sequence"),
    "conflicts": removal("contact_conflicts", "sequence"),
    "dead_letters": removal("dead_letters", "sequence"),
    # SQLite keeps these two in the event's own row.
    "event_states": sql(removal("event_states", "sequence").postgres, sqlite=""),
}
# In this order: a key that is moved meanwhile from the first to the second is found in the second.
REMOVE_KEYS = tuple(
    sql(
        f"DELETE FROM {table} i USING unnest($1::smallint[], $2::uuid[], $3::bigint[]) "
        "AS k (lane, hash, sequence) "
        "WHERE i.lane = k.lane AND i.hash = k.hash AND i.event_sequence = k.sequence",
        sqlite="",
    )
    for table in ("recent_keys", "sorted_keys")
)
REMOVE_EVENTS = removal("events", "sequence")
# On SQLite the keys of removed events wait to leave their large table with others. A key may have
# come again and belong to a later event.
FORGET_KEYS = (
    sql(
        "", sqlite="DELETE FROM expired_keys WHERE hash IN (SELECT unhex(value) FROM json_each(?1))"
    ),
    sql(
        "",
        sqlite="DELETE FROM sorted_keys WHERE hash IN (SELECT unhex(value) FROM json_each(?1)) "
        "AND NOT EXISTS (SELECT 1 FROM events e WHERE e.sequence = sorted_keys.sequence)",
    ),
)


async def remove_rows(tx: Transaction, statement: Statement, places: Sequence[Place]) -> int:
    """Run a removal; returns how many rows were removed."""
    if not places:
        return 0
    # In the order in which all writers lock such rows.
    return await tx.run(statement, *columns_of(sorted(places), 2))


async def remove_belongings(
    tx: Transaction,
    project_id: int,
    events: Sequence[Place],
    deliveries: Sequence[Place],
    keys: Iterable[tuple[str | None, int]],
) -> dict[str, int]:
    """Remove what belongs to events, but not the events; returns the number of rows by kind.

    Args:
        deliveries: those of the events.
        keys: idempotency key and sequence of the events.
    """
    # First: a duplicate locks the key before it is noted. So the note is either seen below, or
    # finds no key.
    named = sorted(
        (lane_of_key(hashed), hashed, sequence)
        for hashed, sequence in (
            (idempotency_hash(project_id, key), sequence)
            for key, sequence in keys
            if key is not None
        )
    )
    counts = {"keys": 0}
    for statement in REMOVE_KEYS if named else ():
        counts["keys"] += await tx.run(statement, *columns_of(named, 3))
    counts["deliveries"] = await remove_rows(tx, REMOVE_DELIVERIES, deliveries)
    counts["delivery_attempts"] = await remove_rows(tx, REMOVE_ATTEMPTS, deliveries)
    for kind, statement in REMOVE_DETAILS.items():
        counts[kind] = await remove_rows(tx, statement, events)
    return counts


async def forget_keys(tx: Transaction, project_id: int, keys: Iterable[str | None]) -> None:
    """Leave nothing of the idempotency keys of events that have just been removed."""
    hashes = [idempotency_hash(project_id, key).hex() for key in keys if key is not None]
    for statement in FORGET_KEYS:
        await tx.run(statement, hashes)
