"""Circuit breaker of one subscriber: pauses a failing one, then probes whether it has recovered.

closed --(failures in a row, or asked to wait)--> open --(pause over)--> half-open
half-open --(probes succeed)--> closed, --(a probe fails)--> open with a longer pause

Every step returns a new breaker; the clock and the random numbers come from the caller. A breaker
is kept in the memory of the deliverer: losing it costs a few failed attempts.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

_SECOND_US = 1_000_000
#: Doublings after which any pause has reached its cap; bounds the power.
_OPENINGS_COUNTED_MAX = 32


class BreakerState(StrEnum):
    """What a breaker allows: everything, nothing, or a few probes."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, kw_only=True, slots=True)
class BreakerPolicy:
    """When to pause and for how long.

    Raises:
        ValueError: the values contradict one another.
    """

    #: Failures in a row that open a closed breaker.
    failures_to_open: int = 5
    #: The first pause is drawn from 0 to this, each further one from 0 to twice the bound before.
    pause_base_s: float = 10.0
    #: Bound of the doubling, and the longest pause that a receiver can ask for.
    pause_cap_s: float = 600.0
    #: The shortest pause, whatever is drawn.
    pause_min_s: float = 1.0
    #: Concurrent probes.
    probes_max: int = 1
    #: Probes that must succeed in a row before the breaker closes.
    probes_to_close: int = 2
    #: A probe without a result is abandoned after this; longer than any deadline.
    probe_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        if min(self.failures_to_open, self.probes_max, self.probes_to_close) < 1:
            message = "a breaker needs at least one failure to open and one probe to close"
            raise ValueError(message)
        if not 0 < self.pause_min_s <= self.pause_base_s <= self.pause_cap_s:
            message = "the pauses of a breaker must satisfy 0 < min <= base <= cap"
            raise ValueError(message)


@dataclass(frozen=True, kw_only=True, slots=True)
class Permit:
    """Permission for one attempt. Return it with the result.

    `generation` distinguishes results for the breaker's current state from late ones: an attempt
    that began before the breaker opened says nothing about a probe.
    """

    generation: int
    probe: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Breaker:
    """State of one subscriber's breaker; start with `Breaker()`."""

    policy: BreakerPolicy = field(default_factory=BreakerPolicy)
    state: BreakerState = BreakerState.CLOSED
    #: Raised at every change of state.
    generation: int = 0
    #: Closed: failures in a row.
    failures: int = 0
    #: Times in a row that the breaker opened without closing in between.
    openings: int = 0
    #: Open: when the first probe may be made.
    pause_until_us: int = 0
    #: Half-open: successes in a row.
    probe_successes: int = 0
    #: Half-open: when each running probe began, the oldest first.
    probes_begun_us: tuple[int, ...] = ()

    def request(self, now_us: int) -> tuple[Breaker, Permit | None]:
        """Ask for permission for an attempt; None: not now, ask again at `next_chance_us`."""
        if self.state is BreakerState.CLOSED:
            return self, Permit(generation=self.generation, probe=False)
        if self.state is BreakerState.OPEN:
            if now_us < self.pause_until_us:
                return self, None
            return self._changed(BreakerState.HALF_OPEN).request(now_us)
        begun_us = tuple(b for b in self.probes_begun_us if now_us < b + self._probe_timeout_us)
        if len(begun_us) >= self.policy.probes_max:
            return self, None
        breaker = replace(self, probes_begun_us=(*begun_us, now_us))
        return breaker, Permit(generation=self.generation, probe=True)

    def next_chance_us(self) -> int:
        """Earliest moment at which `request` may grant permission; 0 when it would now."""
        if self.state is BreakerState.OPEN:
            return self.pause_until_us
        if len(self.probes_begun_us) >= self.policy.probes_max:
            return self.probes_begun_us[0] + self._probe_timeout_us
        return 0

    def succeeded(self, permit: Permit) -> Breaker:
        """The subscriber responded (even if it rejected the event)."""
        if permit.generation != self.generation:
            return self
        if not permit.probe:
            return replace(self, failures=0) if self.failures else self
        if self.probe_successes + 1 >= self.policy.probes_to_close:
            return replace(self._changed(BreakerState.CLOSED), openings=0)
        return replace(
            self,
            probe_successes=self.probe_successes + 1,
            probes_begun_us=self.probes_begun_us[1:],
        )

    def failed(
        self, permit: Permit, now_us: int, jitter: float, retry_after_s: float | None = None
    ) -> Breaker:
        """The subscriber could not be reached, did not respond in time, or had a server error.

        Args:
            permit: what `request` returned for the attempt.
            now_us: the same clock as for `request`.
            jitter: a random number from 0 up to 1; draws the pause (full jitter, so that deliveries
                waiting for one subscriber, and subscribers of one host, do not resume together).
            retry_after_s: what the subscriber asked for. It opens the breaker at once, and the
                pause is no shorter, up to the cap of the policy.
        """
        if permit.generation != self.generation:
            return self
        if not permit.probe and retry_after_s is None:
            failures = self.failures + 1
            if failures < self.policy.failures_to_open:
                return replace(self, failures=failures)
        pause_s = self._pause_s(jitter, retry_after_s or 0.0)
        return replace(
            self._changed(BreakerState.OPEN),
            openings=self.openings + 1,
            pause_until_us=now_us + round(pause_s * _SECOND_US),
        )

    def cancelled(self, permit: Permit) -> Breaker:
        """The attempt was not made or not finished (shutdown), so it does not count."""
        if permit.generation != self.generation or not permit.probe:
            return self
        return replace(self, probes_begun_us=self.probes_begun_us[1:])

    def _pause_s(self, jitter: float, asked_s: float) -> float:
        policy = self.policy
        doublings = min(self.openings, _OPENINGS_COUNTED_MAX)
        bound_s = min(policy.pause_cap_s, policy.pause_base_s * 2.0**doublings)
        wanted_s = max(policy.pause_min_s, bound_s * jitter, asked_s)
        return min(wanted_s, policy.pause_cap_s)

    def _changed(self, state: BreakerState) -> Breaker:
        return Breaker(
            policy=self.policy,
            state=state,
            generation=self.generation + 1,
            openings=self.openings,
        )

    @property
    def _probe_timeout_us(self) -> int:
        return round(self.policy.probe_timeout_s * _SECOND_US)
