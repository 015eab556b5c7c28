"""What a batch of events adds to the catalog, worked out before its transaction begins.

Cataloguing never fails an event: a payload that cannot be analysed is only counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import structlog

from headrace.domain.catalog.paths import PathBook, PathNode
from headrace.domain.catalog.personal_data import PERSONAL
from headrace.domain.catalog.shapes import LOOKS_SHIFT, TYPES_MASK, Shape, shape_of
from headrace.domain.upkeep.retention import HOUR_US
from headrace.observability.events import CATALOG_FAILED
from headrace.store.contract.catalog import FirstShown, NameSeen, PathSeen
from headrace.store.contract.processing import Claimed

#: Payloads per second that are always analysed, even with a backlog.
CERTAIN_PER_SECOND = 2_000
#: Past that, and only with a backlog: the first so many of a name in a batch, then one of every so
#: many. Event counts always include all.
CERTAIN_PER_NAME = 4
EVERY = 16

_log = structlog.get_logger()


class Cataloguer:
    """Analyses batches; remembers only paths, as a cache.

    Args:
        monotonic_s: measures seconds.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._book = PathBook()
        self._monotonic_s = monotonic_s
        self._left = float(CERTAIN_PER_SECOND)
        self._refilled_s = monotonic_s()

    def analyze(self, batch: Sequence[Claimed], *, backlog: bool) -> list[NameSeen]:
        """What the batch adds, name by name, in the order of projects and names.

        Args:
            backlog: whether more waits than fits in a batch; then payloads may be sampled.
        """
        self._book.reset_if_full()
        all_of_them = self._take(len(batch)) or not backlog
        seen: dict[tuple[int, str], _Name] = {}
        for event in batch:
            key = event.project_id, event.event
            name = seen.get(key)
            if name is None:
                name = seen[key] = _Name(event)
            count = name.add(event)
            if all_of_them or count <= CERTAIN_PER_NAME or count % EVERY == 0:
                self._inspect(event, name)
        return [name.finished() for _, name in sorted(seen.items())]

    def _take(self, count: int) -> bool:
        now_s = self._monotonic_s()
        refill = (now_s - self._refilled_s) * CERTAIN_PER_SECOND
        self._left = min(CERTAIN_PER_SECOND, self._left + refill)
        self._refilled_s = now_s
        if self._left < count:
            return False
        self._left -= count
        return True

    def _inspect(self, event: Claimed, name: _Name) -> None:
        try:
            name.show(event, shape_of(event.payload, self._book))
        except Exception as error:  # noqa: BLE001 - counted; the event itself must not suffer
            name.seen.failures += 1
            _log.warning(CATALOG_FAILED, sequence=event.sequence, error=type(error).__name__)


class _Name:
    """Adds up the events of one name."""

    __slots__ = ("_paths", "_sample_places", "seen")

    def __init__(self, event: Claimed) -> None:
        received_us = event.received_us
        self.seen = NameSeen(event.project_id, event.event, received_us, received_us)
        self._paths: dict[PathNode, PathSeen] = {}
        self._sample_places = -1

    def add(self, event: Claimed) -> int:
        """Count an event; returns how many there are so far."""
        seen = self.seen
        received_us = event.received_us
        seen.events += 1
        seen.sources |= 1 << event.source
        seen.first_us = min(seen.first_us, received_us)
        seen.last_us = max(seen.last_us, received_us)
        hour = received_us // HOUR_US, event.source
        seen.hours[hour] = seen.hours.get(hour, 0) + 1
        return seen.events

    def show(self, event: Claimed, shape: Shape) -> None:
        """Add the shape of a payload."""
        seen = self.seen
        index, paths = seen.inspected, self._paths
        seen.inspected += 1
        seen.paths_over += shape.over
        for place, bits in shape.places.items():
            known = paths.get(place)
            if known is None:
                known = paths[place] = PathSeen(place.path, 0, 0, 0, 0, 0, 0, [])
            added = bits & TYPES_MASK & ~known.types
            if added or not known.firsts:
                known.types |= added
                first = FirstShown(added, index, event.received_us, event.id)
                known.firsts.append(first)
            known.looks |= bits >> LOOKS_SHIFT
            known.present += 1
            known.last_index = index
            known.last_us = max(known.last_us, event.received_us)
            known.sequence = event.sequence
        # Keep the event with the most places as the sample.
        if len(shape.places) > self._sample_places:
            self._sample_places = len(shape.places)
            seen.sample, seen.sample_id = event.payload, event.id

    def finished(self) -> NameSeen:
        seen = self.seen
        seen.paths = sorted(self._paths.values(), key=lambda seen: seen.path)
        for path in seen.paths:
            seen.personal |= path.looks & PERSONAL
        return seen
