"""A limit of requests per second for each caller."""

from __future__ import annotations

from headrace.pipeline.token_bucket import TokenBucket


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
