"""Counters and histograms of what happened, by minute, hour and day.

Layouts are stored as arrays: append, never reorder.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from enum import IntEnum

import msgspec


class Outcome(IntEnum):
    """What is counted; stored as its index in the array."""

    ACCEPTED_API = 0
    ACCEPTED_BATCH = 1
    ACCEPTED_IMPORT = 2
    ACCEPTED_SYSTEM = 3
    DEDUPLICATED = 4
    REJECTED = 5
    PROCESSED = 6
    #: Failed attempts at processing that are followed by another.
    RETRIED = 7
    #: Events whose processing was dead-lettered.
    DEAD_LETTERED = 8
    DELIVERED = 9
    #: Attempts that failed, whether or not a retry followed.
    ATTEMPT_FAILED = 10
    #: Deliveries that were dead-lettered.
    DELIVERY_DEAD_LETTERED = 11


#: The first of four; the number of the source is added.
ACCEPTED = Outcome.ACCEPTED_API
OUTCOMES = len(Outcome)

MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400
GRAINS = (MINUTE_S, HOUR_S, DAY_S)
#: How long rows of a grain are kept, in seconds.
KEPT_S = {MINUTE_S: 2 * DAY_S, HOUR_S: 90 * DAY_S, DAY_S: 3 * 365 * DAY_S}

#: Upper bounds of the buckets in microseconds, four to a power of ten from 0.1 ms to 28 hours; one
#: more bucket has everything above.
BOUNDS_US = tuple(round(100 * 10 ** (step / 4)) for step in range(37))
BUCKETS = len(BOUNDS_US) + 1


def bucket_of(span_us: int) -> int:
    """The bucket of a duration."""
    return bisect_left(BOUNDS_US, span_us)


class Tally(msgspec.Struct):
    """Counters and histograms of one row. A histogram is None while it is empty."""

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * OUTCOMES)
    #: From receipt to the response.
    accept: list[int] | None = None
    #: From receipt to `processed`.
    processing: list[int] | None = None
    #: Duration of an attempt of a delivery, whatever its outcome.
    delivery: list[int] | None = None

    def observe_accept(self, span_us: int) -> None:
        """Count a response."""
        if self.accept is None:
            self.accept = [0] * BUCKETS
        self.accept[bisect_left(BOUNDS_US, span_us)] += 1

    def observe_processing(self, span_us: int) -> None:
        """Count an event that is processed."""
        if self.processing is None:
            self.processing = [0] * BUCKETS
        self.processing[bisect_left(BOUNDS_US, span_us)] += 1

    def observe_delivery(self, span_us: int) -> None:
        """Count an attempt."""
        if self.delivery is None:
            self.delivery = [0] * BUCKETS
        self.delivery[bisect_left(BOUNDS_US, span_us)] += 1

    def add(self, other: Tally) -> None:
        """Add another tally to this one."""
        self.counts = added(self.counts, other.counts) or []
        self.accept = added(self.accept, other.accept)
        self.processing = added(self.processing, other.processing)
        self.delivery = added(self.delivery, other.delivery)

    def count(self, *outcomes: Outcome) -> int:
        """Sum of some counters."""
        return sum(self.counts[outcome] for outcome in outcomes if outcome < len(self.counts))

    @property
    def accepted(self) -> int:
        """Events accepted, from all sources."""
        return sum(self.counts[ACCEPTED : ACCEPTED + 4])


def added(one: Sequence[int] | None, other: Sequence[int] | None) -> list[int] | None:
    """Sum of two arrays, the shorter one padded with zeros."""
    if one is None or other is None:
        given = other if one is None else one
        return None if given is None else list(given)
    if len(one) < len(other):
        one, other = other, one
    total = list(one)
    for index, value in enumerate(other):
        total[index] += value
    return total


def percentile_us(histogram: Sequence[int] | None, share: float) -> float | None:
    """Duration below which `share` of all are, interpolated within its bucket; None without any."""
    total = sum(histogram or ())
    if histogram is None or total == 0:
        return None
    wanted, seen = share * total, 0
    for index, count in enumerate(histogram):
        if count and seen + count >= wanted:
            low = BOUNDS_US[index - 1] if index else 0
            high = BOUNDS_US[min(index, len(BOUNDS_US) - 1)]
            return low + (high - low) * (wanted - seen) / count
        seen += count
    return float(BOUNDS_US[-1])
