"""From the outcome of an attempt to what is recorded of it: arithmetic, without a store."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from headrace.delivery.contract import AttemptOutcome, Delivered, Failed
from headrace.domain.breaker import Permit
from headrace.domain.retry import RetryPolicy, retry_at_us
from headrace.store.contract_delivery import AttemptFailure, AttemptRecord, ClaimedDelivery
from headrace.store.contract_delivery_counts import DELIVERED, STALE

GONE = "the endpoint answered 410 Gone"


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
        else _failure_of(outcome, ended.claimed.attempt, policy, jitter),
        http_status=outcome.answer.http_status if outcome.answer else None,
        excerpt=outcome.answer.excerpt if outcome.answer else None,
    )


def _failure_of(
    outcome: Failed, attempt: int, policy: RetryPolicy, jitter: float
) -> AttemptFailure:
    retry_in_us = None
    if not outcome.permanent:
        retry_in_us = retry_at_us(0, attempt, policy, jitter, outcome.retry_after_s)
    reason = GONE if outcome.disable_subscriber else None
    return AttemptFailure(outcome.cause.value, outcome.message, retry_in_us, reason)


def outcome_of(ended: Ended, *, ours: bool) -> str:
    """What an attempt is counted as; `ours`: whether its claim still was when it was recorded."""
    if not ours:
        return STALE
    return DELIVERED if isinstance(ended.outcome, Delivered) else ended.outcome.cause.value


def by_subscriber(ended: Iterable[Ended]) -> dict[str, list[tuple[Permit, AttemptOutcome | None]]]:
    """Outcomes of each subscriber in the order in which they came, for its breaker."""
    found: dict[str, list[tuple[Permit, AttemptOutcome | None]]] = {}
    for one in ended:
        found.setdefault(one.claimed.subscriber_id, []).append((one.permit, one.outcome))
    return found
