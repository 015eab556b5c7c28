"""What retention needs of a store: find what is due, remove it in small transactions."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.domain.upkeep.retention import GrowthSample


class DueEvent(msgspec.Struct, frozen=True, gc=False):
    """An event that may be removed: its key, and the size of its payload in bytes."""

    lane: int
    sequence: int
    payload_bytes: int


class DuePage(msgspec.Struct, frozen=True):
    """Events of one project that were examined, in order of receipt."""

    due: list[DueEvent]
    #: The last sequence examined, where the next page begins.
    position: int
    #: When that event was received; None when none was examined.
    received_us: int | None
    #: Whether nothing due can follow.
    end: bool


class Removed(msgspec.Struct, frozen=True):
    """What one transaction removed."""

    events: int = 0
    dead_letters: int = 0
    #: All rows, those of events and dead letters included.
    rows: int = 0
    #: Whether everything requested is removed, or turned out not to be due.
    complete: bool = True


class RetentionState(msgspec.Struct, frozen=True):
    """What retention keeps across restarts and shows. Totals of all time."""

    #: See `headrace.domain.upkeep.retention.trusted_clock`.
    clock_us: int
    #: When this was written, by the wall clock.
    at_us: int = 0
    events: int = 0
    dead_letters: int = 0
    rows: int = 0
    slices: int = 0
    #: Spent in transactions, waiting for them included.
    seconds: float = 0.0
    #: How long the oldest event that can be removed has been due.
    lag_us: int = 0


class SpaceUse(msgspec.Struct, frozen=True, kw_only=True):
    """What the store uses its file for."""

    used_bytes: int
    #: Free inside the file, used before it grows.
    reusable_bytes: int
    #: About how many processed events are stored.
    events_about: int


class Growth(msgspec.Struct, frozen=True):
    """How the store grows."""

    #: Oldest first, an hour apart at least.
    samples: Sequence[GrowthSample]
    #: Free space inside the store, used before it grows. 0 where that is unknown.
    reusable_bytes: int
