"""Write a batch's additions to the catalog; runs inside the transaction of processing.

Rows carry the lowest lane that the worker holds, so no two workers write the same row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.domain.catalog.example import redacted_example
from headrace.store.catalog.drift import drift_of, fitting
from headrace.store.contract.catalog import (
    DRIFT_KEPT,
    GONE_AFTER,
    GONE_SHARE,
    NAMES_MAX,
    PATHS_MAX,
    Drift,
    DriftKind,
    NameSeen,
    PathSeen,
)
from headrace.store.engine.columns import columns_of
from headrace.store.engine.postgres.database import Connection
from headrace.store.engine.postgres.errors import is_row_error

_NAMES = (
    "unnest($2::int[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::int[], "
    "$8::bigint[], $9::int[]) AS n "
    "(project_id, event, first_us, last_us, events, sources, inspected, personal)"
)
_COUNT = (
    "UPDATE catalog_names AS c SET first_us = least(c.first_us, n.first_us), "
    "last_us = greatest(c.last_us, n.last_us), events = c.events + n.events, "
    "sources = c.sources | n.sources, inspected = c.inspected + n.inspected, "
    f"personal = c.personal | n.personal FROM {_NAMES} "
    "WHERE c.lane = $1 AND c.project_id = n.project_id AND c.event = n.event "
    "RETURNING c.project_id, c.event, c.inspected, c.paths, c.drifts"
)
_NEW_NAMES = (
    "INSERT INTO catalog_names (lane, project_id, event, first_us, last_us, events, sources, "
    f"inspected, personal) SELECT $1, n.* FROM {_NAMES}"
)
_TOTALS = (
    "SELECT project_id, names FROM catalog_totals WHERE lane = $1 AND project_id = ANY($2::int[])"
)
_ADD_TOTALS = (
    "INSERT INTO catalog_totals AS t (lane, project_id, names, names_over, failures) "
    "SELECT $1, n.* FROM unnest($2::int[], $3::bigint[], $4::bigint[], $5::bigint[]) AS n "
    "ON CONFLICT (lane, project_id) DO UPDATE SET names = t.names + excluded.names, "
    "names_over = t.names_over + excluded.names_over, failures = t.failures + excluded.failures"
)
# A new row starts with what other workers know of the name.
_ADOPT = (
    "INSERT INTO catalog_paths (lane, project_id, event, path, first_us, last_us, types, looks, "
    "present, first_number, last_number, sequence) "
    "SELECT $1, project_id, event, path, min(first_us), max(last_us), bit_or(types), "
    "bit_or(looks), 0, 0, 0, max(sequence) FROM catalog_paths "
    "WHERE project_id = $2 AND event = $3 AND lane <> $1 GROUP BY project_id, event, path "
    f"ORDER BY path LIMIT {PATHS_MAX} ON CONFLICT DO NOTHING RETURNING 1"
)
_HOURS = (
    "INSERT INTO catalog_hours AS h (lane, project_id, event, hour, source, events) "
    "SELECT $1, n.* FROM unnest($2::int[], $3::text[], $4::int[], $5::smallint[], $6::bigint[]) "
    "AS n ON CONFLICT (lane, project_id, event, hour, source) "
    "DO UPDATE SET events = h.events + excluded.events"
)
_PATHS = (
    "INSERT INTO catalog_paths AS p (lane, project_id, event, path, first_us, last_us, types, "
    "looks, present, first_number, last_number, sequence) SELECT $1, n.* FROM unnest($2::int[], "
    "$3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::int[], $8::int[], $9::bigint[], "
    "$10::bigint[], $11::bigint[], $12::bigint[]) AS n "
    "ON CONFLICT (lane, project_id, event, path) DO UPDATE SET "
    "last_us = greatest(p.last_us, excluded.last_us), types = p.types | excluded.types, "
    "types_added = excluded.types & ~p.types, looks = p.looks | excluded.looks, "
    "first_number = CASE WHEN p.present = 0 THEN excluded.first_number ELSE p.first_number END, "
    "present = p.present + excluded.present, last_number = excluded.last_number, "
    "sequence = excluded.sequence, fresh = false, gone_us = NULL "
    "RETURNING project_id, event, path, fresh, types_added"
)
_KNOWN_PATHS = "SELECT path FROM catalog_paths WHERE lane = $1 AND project_id = $2 AND event = $3"
_GONE = (
    "UPDATE catalog_paths AS p SET gone_us = $5 "
    "FROM unnest($2::int[], $3::text[], $4::bigint[]) AS n (project_id, event, inspected) "
    "WHERE p.lane = $1 AND p.project_id = n.project_id AND p.event = n.event "
    f"AND p.gone_us IS NULL AND p.last_number <= n.inspected - {GONE_AFTER} "
    f"AND p.present >= {GONE_AFTER} "
    f"AND p.present >= {GONE_SHARE} * (p.last_number - p.first_number + 1) "
    "RETURNING p.project_id, p.event, p.path, p.sequence, p.last_number"
)
_FIRST_AFTER = (
    "SELECT id FROM events WHERE project_id = $1 AND event = $2 AND sequence > $3 "
    "ORDER BY sequence LIMIT 1"
)
_DRIFT = (
    "INSERT INTO catalog_drift (lane, project_id, event, number, kind, path, type, at_us, "
    "event_id, before) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
)
_OLD_DRIFT = (
    "DELETE FROM catalog_drift WHERE lane = $1 AND project_id = $2 AND event = $3 AND number <= $4"
)
_CHANGED = (
    "UPDATE catalog_names SET paths = paths + $4, paths_over = paths_over + $5, "
    "drifts = drifts + $6, drift_us = coalesce($7, drift_us), example = coalesce($8, example), "
    "example_id = coalesce($9, example_id) WHERE lane = $1 AND project_id = $2 AND event = $3"
)

Key = tuple[int, str]
#: Events inspected, paths, drift entries ever made; of a name, before or after a batch.
Held = tuple[int, int, int]


class CatalogFailedError(Exception):
    """The database rejected the catalog's values; the transaction is aborted."""


async def keep_catalog(
    connection: Connection, lane: int, seen: Sequence[NameSeen], now_us: int, *, write: bool
) -> None:
    """Add a batch to the catalog.

    Args:
        write: False after a failure: then the events are only counted.

    Raises:
        CatalogFailedError: retry the transaction without the catalog.
    """
    if not write:
        failed: Counter[int] = Counter()
        for name in seen:
            failed[name.project_id] += name.events
        await _add_totals(connection, lane, Counter(), Counter(), failed)
        return
    if not seen:
        return
    try:
        await _Batch(connection, lane, now_us).write(seen)
    except Exception as error:
        if is_row_error(error) or isinstance(error, (ValueError, KeyError, TypeError)):
            raise CatalogFailedError from error
        raise


async def _add_totals(
    connection: Connection,
    lane: int,
    names: Counter[int],
    names_over: Counter[int],
    failures: Counter[int],
) -> None:
    projects = sorted({*names, *names_over, *failures})
    rows = [
        (project, names[project], names_over[project], failures[project]) for project in projects
    ]
    if rows:
        await connection.execute(_ADD_TOTALS, lane, *columns_of(rows, 4))


class _Batch:
    def __init__(self, connection: Connection, lane: int, now_us: int) -> None:
        self._connection = connection
        self._lane = lane
        self._now_us = now_us

    async def write(self, seen: Sequence[NameSeen]) -> None:
        held = await self._count(seen)
        kept = [name for name in seen if (name.project_id, name.event) in held]
        await self._hours(kept)
        inspected = [name for name in kept if name.inspected]
        if inspected:
            await self._paths(inspected, held)

    async def _count(self, seen: Sequence[NameSeen]) -> dict[Key, Held]:
        """Count the names; returns those that fit, with what the store has of each."""
        rows = await self._connection.fetch(_COUNT, self._lane, *_name_columns(seen))
        held: dict[Key, Held] = {(row[0], row[1]): (row[2], row[3], row[4]) for row in rows}
        new = [name for name in seen if (name.project_id, name.event) not in held]
        names: Counter[int] = Counter()
        over: Counter[int] = Counter()
        if new:
            projects = sorted({name.project_id for name in new})
            there = dict(await self._connection.fetch(_TOTALS, self._lane, projects))
            fitting_names = []
            for name in new:
                if there.get(name.project_id, 0) + names[name.project_id] < NAMES_MAX:
                    names[name.project_id] += 1
                    fitting_names.append(name)
                else:
                    over[name.project_id] += name.events
            held |= await self._add_names(fitting_names)
        failures = Counter({n.project_id: n.failures for n in seen if n.failures})
        await _add_totals(self._connection, self._lane, names, over, failures)
        return held

    async def _add_names(self, new: Sequence[NameSeen]) -> dict[Key, Held]:
        held: dict[Key, Held] = {}
        if new:
            await self._connection.execute(_NEW_NAMES, self._lane, *_name_columns(new))
        for name in new:
            key = name.project_id, name.event
            # Counted by its rows: on a cluster the status is the number that was attempted.
            paths = len(await self._connection.fetch(_ADOPT, self._lane, *key))
            if paths:
                await self._change(key, paths, 0, [], None)
            held[key] = name.inspected, paths, 0
        return held

    async def _hours(self, names: Sequence[NameSeen]) -> None:
        rows = [
            (name.project_id, name.event, hour, source, count)
            for name in names
            for (hour, source), count in sorted(name.hours.items())
        ]
        await self._connection.execute(_HOURS, self._lane, *columns_of(rows, 5))

    async def _paths(self, names: Sequence[NameSeen], held: Mapping[Key, Held]) -> None:
        kept: dict[Key, tuple[list[PathSeen], int]] = {}
        rows: list[tuple[Any, ...]] = []
        for name in names:
            key = name.project_id, name.event
            kept[key] = await self._fitting(key, name, held[key][1])
            before = held[key][0] - name.inspected
            rows += [(*key, *_path_values(path, before)) for path in kept[key][0]]
        written: dict[Key, dict[str, tuple[bool, int]]] = {}
        if rows:
            for project_id, event, path, fresh, added in await self._connection.fetch(
                _PATHS, self._lane, *columns_of(rows, 11)
            ):
                written.setdefault((project_id, event), {})[path] = fresh, added
        gone = await self._gone(names, held)
        for name in names:
            key = name.project_id, name.event
            paths, over = kept[key]
            inspected, known, drifts = held[key]
            # A name that other workers know already does not start from nothing.
            before = inspected - name.inspected or (1 if known else 0)
            answers = written.get(key, {})
            drift = drift_of(paths, answers, before) + gone.get(key, [])
            fresh = sum(fresh for fresh, _ in answers.values())
            if fresh or drift or over:
                await self._add_drift(key, drift, drifts)
                sample = name if fresh or drift else None
                await self._change(key, fresh, over, drift, sample)

    async def _fitting(self, key: Key, name: NameSeen, there: int) -> tuple[list[PathSeen], int]:
        if there + len(name.paths) <= PATHS_MAX:
            return name.paths, name.paths_over
        rows = await self._connection.fetch(_KNOWN_PATHS, self._lane, *key)
        known = frozenset(str(row[0]) for row in rows)
        paths, over = fitting(name.paths, known, PATHS_MAX - there)
        return paths, over + name.paths_over

    async def _gone(
        self, names: Sequence[NameSeen], held: Mapping[Key, Held]
    ) -> dict[Key, list[Drift]]:
        rows = []
        for name in names:
            inspected = held[name.project_id, name.event][0]
            if (inspected - name.inspected) // GONE_AFTER != inspected // GONE_AFTER:
                rows.append((name.project_id, name.event, inspected))
        if not rows:
            return {}
        found: dict[Key, list[Drift]] = {}
        for project_id, event, path, sequence, last in await self._connection.fetch(
            _GONE, self._lane, *columns_of(rows, 3), self._now_us
        ):
            drift = found.setdefault((project_id, event), [])
            if len(drift) < DRIFT_KEPT:
                first = await self._connection.fetchval(_FIRST_AFTER, project_id, event, sequence)
                drift.append(Drift(DriftKind.PATH_GONE, path, 0, self._now_us, first, last))
        return found

    async def _add_drift(self, key: Key, drift: Sequence[Drift], drifts: int) -> None:
        if not drift:
            return
        rows = [
            (
                *(self._lane, *key, number, d.kind.value, d.path),
                *(d.type, d.at_us, d.event_id, d.before),
            )
            for number, d in enumerate(drift, drifts + 1)
        ]
        await self._connection.executemany(_DRIFT, rows)
        last = drifts + len(drift) - DRIFT_KEPT
        await self._connection.execute(_OLD_DRIFT, self._lane, *key, last)

    async def _change(
        self, key: Key, fresh: int, over: int, drift: Sequence[Drift], sample: NameSeen | None
    ) -> None:
        example = redacted_example(sample.sample) if sample and sample.sample else None
        example_id = sample.sample_id if sample and example else None
        drift_us = max((d.at_us for d in drift), default=None)
        await self._connection.execute(
            _CHANGED, self._lane, *key, fresh, over, len(drift), drift_us, example, example_id
        )


def _name_columns(seen: Sequence[NameSeen]) -> list[list[Any]]:
    rows = [
        (n.project_id, n.event, n.first_us, n.last_us, n.events, n.sources, n.inspected, n.personal)
        for n in seen
    ]
    return columns_of(rows, 8)


def _path_values(path: PathSeen, before: int) -> tuple[Any, ...]:
    return (
        path.path,
        path.firsts[0].at_us,
        path.last_us,
        path.types,
        path.looks,
        path.present,
        before + path.firsts[0].index + 1,
        before + path.last_index + 1,
        path.sequence,
    )
