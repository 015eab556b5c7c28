"""Health of a subscriber, from its last deliveries; the same in the API and on pages. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from headrace.domain.deliveries.breaker import BreakerPolicy, BreakerState
from headrace.domain.timestamps import to_text
from headrace.pipeline.delivering.breakers import breaker_of
from headrace.store.contract.deliveries import DeliveryRecord, DeliveryState, Subscriber

#: Number of recent deliveries that determine the health of a subscriber.
RECENT = 20
#: One failed delivery in so many, or the newest one, makes a subscriber failing.
FAILING_SHARE = 5


class HealthState(StrEnum):
    """Health in one word. The first that applies, from the end of this list."""

    #: Nothing was attempted yet.
    ENABLED = "enabled"
    HEALTHY = "healthy"
    #: Recent deliveries failed, or calls wait since too many failed in a row.
    FAILING = "failing"
    #: On request: deliveries wait.
    PAUSED = "paused"
    DISABLED = "disabled"


class Health(msgspec.Struct, frozen=True):
    """Health of a subscriber."""

    state: str
    #: Why; empty while healthy.
    why: str
    #: How many of the last deliveries failed, of how many that were attempted, and since when.
    failed: int
    attempted: int
    failing_since_us: int | None
    #: Set while calls wait because too many failed: time of the next attempt.
    paused_until_us: int | None
    #: Statuses of the last deliveries, newest first.
    recent: Sequence[str]
    #: Median of the successful attempts; None without any.
    latency_us: int | None

    @property
    def delivered(self) -> int:
        """How many of the recent deliveries succeeded."""
        return sum(status == "delivered" for status in self.recent)


def health_of(subscriber: Subscriber, recent: Sequence[DeliveryRecord], now_us: int) -> Health:
    """Compute the health.

    Args:
        recent: its last deliveries, newest first, at most `RECENT`.
    """
    decided = [each for each in recent if _has_failed(each) or _has_succeeded(each)]
    failed = [each for each in decided if _has_failed(each)]
    since_us = min(
        (a.at_us for each in failed for a in each.attempts if a.cause is not None), default=None
    )
    state, why = HealthState.ENABLED, ""
    if decided:
        state = HealthState.HEALTHY
        if _has_failed(decided[0]) or len(failed) * FAILING_SHARE >= len(decided):
            state = HealthState.FAILING
            why = f"{len(failed)} of the last {len(decided)} failed, since {to_text(since_us or 0)}"
    until_us = _waits_until_us(subscriber, now_us)
    if until_us is not None and state is not HealthState.FAILING:
        state, why = HealthState.FAILING, "it failed several times in a row"
    if subscriber.paused_us is not None:
        since = to_text(subscriber.paused_us)
        state, why, until_us = HealthState.PAUSED, f"paused on request, since {since}", None
    if not subscriber.enabled:
        state, why, until_us = HealthState.DISABLED, subscriber.disabled_reason or "", None
    worked = sorted(
        attempt.duration_us
        for delivery in recent
        for attempt in delivery.attempts
        if attempt.cause is None
    )
    return Health(
        state=state.value,
        why=why,
        failed=len(failed),
        attempted=len(decided),
        failing_since_us=since_us if state is HealthState.FAILING else None,
        paused_until_us=until_us,
        recent=[delivery.state.name.lower() for delivery in recent],
        latency_us=worked[len(worked) // 2] if worked else None,
    )


def _waits_until_us(subscriber: Subscriber, now_us: int) -> int | None:
    breaker = breaker_of(subscriber.breaker, BreakerPolicy())
    waits = breaker.state is BreakerState.OPEN and breaker.pause_until_us > now_us
    return breaker.pause_until_us if waits else None


def _has_failed(delivery: DeliveryRecord) -> bool:
    """Whether its last attempt failed."""
    return bool(delivery.attempts) and delivery.attempts[-1].cause is not None


def _has_succeeded(delivery: DeliveryRecord) -> bool:
    return delivery.state is DeliveryState.DELIVERED
