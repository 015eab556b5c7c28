"""Reads the catalog.

On PostgreSQL each worker counts in a lane of its own, and reads add the rows up. SQLite has one row
of each, in lane 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from headrace.domain.upkeep.retention import HOUR_US
from headrace.store.catalog.catalog_rows import (
    DRIFT_COLUMNS,
    NAME_COLUMNS,
    PATH_COLUMNS,
    catalog_name,
    catalog_path,
    drift,
    drift_of_all,
    paths_of_all,
)
from headrace.store.contract.catalog import (
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
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Transaction

#: Lanes whose rows of one name are read.
_LANES_READ = 64

_SUMS = (
    "event, min(first_us), max(last_us), sum(events)::bigint, bit_or(sources), "
    "sum(inspected)::bigint, bit_or(personal), max(paths), sum(paths_over)::bigint, "
    "sum(drifts)::bigint, max(drift_us)"
)
# SQLite has no `bit_or`, and nothing to add up.
NAMES = sql(
    f"SELECT {_SUMS} FROM catalog_names WHERE project_id = $1 AND event > $2 "
    "AND event >= $3 AND event < $4 GROUP BY event "
    "HAVING ($5::int IS NULL OR bit_or(sources) & $5 <> 0) "
    "AND ($6::int = 0 OR bit_or(personal) & $6 <> 0) ORDER BY event LIMIT $7",
    sqlite=f"SELECT {NAME_COLUMNS} FROM catalog_names WHERE project_id = ?1 AND event > ?2 "
    "AND event >= ?3 AND event < ?4 AND (?5 IS NULL OR sources & ?5) AND (?6 = 0 OR personal & ?6) "
    "ORDER BY event LIMIT ?7",
)
NAME = sql(
    f"SELECT {_SUMS} FROM catalog_names WHERE project_id = $1 AND event = $2 GROUP BY event",
    sqlite=f"SELECT {NAME_COLUMNS} FROM catalog_names WHERE project_id = ?1 AND event = ?2",
)
EXAMPLE = sql(
    "SELECT example, example_id FROM catalog_names WHERE project_id = $1 AND event = $2 "
    "AND example IS NOT NULL ORDER BY coalesce(drift_us, first_us) DESC LIMIT 1"
)
PATHS = sql(
    f"SELECT {PATH_COLUMNS} FROM catalog_paths WHERE project_id = $1 AND event = $2 "
    f"ORDER BY path LIMIT {_LANES_READ * PATHS_MAX}"
)
DRIFT = sql(
    f"SELECT {DRIFT_COLUMNS} FROM catalog_drift WHERE project_id = $1 AND event = $2 "
    f"ORDER BY at_us DESC, number DESC LIMIT {_LANES_READ * DRIFT_KEPT}"
)
HOURS = sql(
    "SELECT event, hour, source, sum(events)::bigint FROM catalog_hours WHERE project_id = $1 "
    "AND event = ANY($2::text[]) AND hour BETWEEN $3 AND $4 GROUP BY event, hour, source "
    "ORDER BY event, hour, source"
)
COUNT = sql(
    "SELECT count(DISTINCT event) FROM catalog_names WHERE project_id = $1",
    # Maintained by the single worker, so that the rows need not be counted.
    sqlite="SELECT names FROM catalog_totals WHERE project_id = ?1",
)
TOTALS = sql(
    "SELECT coalesce(sum(names_over), 0)::bigint, coalesce(sum(failures), 0)::bigint "
    "FROM catalog_totals WHERE project_id = $1"
)
EXPIRED = sql(
    "SELECT lane, project_id, event, hour, source FROM catalog_hours WHERE hour < $1 "
    "ORDER BY hour LIMIT $2"
)
REMOVE = sql(
    "DELETE FROM catalog_hours WHERE (lane, project_id, event, hour, source) IN "
    "(SELECT k.lane, k.project_id, k.event, k.hour, k.source FROM unnest($1::smallint[], "
    "$2::int[], $3::text[], $4::int[], $5::smallint[]) "
    "AS k (lane, project_id, event, hour, source))"
)
#: Above every character that a name can have.
_AFTER_ALL = "\x7f"


class Catalog:
    """The catalog of each project."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def names(
        self, project_id: int, wanted: CatalogFilter, after: str, limit: int
    ) -> list[CatalogName]:
        """Names after `after`, in order, up to `limit`."""
        source = None if wanted.source is None else 1 << wanted.source
        bounds = (after, wanted.prefix, wanted.prefix + _AFTER_ALL)
        values = (project_id, *bounds, source, wanted.personal, limit)
        rows = await self._database.read(lambda tx: tx.rows(NAMES, *values))
        return [catalog_name(row) for row in rows]

    async def entry(self, project_id: int, event: str) -> CatalogEntry | None:
        """What is known of a name; None for an unknown name."""

        async def read(tx: Transaction) -> CatalogEntry | None:
            row = await tx.row(NAME, project_id, event)
            if row is None:
                return None
            example, example_id = await tx.row(EXAMPLE, project_id, event) or (None, None)
            paths = paths_of_all(map(catalog_path, await tx.rows(PATHS, project_id, event)))
            entries = [drift(entry) for entry in await tx.rows(DRIFT, project_id, event)]
            return CatalogEntry(
                name=catalog_name(row),
                paths=paths[:PATHS_MAX],
                drift=drift_of_all(entries, paths)[:DRIFT_KEPT],
                example=example,
                example_id=example_id,
            )

        return await self._database.read(read, snapshot=True)

    async def hours(
        self, project_id: int, events: Sequence[str], first: int, last: int
    ) -> list[HourCount]:
        """Counts of some names from hour `first` to `last`."""
        rows = await self._database.read(
            lambda tx: tx.rows(HOURS, project_id, list(events), first, last)
        )
        return [HourCount(*row) for row in rows]

    async def totals(self, project_id: int) -> CatalogTotals:
        """Totals, and how much the limits left out."""

        async def read(tx: Transaction) -> CatalogTotals:
            names = await tx.value(COUNT, project_id) or 0
            over, failures = await tx.row(TOTALS, project_id) or (0, 0)
            return CatalogTotals(names, over, failures)

        return await self._database.read(read, snapshot=True)

    async def prune(self, now_us: int, limit: int) -> int:
        """Remove up to `limit` expired counts of hours; returns how many were removed."""
        before = now_us // HOUR_US - HOURS_KEPT
        # Usually nothing is due: then the write lock of SQLite is not taken.
        rows = await self._database.read(lambda tx: tx.rows(EXPIRED, before, limit))
        if not rows:
            return 0
        keys = columns_of(sorted(map(tuple, rows)), 5)
        return await self._database.write(lambda tx: tx.run(REMOVE, *keys))
