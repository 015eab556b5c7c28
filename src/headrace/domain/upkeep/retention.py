"""Rules of retention: the clock it goes by, how large a slice is, when the disk will be full."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

DAY_US = 24 * 3600 * 1_000_000
HOUR_US = 3600 * 1_000_000

#: How much faster than real time retention's own clock may catch up with the wall clock.
#:
#: A wall clock that jumps ahead by years would make every event due at once. Retention's clock
#: follows it by at most an extra day of events for each hour that the wall clock stays wrong, so
#: there are hours to notice (the lag is a metric and a log line) and a day of events at most is
#: lost meanwhile. After a stop of three weeks the same rule means that it takes a day to catch up,
#: which nobody minds.
CATCH_UP = 24
#: Further behind the wall clock than this, the wall clock is doubted aloud.
DOUBT_US = HOUR_US

#: Growth is told from this many hours at most: older growth says little about tomorrow's.
GROWTH_HOURS_MAX = 7 * 24


def trusted_clock(trusted_us: int, wall_us: int, elapsed_us: int) -> int:
    """Move retention's clock on.

    Args:
        trusted_us: where it stood.
        wall_us: what the wall clock says now. One that went back is followed at once: that removes
            less, never more.
        elapsed_us: what a clock that cannot be set says has passed since.
    """
    return min(wall_us, trusted_us + CATCH_UP * max(0, elapsed_us))


def first_clock(wall_us: int, newest_received_us: int | None) -> int:
    """Where retention's clock starts in a store that has none: not past what was received."""
    return wall_us if newest_received_us is None else min(wall_us, newest_received_us)


class SliceSize:
    """Rows of a slice, so that a transaction takes about as long as it may.

    Args:
        target_s: what a slice may take.
    """

    #: A slice that removes one event at a time would never catch up with anything.
    MIN = 16
    MAX = 500

    def __init__(self, target_s: float) -> None:
        self.rows = 64
        self._target_s = target_s

    def observe(self, rows: int, seconds: float) -> None:
        """Learn from a slice."""
        if seconds > self._target_s:
            self.rows = max(self.MIN, min(self.rows, rows) // 2)
        elif rows >= self.rows and seconds < self._target_s / 2:
            self.rows = min(self.MAX, self.rows * 3 // 2)


class GrowthSample(msgspec.Struct, frozen=True):
    """How full a store was."""

    hour: int
    used_bytes: int


def bytes_per_day(samples: Sequence[GrowthSample]) -> float | None:
    """Growth over the last days; None until two samples are an hour apart.

    Args:
        samples: oldest first.
    """
    if not samples:
        return None
    last = samples[-1]
    first = next(s for s in samples if s.hour >= last.hour - GROWTH_HOURS_MAX)
    hours = last.hour - first.hour
    return (last.used_bytes - first.used_bytes) / hours * 24 if hours >= 1 else None


def days_to_full(samples: Sequence[GrowthSample], room_bytes: int) -> float | None:
    """Days until `room_bytes` more are used; None when the store does not grow, or nobody knows."""
    growth = bytes_per_day(samples)
    if growth is None or growth <= 0:
        return None
    return room_bytes / growth
