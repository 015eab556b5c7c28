"""The size of the store, on one machine or sharded over a cluster."""

from __future__ import annotations

from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction

_PAGES = "FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
_SHARDED = sql(
    "SELECT to_regclass('pg_dist_partition') IS NOT NULL",
    sqlite="SELECT 0",
)
_HERE = sql(
    "SELECT pg_database_size(current_database())",
    sqlite=f"SELECT (page_count - freelist_count) * page_size {_PAGES}",
)
_NODES = sql(
    "SELECT coalesce(sum(citus_total_relation_size(logicalrelid)), 0)::bigint "
    "FROM pg_dist_partition",
    sqlite="SELECT 0",
)
# On PostgreSQL only the free space map of the server knows what removed rows have left.
_REUSABLE = sql(
    "SELECT 0",
    sqlite=f"SELECT freelist_count * page_size {_PAGES}",
)
# On SQLite, see `store/events/parts.py`; one part has at most some ten thousand events.
_PARTS = sql("", sqlite="SELECT part FROM event_parts ORDER BY part")
EVENTS_OF_PART = sql("", sqlite="SELECT count(*) FROM events WHERE part = ?1")
#: Parts whose events are counted; the others are taken to have as many on average.
PARTS_COUNTED_MAX = 16


async def is_sharded(tx: Transaction) -> bool:
    """Whether tables may be sharded over a cluster."""
    return bool(await tx.value(_SHARDED))


async def used_bytes(tx: Transaction) -> int:
    """Bytes in use, including those on other servers where the store is sharded.

    On SQLite, pages that removed rows have left behind are not in use.
    """
    used = int(await tx.value(_HERE))
    return used + int(await tx.value(_NODES)) if await is_sharded(tx) else used


async def reusable_bytes(tx: Transaction) -> int:
    """Free space inside the store that removed rows have left; 0 where that is unknown."""
    return int(await tx.value(_REUSABLE))


async def events_about(tx: Transaction) -> int | None:
    """About how many processed events there are; None on PostgreSQL, where only a scan could say.

    Counts a few parts, evenly spread, by an index.
    """
    parts = [row[0] for row in await tx.rows(_PARTS)]
    if not parts:
        return None
    counted = sorted(
        {
            round(each * (len(parts) - 1) / (PARTS_COUNTED_MAX - 1))
            for each in range(PARTS_COUNTED_MAX)
        }
    )
    events = 0
    for place in counted:
        events += int(await tx.value(EVENTS_OF_PART, parts[place]))
    return events * len(parts) // len(counted)
