"""The rate of deliveries after a pause. Pure.

A pace is a rate and a time: what may have been delivered since then grows with the time that has
passed. So up to `t` seconds after the start, at most `t` times the rate are delivered, however many
workers share the pace.
"""

from __future__ import annotations

from dataclasses import dataclass

_SECOND_US = 1_000_000
#: What was not used for so long is lost, so that a worker that comes back does not send it at once.
UNUSED_US = _SECOND_US


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """Deliveries that may be made at a rate."""

    #: Within the bounds of a replay's rate.
    per_second: int
    #: Everything that was allowed before is used up.
    from_us: int

    def allowed(self, now_us: int) -> int:
        """How many may begin now."""
        return (now_us - self._start_us(now_us)) * self.per_second // _SECOND_US

    def after(self, count: int, now_us: int) -> Pace:
        """The pace once `count` of those allowed have begun."""
        used_us = -(-count * _SECOND_US // self.per_second)
        return Pace(per_second=self.per_second, from_us=self._start_us(now_us) + used_us)

    def _start_us(self, now_us: int) -> int:
        # A single delivery must be able to become allowed at the lowest rate, too.
        kept_us = max(UNUSED_US, 2 * _SECOND_US // self.per_second)
        if self.from_us > now_us + kept_us:
            # The clock was set back, which must not hold everything up.
            return now_us - kept_us
        return min(max(self.from_us, now_us - kept_us), now_us)
