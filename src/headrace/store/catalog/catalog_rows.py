"""Entries of the catalog from columns, and sums of several rows of one entry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from headrace.store.contract.catalog import CatalogName, CatalogPath, Drift, DriftKind

NAME_COLUMNS = (
    "event, first_us, last_us, events, sources, inspected, personal, paths, paths_over, drifts, "
    "drift_us"
)
PATH_COLUMNS = "path, types, looks, present, first_us, last_us, gone_us"
DRIFT_COLUMNS = "kind, path, type, at_us, event_id, before"


def catalog_name(row: Sequence[Any]) -> CatalogName:
    """A name from `NAME_COLUMNS`."""
    return CatalogName(*row)


def catalog_path(row: Sequence[Any]) -> CatalogPath:
    """A path from `PATH_COLUMNS`."""
    return CatalogPath(*row)


def drift(row: Sequence[Any]) -> Drift:
    """An entry of drift from `DRIFT_COLUMNS`."""
    kind, path, type_bit, at_us, event_id, before = row
    return Drift(DriftKind(kind), path, type_bit, at_us, event_id, before)


def paths_of_all(paths: Iterable[CatalogPath]) -> list[CatalogPath]:
    """Paths summed over lanes; the newest row decides whether a path is gone."""
    merged: dict[str, CatalogPath] = {}
    for path in paths:
        held = merged.get(path.path)
        merged[path.path] = path if held is None else _both(held, path)
    return [merged[name] for name in sorted(merged)]


def _both(one: CatalogPath, other: CatalogPath) -> CatalogPath:
    newest = max(one, other, key=lambda path: path.last_us)
    return CatalogPath(
        one.path,
        one.types | other.types,
        one.looks | other.looks,
        one.present + other.present,
        min(one.first_us, other.first_us),
        newest.last_us,
        newest.gone_us,
    )


def drift_of_all(entries: Sequence[Drift], paths: Iterable[CatalogPath]) -> list[Drift]:
    """Entries of all lanes, newest first, without those that are new to one lane only.

    Args:
        entries: newest first.
        paths: of all lanes, added up.
    """
    first_us = {path.path: path.first_us for path in paths}
    oldest: dict[tuple[DriftKind, str, int], Drift] = {}
    for entry in entries:
        oldest[entry.kind, entry.path, entry.type] = entry
    return [
        entry
        for entry in entries
        if entry.kind is DriftKind.PATH_GONE
        or (
            oldest[entry.kind, entry.path, entry.type] is entry
            and (
                entry.kind is DriftKind.NEW_TYPE
                or entry.at_us <= first_us.get(entry.path, entry.at_us)
            )
        )
    ]
