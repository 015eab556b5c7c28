"""A limit of requests per second for each caller."""

from __future__ import annotations

from headrace.pipeline.token_bucket import TokenBucket


class CallerBuckets:
    """A token bucket for each caller; the least recently used are evicted.

    Args:
        rate: limit of each caller, in requests per second.
    """

    #: Limit of buckets kept; past it, the least recently used is evicted.
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
