"""Delivery statistics: counted by workers, kept by the store, shown by `/metrics`."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import msgspec

#: Upper bounds in seconds; the last bucket has none.
SECONDS_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
#: Outcomes in addition to the causes of failures, which are a closed list.
DELIVERED = "delivered"
#: The claim was lost during the attempt; the attempt is repeated.
STALE = "stale"
#: Where counting of claims stops.
CLAIMED_COUNTED_MAX = 100_000
#: Breakers that are read.
BREAKERS_MAX = 10_000


class AttemptCounts(msgspec.Struct):
    """Counters of attempts."""

    #: `delivered`, `stale` or the cause of the failure -> how many.
    outcomes: dict[str, int] = {}
    #: Attempts per bucket of `SECONDS_BOUNDS`, the last one for those that took longer than any
    #: bound.
    buckets: list[int] = msgspec.field(default_factory=lambda: [0] * (len(SECONDS_BOUNDS) + 1))
    seconds_sum: float = 0.0

    def observe(self, outcome: str, seconds: float) -> None:
        """Count one attempt."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        self.buckets[bisect_left(SECONDS_BOUNDS, seconds)] += 1
        self.seconds_sum += seconds

    def add(self, other: AttemptCounts) -> None:
        """Add another's counts. Buckets with other bounds start from zero."""
        for outcome, count in other.outcomes.items():
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + count
        if len(self.buckets) != len(other.buckets):
            self.buckets, self.seconds_sum = [0] * len(other.buckets), 0.0
        self.buckets = [mine + more for mine, more in zip(self.buckets, other.buckets, strict=True)]
        self.seconds_sum += other.seconds_sum


class DeliveryNumbers(msgspec.Struct, frozen=True):
    """Current delivery statistics."""

    #: Of all time, by all workers; without what workers have counted in the last seconds.
    attempts: AttemptCounts
    #: Claimed deliveries, counted up to `CLAIMED_COUNTED_MAX`.
    claimed: int
    #: Breakers of subscribers that saw a failure, as texts; at most `BREAKERS_MAX`.
    breakers: Sequence[str]
