"""Write a batch's additions to the catalog; runs inside the transaction of processing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw
import msgspec

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
)
from headrace.store.engine.sqlite.connection import ROW_ERRORS
from headrace.store.events.parts import part_of

_COUNT = (
    "UPDATE catalog_names SET first_us = min(first_us, ?), last_us = max(last_us, ?), "
    "events = events + ?, sources = sources | ?, inspected = inspected + ?, "
    "personal = personal | ? WHERE project_id = ? AND event = ? "
    "RETURNING inspected, paths, drifts"
)
_NEW_NAME = (
    "INSERT INTO catalog_names (first_us, last_us, events, sources, inspected, personal, "
    "project_id, event) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_MAKE_ROOM = (
    "INSERT INTO catalog_totals (project_id, names) VALUES (?, 1) ON CONFLICT (project_id) "
    f"DO UPDATE SET names = names + 1 WHERE names < {NAMES_MAX}"
)
_NAME_OVER = "UPDATE catalog_totals SET names_over = names_over + ? WHERE project_id = ?"
_FAILURES = (
    "INSERT INTO catalog_totals (project_id, failures) VALUES (?, ?) ON CONFLICT (project_id) "
    "DO UPDATE SET failures = failures + excluded.failures"
)
_HOURS = (
    "INSERT INTO catalog_hours (project_id, event, hour, source, events) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (project_id, event, hour, source) DO UPDATE SET events = events + excluded.events"
)
# One library call for all paths of a name.
_PATHS = """
INSERT INTO catalog_paths (project_id, event, path, first_us, last_us, types, looks, present,
    first_number, last_number, sequence)
SELECT ?1, ?2, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
    value ->> 6, value ->> 7, value ->> 8
FROM json_each(?3) WHERE true
ON CONFLICT (project_id, event, path) DO UPDATE SET
    last_us = max(last_us, excluded.last_us), types = types | excluded.types,
    types_added = excluded.types & ~types, looks = looks | excluded.looks,
    present = present + excluded.present, last_number = excluded.last_number,
    sequence = excluded.sequence, fresh = 0, gone_us = NULL
RETURNING path, fresh, types_added
"""
_KNOWN_PATHS = "SELECT path FROM catalog_paths WHERE project_id = ? AND event = ?"
_GONE = f"""
UPDATE catalog_paths SET gone_us = ?1
WHERE project_id = ?2 AND event = ?3 AND gone_us IS NULL AND last_number <= ?4 - {GONE_AFTER}
    AND present >= {GONE_AFTER} AND present >= {GONE_SHARE} * (last_number - first_number + 1)
RETURNING path, sequence, last_number
"""
_FIRST_AFTER = (
    "SELECT e.id FROM event_parts p CROSS JOIN events e ON e.part = p.part "
    f"WHERE p.part >= {part_of('?3')} AND e.project_id = ?1 AND e.event = ?2 AND e.sequence > ?3 "
    "ORDER BY p.part, e.sequence LIMIT 1"
)
_DRIFT = (
    "INSERT INTO catalog_drift (project_id, event, number, kind, path, type, at_us, event_id, "
    "before) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_OLD_DRIFT = "DELETE FROM catalog_drift WHERE project_id = ? AND event = ? AND number <= ?"
_CHANGED = (
    "UPDATE catalog_names SET paths = paths + ?, paths_over = paths_over + ?, drifts = drifts + ?, "
    "drift_us = coalesce(?, drift_us), example = coalesce(?, example), "
    "example_id = coalesce(?, example_id) WHERE project_id = ? AND event = ?"
)


def write_catalog(connection: apsw.Connection, seen: Sequence[NameSeen], now_us: int) -> None:
    """Add a batch to the catalog; a failure is counted and does not fail the events."""
    if not seen:
        return
    connection.execute("SAVEPOINT catalog")
    try:
        for name in seen:
            _write_name(connection, name, now_us)
    except Exception as error:
        if isinstance(error, apsw.Error) and not isinstance(error, ROW_ERRORS):
            # The disk or the file failed, not the catalog.
            raise
        connection.execute("ROLLBACK TO catalog")
        failed = [(name.project_id, name.events) for name in seen]
    else:
        failed = [(name.project_id, name.failures) for name in seen if name.failures]
    connection.execute("RELEASE catalog")
    connection.executemany(_FAILURES, failed)


def _write_name(connection: apsw.Connection, name: NameSeen, now_us: int) -> None:
    key = name.project_id, name.event
    counts = (name.first_us, name.last_us, name.events, name.sources, name.inspected)
    row: Any = connection.execute(_COUNT, (*counts, name.personal, *key)).fetchone()
    if row is None:
        connection.execute(_MAKE_ROOM, (name.project_id,))
        if connection.changes() == 0:
            connection.execute(_NAME_OVER, (name.events, name.project_id))
            return
        connection.execute(_NEW_NAME, (*counts, name.personal, *key))
        row = (name.inspected, 0, 0)
    hours = [(*key, hour, source, count) for (hour, source), count in name.hours.items()]
    connection.executemany(_HOURS, hours)
    if name.inspected:
        _write_paths(connection, name, row, now_us)


def _write_paths(
    connection: apsw.Connection, name: NameSeen, held: tuple[int, int, int], now_us: int
) -> None:
    """Write paths and the drift they show.

    Args:
        held: of the name: events inspected by now, paths before, and drift entries ever made.
    """
    inspected, paths, drifts = held
    key = name.project_id, name.event
    before = inspected - name.inspected
    kept, over = name.paths, 0
    if paths + len(kept) > PATHS_MAX:
        known = frozenset(str(row[0]) for row in connection.execute(_KNOWN_PATHS, key))
        kept, over = fitting(kept, known, PATHS_MAX - paths)
    rows = [
        (
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
        for path in kept
    ]
    answered: Any = connection.execute(_PATHS, (*key, msgspec.json.encode(rows).decode()))
    written = {path: (bool(fresh), added) for path, fresh, added in answered}
    drift = drift_of(kept, written, before)
    if before // GONE_AFTER != inspected // GONE_AFTER:
        drift += _gone(connection, key, inspected, now_us)
    fresh = sum(fresh for fresh, _ in written.values())
    over += name.paths_over
    if fresh or drift or over:
        _add_drift(connection, key, drift, drifts)
        example = redacted_example(name.sample) if name.sample and (fresh or drift) else None
        connection.execute(
            _CHANGED,
            (
                *(fresh, over, len(drift), max((d.at_us for d in drift), default=None)),
                *(example, name.sample_id if example else None, *key),
            ),
        )


def _gone(
    connection: apsw.Connection, key: tuple[int, str], inspected: int, now_us: int
) -> list[Drift]:
    rows: list[Any] = connection.execute(_GONE, (now_us, *key, inspected)).fetchall()
    found: list[Drift] = []
    for path, sequence, last_number in rows[:DRIFT_KEPT]:
        first: Any = connection.execute(_FIRST_AFTER, (*key, sequence)).fetchone()
        event_id = None if first is None else bytes(first[0])
        found.append(Drift(DriftKind.PATH_GONE, path, 0, now_us, event_id, last_number))
    return found


def _add_drift(
    connection: apsw.Connection, key: tuple[int, str], drift: Sequence[Drift], drifts: int
) -> None:
    connection.executemany(
        _DRIFT,
        [
            (*key, number, d.kind.value, d.path, d.type, d.at_us, d.event_id, d.before)
            for number, d in enumerate(drift, drifts + 1)
        ],
    )
    if drift:
        connection.execute(_OLD_DRIFT, (*key, drifts + len(drift) - DRIFT_KEPT))
