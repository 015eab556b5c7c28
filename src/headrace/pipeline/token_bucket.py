"""A rate limit per second, with a burst."""

from __future__ import annotations

import math

#: The default burst is the allowance of so many seconds.
BURST_SECONDS = 2


class TokenBucket:
    """Holds up to `burst` tokens and refills evenly, at `rate` a second.

    The caller passes the time in microseconds. It may stand still or step back: the bucket does not
    refill until it has caught up.

    Args:
        burst: two seconds of `rate` by default.
        level: tokens that it starts with; full by default.
    """

    __slots__ = ("_burst", "_level", "_updated_us", "rate")

    def __init__(self, rate: int, *, burst: int | None = None, level: int | None = None) -> None:
        self.rate = rate
        self._burst = float(rate * BURST_SECONDS if burst is None else burst)
        self._level = self._burst if level is None else float(level)
        self._updated_us: int | None = None

    def take(self, now_us: int, count: int = 1) -> int:
        """Take `count` tokens.

        Returns:
            0 on success, else the whole seconds after which to retry.
        """
        self._refill(now_us)
        # More than a full bucket can never be there: then a full one is enough, and what was taken
        # beyond it is paid back before the next.
        needed = min(count, self._burst)
        if self._level >= needed:
            self._level -= count
            return 0
        return max(1, math.ceil((needed - self._level) / self.rate))

    def available(self, now_us: int) -> int:
        """Whole tokens that are there now, for `spend`."""
        self._refill(now_us)
        return int(self._level)

    def spend(self, count: int) -> None:
        """Take off what was available and has been used."""
        self._level -= count

    def _refill(self, now_us: int) -> None:
        updated_us = self._updated_us
        if updated_us is None:
            self._updated_us = now_us
        elif now_us > updated_us:
            gained = (now_us - updated_us) * self.rate / 1_000_000
            self._level = min(self._burst, self._level + gained)
            self._updated_us = now_us


class ForwardTime:
    """Follows a clock, but stops instead of going back when the clock is set back.

    With it, long work keeps its rate after a clock was set back by an hour.
    """

    def __init__(self) -> None:
        self._passed_us = 0
        self._last_us: int | None = None

    def at(self, now_us: int) -> int:
        """Microseconds that have passed since the first call."""
        if self._last_us is not None:
            self._passed_us += max(0, now_us - self._last_us)
        self._last_us = now_us
        return self._passed_us
