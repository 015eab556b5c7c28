"""Computes the record of an attempt from its outcome. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from headrace.delivery.contract import AttemptOutcome, Delivered, Failed, FailureCause
from headrace.domain.deliveries.breaker import Permit
from headrace.domain.deliveries.retry import RetryPolicy, retry_at_us
from headrace.store.contract.deliveries import (
    AttemptFailure,
    AttemptRecord,
    ClaimedDelivery,
    StoreCause,
)
from headrace.store.contract.delivery_counts import DELIVERED, STALE
from headrace.store.contract.processing import CRASHES_MAX

GONE = "the endpoint returned 410 Gone"


class Ended(msgspec.Struct, frozen=True):
    """An attempt that is over and not recorded yet."""

    claimed: ClaimedDelivery
    permit: Permit
    began_us: int
    outcome: AttemptOutcome


def record_of(ended: Ended, policy: RetryPolicy, jitter: float) -> AttemptRecord:
    """What to record, the next attempt included."""
    outcome = ended.outcome
    return AttemptRecord(
        claimed=ended.claimed,
        began_us=ended.began_us,
        duration_us=outcome.duration_us,
        failure=None
        if isinstance(outcome, Delivered)
        else _failure_of(outcome, ended.claimed, policy, jitter),
        http_status=outcome.response.http_status if outcome.response else None,
        excerpt=outcome.response.excerpt if outcome.response else None,
        note=outcome.response.note if outcome.response else None,
        exchange=outcome.exchange,
    )


def _failure_of(
    outcome: Failed, claimed: ClaimedDelivery, policy: RetryPolicy, jitter: float
) -> AttemptFailure:
    if outcome.cause is FailureCause.HANDLER_DIED:
        return _after_crash(outcome, claimed, policy)
    retry_in_us = None
    if not outcome.permanent:
        retry_in_us = retry_at_us(0, claimed.attempt, policy, jitter, outcome.retry_after_s)
    reason = GONE if outcome.disable_subscriber else None
    # An internal error ends the attempt before it says anything about the subscriber.
    crashes = claimed.crashes if outcome.cause is FailureCause.INTERNAL else 0
    return AttemptFailure(outcome.cause.value, outcome.message, retry_in_us, reason, crashes)


def _after_crash(outcome: Failed, claimed: ClaimedDelivery, policy: RetryPolicy) -> AttemptFailure:
    """Retry at once: it delays no other delivery, and soon shows whether this one is poison."""
    crashes = claimed.crashes + 1
    if crashes >= CRASHES_MAX:
        error = f"{outcome.message}; that happened {crashes} times"
        return AttemptFailure(StoreCause.POISON.value, error, None, crashes=crashes)
    retry_in_us = 0 if claimed.attempt < policy.max_attempts else None
    return AttemptFailure(outcome.cause.value, outcome.message, retry_in_us, crashes=crashes)


def outcome_of(ended: Ended, *, ours: bool) -> str:
    """The counted outcome; `ours`: whether this worker still held the claim when recording it."""
    if not ours:
        return STALE
    return DELIVERED if isinstance(ended.outcome, Delivered) else ended.outcome.cause.value


def by_subscriber(ended: Iterable[Ended]) -> dict[str, list[tuple[Permit, AttemptOutcome | None]]]:
    """Outcomes of each subscriber in the order in which they came, for its breaker."""
    found: dict[str, list[tuple[Permit, AttemptOutcome | None]]] = {}
    for one in ended:
        found.setdefault(one.claimed.subscriber_id, []).append((one.permit, one.outcome))
    return found
