"""How SQLite finds events: by their parts, and what no worker has processed yet in the queue.

On SQLite an index of events begins with their part (`queues/sqlite/parts.py`), so a statement walks
the parts, and an event has no part until it is processed. On PostgreSQL every event is in its
indexes at once, so the statements for the rest are empty there and nothing is run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from headrace.store.engine.dialect import Statement, sql, to_sqlite

#: Events not indexed yet that one page looks at.
UNINDEXED_MAX = 100_000
#: Sequence up to which all idempotency keys are in `sorted_keys`.
KEYS_SORTED_TO = (
    "coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'keys_sorted_to'), -1)"
)
T = TypeVar("T")


def from_parts(table: str, alias: str) -> str:
    """What follows FROM for rows of `events`, or of a view of it, by an index."""
    return f"event_parts p CROSS JOIN {table} {alias} ON {alias}.part = p.part"


def part_of(sequence: str) -> str:
    """The part in which a sequence lies; the first one for what is older than all."""
    return (
        "coalesce((SELECT b.part FROM event_parts b "
        f"WHERE b.first_sequence <= {sequence} ORDER BY b.first_sequence DESC LIMIT 1), 0)"
    )


def unindexed(columns: str, conditions: str, order: str) -> Statement:
    """A statement for what is not indexed yet: events `e` of the project `$1`, by the queue `q`.

    Args:
        conditions: each begins with AND.
        order: of `q.sequence`, and what follows it.
    """
    text = (
        f"SELECT {columns} FROM event_queue q "
        "CROSS JOIN stored_events e ON e.sequence = q.sequence AND e.part IS NULL "
        f"WHERE q.project_id = $1 {conditions} ORDER BY q.sequence {order}"
    )
    return sql("", sqlite=to_sqlite(text))


def newest_first(indexed: Iterable[T], rest: Iterable[T], limit: int) -> Sequence[T]:
    """Rows of both that begin with their sequence, together."""
    rows: list[T] = [*indexed, *rest]
    rows.sort(key=lambda row: -row[0])  # type: ignore[index]
    return rows[:limit]


def oldest_first(indexed: Iterable[T], rest: Iterable[T], limit: int) -> Sequence[T]:
    """The same in the order of receipt."""
    rows: list[T] = [*indexed, *rest]
    rows.sort(key=lambda row: row[0])  # type: ignore[index]
    return rows[:limit]
