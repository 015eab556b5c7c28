"""Rules of retention: its clock, the size of a slice, when the disk will be full."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

DAY_US = 24 * 3600 * 1_000_000
HOUR_US = 3600 * 1_000_000

#: How much faster than real time retention's own clock may catch up with the wall clock.
#:
#: A wall clock that jumps ahead by years would make every event due at once. Retention's clock
#: follows it by at most an extra day of events for each hour that the wall clock stays wrong, so
#: there are hours to notice (the lag is a metric and a log line) and at most a day of events is
#: lost by then. After a stop of three weeks the same rule means a harmless day to catch up.
CATCH_UP = 24
#: Lag behind the wall clock from which a warning is logged.
DOUBT_US = HOUR_US

#: Growth is estimated from at most this many hours: older growth says little about tomorrow's.
GROWTH_HOURS_MAX = 7 * 24


def trusted_clock(trusted_us: int, wall_us: int, elapsed_us: int) -> int:
    """Advance retention's clock.

    Args:
        trusted_us: its last value.
        wall_us: the wall clock. One that went back is followed at once: that removes less, never
            more.
        elapsed_us: time since then by the monotonic clock.
    """
    return min(wall_us, trusted_us + CATCH_UP * max(0, elapsed_us))


def first_clock(wall_us: int, newest_received_us: int | None) -> int:
    """The start of retention's clock in a store without one: not past what was received."""
    return wall_us if newest_received_us is None else min(wall_us, newest_received_us)


class SliceSize:
    """Adjusts the rows of a slice, so that a transaction takes about the target time.

    Args:
        target_s: the target time of a slice.
    """

    #: Slices of one event would never catch up.
    MIN = 16
    MAX = 500

    def __init__(self, target_s: float) -> None:
        self.rows = 64
        self._target_s = target_s

    def observe(self, rows: int, seconds: float) -> None:
        """Adjust to a slice's duration."""
        if seconds > self._target_s:
            self.rows = max(self.MIN, min(self.rows, rows) // 2)
        elif rows >= self.rows and seconds < self._target_s / 2:
            self.rows = min(self.MAX, self.rows * 3 // 2)


class GrowthSample(msgspec.Struct, frozen=True):
    """Size of a store at a time."""

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
    """Days until `room_bytes` more are used; None when unknown or the store does not grow."""
    growth = bytes_per_day(samples)
    if growth is None or growth <= 0:
        return None
    return room_bytes / growth
