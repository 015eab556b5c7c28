"""A limit of events per second with a burst."""

from __future__ import annotations

import math

#: A project may use the allowance of so many seconds at once.
BURST_SECONDS = 2


class TokenBucket:
    """Holds up to two seconds of `rate` and refills evenly; starts full.

    Time is passed in, in microseconds, and may stand still or step back without harm.
    """

    __slots__ = ("_level", "_updated_us", "rate")

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._level = float(rate * BURST_SECONDS)
        self._updated_us: int | None = None

    def take(self, now_us: int, count: int = 1) -> int:
        """Take `count` tokens.

        Returns:
            0 when they were there, else the whole seconds after which they can be.
        """
        if self._updated_us is not None and now_us > self._updated_us:
            refill = (now_us - self._updated_us) * self.rate / 1_000_000
            self._level = min(float(self.rate * BURST_SECONDS), self._level + refill)
        if self._updated_us is None or now_us > self._updated_us:
            self._updated_us = now_us
        # More than a full bucket can never be there: then a full one is enough, and what was taken
        # beyond it is paid back before the next.
        if self._level >= min(count, self.rate * BURST_SECONDS):
            self._level -= count
            return 0
        missing = min(count, self.rate * BURST_SECONDS) - self._level
        return max(1, math.ceil(missing / self.rate))


class CallerBuckets:
    """A bucket for each caller; of those that are not heard of for long, none is kept.

    Args:
        rate: of each, in requests a second.
    """

    #: Callers whose buckets are kept; the one that has been quiet for longest goes first.
    CALLERS_MAX = 10_000

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._buckets: dict[str, TokenBucket] = {}

    def take(self, caller: str, now_us: int) -> int:
        """Take one token of a caller's; see `TokenBucket.take`."""
        bucket = self._buckets.pop(caller, None) or TokenBucket(self.rate)
        if len(self._buckets) >= self.CALLERS_MAX:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[caller] = bucket
        return bucket.take(now_us)
