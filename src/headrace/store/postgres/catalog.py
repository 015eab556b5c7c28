"""The catalog as people read it, on PostgreSQL: the rows of all lanes added up."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.domain.retention import HOUR_US
from headrace.store.contract_catalog import (
    DRIFT_KEPT,
    HOURS_KEPT,
    PATHS_MAX,
    CatalogEntry,
    CatalogFilter,
    CatalogName,
    CatalogTotals,
    HourCount,
)
from headrace.store.engine.columns import columns_of
from headrace.store.postgres.database import Connection, Database
from headrace.store.rows.catalog import (
    DRIFT_COLUMNS,
    PATH_COLUMNS,
    catalog_name,
    catalog_path,
    drift,
    drift_of_all,
    paths_of_all,
)

#: Rows of one name that are read: every lane may have some.
ROWS_MAX = 64 * PATHS_MAX

_SUMS = (
    "event, min(first_us), max(last_us), sum(events)::bigint, bit_or(sources), "
    "sum(inspected)::bigint, bit_or(personal), max(paths), sum(paths_over)::bigint, "
    "sum(drifts)::bigint, max(drift_us)"
)
_NAMES = (
    f"SELECT {_SUMS} FROM catalog_names WHERE project_id = $1 AND event > $2 "  # noqa: S608
    "AND event >= $3 AND event < $4 GROUP BY event "
    "HAVING ($5::int IS NULL OR bit_or(sources) & $5 <> 0) "
    "AND ($6::int = 0 OR bit_or(personal) & $6 <> 0) ORDER BY event LIMIT $7"
)
_NAME = f"SELECT {_SUMS} FROM catalog_names WHERE project_id = $1 AND event = $2 GROUP BY event"  # noqa: S608
_EXAMPLE = (
    "SELECT example, example_id FROM catalog_names WHERE project_id = $1 AND event = $2 "
    "AND example IS NOT NULL ORDER BY coalesce(drift_us, first_us) DESC LIMIT 1"
)
_PATHS = (
    f"SELECT {PATH_COLUMNS} FROM catalog_paths WHERE project_id = $1 AND event = $2 "  # noqa: S608
    f"ORDER BY path LIMIT {ROWS_MAX}"
)
_DRIFT = (
    f"SELECT {DRIFT_COLUMNS} FROM catalog_drift WHERE project_id = $1 AND event = $2 "  # noqa: S608
    f"ORDER BY at_us DESC, number DESC LIMIT {64 * DRIFT_KEPT}"
)
_HOURS = (
    "SELECT event, hour, source, sum(events)::bigint FROM catalog_hours WHERE project_id = $1 "
    "AND event = ANY($2::text[]) AND hour BETWEEN $3 AND $4 GROUP BY event, hour, source "
    "ORDER BY event, hour, source"
)
_DISTINCT_NAMES = "SELECT count(DISTINCT event) FROM catalog_names WHERE project_id = $1"
_TOTALS = (
    "SELECT coalesce(sum(names_over), 0)::bigint, coalesce(sum(failures), 0)::bigint "
    "FROM catalog_totals WHERE project_id = $1"
)
_DUE = (
    "SELECT lane, project_id, event, hour, source FROM catalog_hours WHERE hour < $1 "
    "ORDER BY hour LIMIT $2"
)
_PRUNE = (
    "DELETE FROM catalog_hours AS h USING unnest($1::smallint[], $2::int[], $3::text[], "
    "$4::int[], $5::smallint[]) AS k (lane, project_id, event, hour, source) "
    "WHERE h.lane = k.lane AND h.project_id = k.project_id AND h.event = k.event "
    "AND h.hour = k.hour AND h.source = k.source"
)
#: Above every character that a name can have.
_AFTER_ALL = "\x7f"


class PostgresCatalog:
    """See `headrace.store.contract_catalog.CatalogStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def names(
        self, project_id: int, wanted: CatalogFilter, after: str, limit: int
    ) -> list[CatalogName]:
        source = None if wanted.source is None else 1 << wanted.source
        bounds = (after, wanted.prefix, wanted.prefix + _AFTER_ALL)

        async def read(connection: Connection) -> list[CatalogName]:
            rows = await connection.fetch(
                _NAMES, project_id, *bounds, source, wanted.personal, limit
            )
            return [catalog_name(row) for row in rows]

        return await self._database.read(read)

    async def entry(self, project_id: int, event: str) -> CatalogEntry | None:
        key = project_id, event

        async def read(connection: Connection) -> CatalogEntry | None:
            row = await connection.fetchrow(_NAME, *key)
            if row is None:
                return None
            example = await connection.fetchrow(_EXAMPLE, *key)
            paths = [catalog_path(path) for path in await connection.fetch(_PATHS, *key)]
            entries = [drift(entry) for entry in await connection.fetch(_DRIFT, *key)]
            merged = paths_of_all(paths)
            return CatalogEntry(
                name=catalog_name(row),
                paths=merged[:PATHS_MAX],
                drift=drift_of_all(entries, merged)[:DRIFT_KEPT],
                example=None if example is None else example[0],
                example_id=None if example is None else example[1],
            )

        return await self._database.read(read, snapshot=True)

    async def hours(
        self, project_id: int, events: Sequence[str], first: int, last: int
    ) -> list[HourCount]:
        rows = await self._database.read(
            lambda connection: connection.fetch(_HOURS, project_id, list(events), first, last)
        )
        return [HourCount(*row) for row in rows]

    async def totals(self, project_id: int) -> CatalogTotals:
        async def read(connection: Connection) -> CatalogTotals:
            names = await connection.fetchval(_DISTINCT_NAMES, project_id)
            return CatalogTotals(names, *await connection.fetchrow(_TOTALS, project_id))

        return await self._database.read(read, snapshot=True)

    async def prune(self, now_us: int, limit: int) -> int:
        before = now_us // HOUR_US - HOURS_KEPT

        async def work(connection: Connection) -> int:
            due = sorted(tuple(row) for row in await connection.fetch(_DUE, before, limit))
            if due:
                await connection.execute(_PRUNE, *columns_of(due, 5))
            return len(due)

        return await self._database.write(work)
