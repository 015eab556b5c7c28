"""How large the store is, on one machine or spread over a cluster."""

from __future__ import annotations

from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction

_PAGES = "FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
_SPREAD = sql(
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
# What removed rows have left is known to the free space map of PostgreSQL's server only.
_REUSABLE = sql(
    "SELECT 0",
    sqlite=f"SELECT freelist_count * page_size {_PAGES}",
)


async def is_spread(tx: Transaction) -> bool:
    """Whether tables may be spread over a cluster."""
    return bool(await tx.value(_SPREAD))


async def used_bytes(tx: Transaction) -> int:
    """Bytes in use; with those of tables on other servers where the store is spread.

    On SQLite, pages that removed rows have left behind are not in use.
    """
    used = int(await tx.value(_HERE))
    return used + int(await tx.value(_NODES)) if await is_spread(tx) else used


async def reusable_bytes(tx: Transaction) -> int:
    """Room inside the store that removed rows have left; 0 where the store cannot tell."""
    return int(await tx.value(_REUSABLE))
