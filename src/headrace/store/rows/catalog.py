"""Entries of the catalog from columns, and what several rows of one thing add up to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.store.contract_catalog import CatalogName, CatalogPath, Drift, DriftKind

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
