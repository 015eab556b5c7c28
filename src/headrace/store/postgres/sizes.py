"""How large the store is, on one server or spread over a cluster."""

from __future__ import annotations

from headrace.store.postgres.database import Connection

_SPREAD = "SELECT to_regclass('pg_dist_partition') IS NOT NULL"
_NODES = (
    "SELECT coalesce(sum(citus_total_relation_size(logicalrelid)), 0)::bigint "
    "FROM pg_dist_partition"
)


async def is_spread(connection: Connection) -> bool:
    """Whether tables may be spread over a cluster."""
    return bool(await connection.fetchval(_SPREAD))


async def size_bytes(connection: Connection) -> int:
    """Bytes of the database; with those of its tables on other servers where it is spread."""
    here = await connection.fetchval("SELECT pg_database_size(current_database())")
    if not await is_spread(connection):
        return int(here)
    return int(here) + int(await connection.fetchval(_NODES))
