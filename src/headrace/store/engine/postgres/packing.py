"""Rebuilds the indexes of partitions that are complete, once.

While events come in, their indexes are filled at many places, which leaves a third of their pages
empty. Nothing is inserted into a partition that has ended, so its indexes can be full. Reads and
writes go on meanwhile.
"""

from __future__ import annotations

from typing import Any

from headrace.store.engine.postgres.partitions import TABLES, partitions
from headrace.store.engine.postgres.shard import MAY_BE_SHARDED

#: The newest partitions: one made ahead, one in use, and one whose events may still wait.
UNPACKED = 3
#: Held by the session that rebuilds. Any number that is not used for another advisory lock.
_LOCK = 7_267_004
_TRY_LOCK = f"SELECT pg_try_advisory_lock({_LOCK})"
_UNLOCK = f"SELECT pg_advisory_unlock({_LOCK})"
#: The comment on an index that is rebuilt. An index that replaces it gets the comment, too.
_MARK = "packed"
# Left by a rebuild that was interrupted.
_INVALID = (
    "SELECT format('%I', c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
    "WHERE i.indrelid = ANY ($1::text[]::regclass[]) AND NOT i.indisvalid"
)
_NEXT = (
    "SELECT format('%I', c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
    "WHERE i.indrelid = ANY ($1::text[]::regclass[]) AND i.indisvalid "
    f"AND obj_description(c.oid, 'pg_class') IS DISTINCT FROM '{_MARK}' "
    "ORDER BY i.indrelid, i.indexrelid LIMIT 1"
)


async def pack_next(connection: Any) -> bool:
    """Rebuild one index, outside a transaction; False when all are rebuilt.

    An interrupted rebuild is done again. The first partition, which has no lower bound, is left as
    it is: it may be as large as a whole store.
    """
    # Not tried on a cluster.
    if await connection.fetchval(MAY_BE_SHARDED):
        return False
    found = (await partitions(connection))[:-UNPACKED]
    tables = [each.table(parent) for each in found if not each.is_first for parent in TABLES]
    if not tables or not await connection.fetchval(_TRY_LOCK):
        return False
    try:
        for (left,) in await connection.fetch(_INVALID, tables):
            await connection.execute(f"DROP INDEX CONCURRENTLY {left}")
        index = await connection.fetchval(_NEXT, tables)
        if index is None:
            return False
        await connection.execute(f"ALTER INDEX {index} SET (fillfactor = 100)")
        await connection.execute(f"REINDEX INDEX CONCURRENTLY {index}")
        await connection.execute(f"COMMENT ON INDEX {index} IS '{_MARK}'")
        return True
    finally:
        await connection.execute(_UNLOCK)
