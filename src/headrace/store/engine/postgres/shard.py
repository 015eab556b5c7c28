"""Shards the tables that grow with traffic over the nodes of a Citus cluster, by `lane`.

Such a table is recognized by having `lane` first in its primary key and in all other unique keys.
The small tables stay on the node that Headrace connects to, the coordinator.
"""

from __future__ import annotations

from typing import Any

import asyncpg

from headrace.store.contract.errors import StoreSetupError
from headrace.store.engine.postgres.database import Connection

#: More shards than nodes, so that nodes can be added later; lanes are 256.
SHARDS = 16
SHARDS_MAX = 256
#: The assignment of lanes does not grow with traffic, though its key is a lane, too.
_OWNERS = "lanes"
#: All others are colocated with this one, so rows of one lane are on one node.
_FIRST = "events"

# Tables whose primary key begins with `lane`, first the one that the others are colocated with.
TRAFFIC_TABLES = (
    "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid "
    "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0] "
    "WHERE i.indisprimary AND a.attname = 'lane' AND c.relkind IN ('r', 'p') "
    "AND NOT c.relispartition "
    f"AND c.relnamespace = current_schema()::regnamespace AND c.relname <> '{_OWNERS}' "
    f"ORDER BY c.relname <> '{_FIRST}', c.relname"
)
#: Whether tables may be sharded.
MAY_BE_SHARDED = "SELECT to_regclass('pg_dist_partition') IS NOT NULL"
_INSTALLED = "SELECT 1 FROM pg_extension WHERE extname = 'citus'"
_SHARD = "SELECT logicalrelid::regclass::text FROM pg_dist_partition WHERE partmethod = 'h'"

# Citus hides shards by testing each row of the catalogs. The client library reads them for every
# new connection, which then takes half a second for each type of array instead of milliseconds.
_CATALOGS_AS_THEY_ARE = (
    "SELECT format('ALTER DATABASE %I SET citus.override_table_visibility TO off', "
    "current_database())"
)


async def distribute(connection: Connection, shards: int = SHARDS) -> list[str]:
    """Shard the tables that are not sharded yet; returns their names.

    Each table is sharded with its rows in a transaction of its own, and locked until then. Run
    again after an interruption, or after a migration that added tables, it does what is missing.

    Args:
        connection: to the coordinator, outside a transaction and without a time limit.
        shards: of each table; ignored once `events` is sharded.

    Raises:
        StoreSetupError: the cluster cannot do it, with the reason.
    """
    if not await connection.fetchval(_INSTALLED):
        message = (
            "The database has no Citus. Install it on every node, run CREATE EXTENSION citus in "
            "the database of each, and add the nodes with citus_add_node."
        )
        raise StoreSetupError(message)
    tables = [row[0] for row in await connection.fetch(TRAFFIC_TABLES)]
    there = {row[0] for row in await connection.fetch(_SHARD)}
    missing = [table for table in tables if table not in there]
    for table in missing:
        await _shard(connection, table, shards)
    await _run(connection, await connection.fetchval(_CATALOGS_AS_THEY_ARE))
    return missing


async def _shard(connection: Connection, table: str, shards: int) -> None:
    how: tuple[str, Any] = (
        ("shard_count => $2, colocate_with => 'none'", shards)
        if table == _FIRST
        else ("colocate_with => $2", _FIRST)
    )
    sql = f"SELECT create_distributed_table($1::text::regclass, 'lane', {how[0]})"
    await _run(connection, sql, table, how[1])


async def _run(connection: Connection, sql: str, *values: Any) -> None:
    try:
        await connection.execute(sql, *values)
    except asyncpg.PostgresError as error:
        message = (
            f"The store cannot be sharded: {error}. As the owner of the database, run it again."
        )
        raise StoreSetupError(message) from error
