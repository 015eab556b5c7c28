"""Derives the drift of a batch from the rows that the store wrote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from headrace.domain.catalog.value_types import TYPES
from headrace.store.contract.catalog import DRIFT_KEPT, Drift, DriftKind, PathSeen


def drift_of(
    paths: Iterable[PathSeen], written: Mapping[str, tuple[bool, int]], before: int
) -> list[Drift]:
    """Drift entries in order of the events, at most as many as are kept per name.

    The first event of a name sets what is usual, so it has no drift.

    Args:
        written: path -> whether its row is new, and the types it did not have before.
        before: events of the name that were inspected before this batch.
    """
    found: list[Drift] = []
    for path in paths:
        fresh, added = written.get(path.path, (False, 0))
        for number, first in enumerate(path.firsts):
            seen = before + first.index
            if fresh and number == 0:
                if seen:
                    found.append(
                        Drift(DriftKind.NEW_PATH, path.path, 0, first.at_us, first.event_id, seen)
                    )
                continue
            found += [
                Drift(DriftKind.NEW_TYPE, path.path, bit, first.at_us, first.event_id, seen)
                for bit in TYPES.values()
                if first.type & bit and (fresh or added & bit)
            ]
    found.sort(key=lambda drift: (drift.before, drift.path))
    return found[:DRIFT_KEPT]


def fitting(
    paths: Sequence[PathSeen], known: frozenset[str], room: int
) -> tuple[list[PathSeen], int]:
    """Paths that are known or still fit, and how often the others were seen."""
    kept: list[PathSeen] = []
    over = 0
    for path in paths:
        if path.path in known:
            kept.append(path)
        elif room > 0:
            kept.append(path)
            room -= 1
        else:
            over += path.present
    return kept, over
