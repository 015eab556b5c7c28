"""The catalog as people read it, in the embedded store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

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
from headrace.store.rows.catalog import (
    DRIFT_COLUMNS,
    NAME_COLUMNS,
    PATH_COLUMNS,
    catalog_name,
    catalog_path,
    drift,
)
from headrace.store.sqlite.readers import Readers
from headrace.store.sqlite.writer import Writer

_NAMES = (
    f"SELECT {NAME_COLUMNS} FROM catalog_names WHERE project_id = ? AND event > ? "  # noqa: S608
    "AND event >= ? AND event < ? AND (? IS NULL OR sources & ?) AND (? = 0 OR personal & ?) "
    "ORDER BY event LIMIT ?"
)
_NAME = (
    f"SELECT {NAME_COLUMNS}, example, example_id FROM catalog_names "  # noqa: S608
    "WHERE project_id = ? AND event = ?"
)
_PATHS = (
    f"SELECT {PATH_COLUMNS} FROM catalog_paths WHERE project_id = ? AND event = ? "  # noqa: S608
    f"ORDER BY path LIMIT {PATHS_MAX}"
)
_DRIFT = (
    f"SELECT {DRIFT_COLUMNS} FROM catalog_drift WHERE project_id = ? AND event = ? "  # noqa: S608
    f"ORDER BY number DESC LIMIT {DRIFT_KEPT}"
)
_HOURS = (
    "SELECT event, hour, source, events FROM catalog_hours "
    "WHERE project_id = ? AND event = ? AND hour BETWEEN ? AND ? ORDER BY hour, source"
)
_PRUNE = (
    "DELETE FROM catalog_hours WHERE (project_id, event, hour, source) IN ("
    "SELECT project_id, event, hour, source FROM catalog_hours WHERE hour < ? LIMIT ?)"
)
#: Above every character that a name can have.
_AFTER_ALL = "\x7f"


class SqliteCatalog:
    """See `headrace.store.contract_catalog.CatalogStore`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def names(
        self, project_id: int, wanted: CatalogFilter, after: str, limit: int
    ) -> list[CatalogName]:
        source = None if wanted.source is None else 1 << wanted.source
        values = (
            *(project_id, after, wanted.prefix, wanted.prefix + _AFTER_ALL),
            *(source, source, wanted.personal, wanted.personal, limit),
        )
        return await self._readers.run(
            lambda connection: [catalog_name(row) for row in connection.execute(_NAMES, values)]
        )

    async def entry(self, project_id: int, event: str) -> CatalogEntry | None:
        key = project_id, event

        def read(connection: apsw.Connection) -> CatalogEntry | None:
            row: Any = connection.execute(_NAME, key).fetchone()
            if row is None:
                return None
            *columns, example, example_id = row
            return CatalogEntry(
                name=catalog_name(columns),
                paths=[catalog_path(path) for path in connection.execute(_PATHS, key)],
                drift=[drift(entry) for entry in connection.execute(_DRIFT, key)],
                example=example,
                example_id=example_id,
            )

        return await self._readers.run(read)

    async def hours(
        self, project_id: int, events: Sequence[str], first: int, last: int
    ) -> list[HourCount]:
        def read(connection: apsw.Connection) -> list[HourCount]:
            return [
                HourCount(*row)
                for event in events
                for row in connection.execute(_HOURS, (project_id, event, first, last))
            ]

        return await self._readers.run(read)

    async def totals(self, project_id: int) -> CatalogTotals:
        def read(connection: apsw.Connection) -> CatalogTotals:
            row: Any = connection.execute(
                "SELECT names, names_over, failures FROM catalog_totals WHERE project_id = ?",
                (project_id,),
            ).fetchone()
            return CatalogTotals() if row is None else CatalogTotals(*row)

        return await self._readers.run(read)

    async def prune(self, now_us: int, limit: int) -> int:
        before = now_us // HOUR_US - HOURS_KEPT

        def read(connection: apsw.Connection) -> bool:
            row: Any = connection.execute("SELECT min(hour) FROM catalog_hours").fetchone()
            return row[0] is not None and row[0] < before

        def work(connection: apsw.Connection) -> int:
            connection.execute(_PRUNE, (before, limit))
            return connection.changes()

        # Nearly always nothing is due: then the write lock is left alone.
        return await self._writer.run(work) if await self._readers.run(read) else 0
