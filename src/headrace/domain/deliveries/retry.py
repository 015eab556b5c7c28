"""Times of retries, computed without clock or randomness of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from headrace.domain.access.policies import BOUNDS, Policies

#: Longest wait that a receiver can ask for with `Retry-After`.
RETRY_AFTER_MAX_S = 86_400.0
#: Cap between two attempts at processing: it waits for the store, not for an outside system.
PROCESSING_CAP_S = 300.0

_JITTER_LOW = 0.8
_JITTER_WIDTH = 0.4
_DELTA_SECONDS = re.compile(r"[0-9]{1,18}")
#: Longer than any date in RFC 9110.
_RETRY_AFTER_CHARACTERS_MAX = 64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """How long to wait between attempts and how many there are.

    The bounds are those of the project policies it is made from.

    Raises:
        ValueError: a value is out of bounds.
    """

    base_s: float
    factor: float
    cap_s: float
    max_attempts: int

    def __post_init__(self) -> None:
        for value, policy in (
            (self.base_s, "retry_base_seconds"),
            (self.factor, "retry_factor"),
            (self.cap_s, "retry_cap_seconds"),
            (self.max_attempts, "delivery_max_attempts"),
        ):
            low, high = BOUNDS[policy]
            if not low <= value <= high:
                message = f"{policy} must be from {low:g} to {high:g}, got {value!r}"
                raise ValueError(message)


def delivery_retry(policies: Policies) -> RetryPolicy:
    """Retry policy for deliveries; with the default policies 14 attempts over about 80 hours."""
    return RetryPolicy(
        base_s=policies.retry_base_seconds,
        factor=policies.retry_factor,
        cap_s=policies.retry_cap_seconds,
        max_attempts=policies.delivery_max_attempts,
    )


def processing_retry(policies: Policies) -> RetryPolicy:
    """Retry policy for processing; by default 10 attempts, at most 5 minutes apart."""
    return RetryPolicy(
        base_s=policies.retry_base_seconds,
        factor=policies.retry_factor,
        cap_s=min(policies.retry_cap_seconds, PROCESSING_CAP_S),
        max_attempts=policies.processing_max_attempts,
    )


DELIVERY_RETRY = delivery_retry(Policies())
PROCESSING_RETRY = processing_retry(Policies())


def delay_s(attempt: int, policy: RetryPolicy, jitter: float) -> float:
    """Seconds from the failure of `attempt` to the next one.

    The jitter is applied after the cap, so a delay can be a fifth longer than the cap: otherwise
    capped attempts of many deliveries would coincide.

    Args:
        attempt: number of the attempt that failed, from 1.
        policy: base, factor and cap.
        jitter: a random number from 0 up to 1.
    """
    return _nominal_s(attempt, policy) * (_JITTER_LOW + _JITTER_WIDTH * jitter)


def _nominal_s(attempt: int, policy: RetryPolicy) -> float:
    # Multiplied step by step up to the cap: a power of a large attempt number would overflow. With
    # factor 1 the cap is never reached, so the number of steps is bounded, too.
    delay = policy.base_s
    for _ in range(min(attempt, 64) - 1):
        if delay >= policy.cap_s:
            break
        delay *= policy.factor
    return min(delay, policy.cap_s)


def next_delay_s(
    attempt: int, policy: RetryPolicy, jitter: float, retry_after_s: float | None = None
) -> float:
    """Like `delay_s`, but never before the moment that the receiver asked for."""
    delay = delay_s(attempt, policy, jitter)
    if retry_after_s is None:
        return delay
    return max(delay, min(retry_after_s, RETRY_AFTER_MAX_S))


def retry_at_us(
    now_us: int,
    attempt: int,
    policy: RetryPolicy,
    jitter: float,
    retry_after_s: float | None = None,
) -> int | None:
    """When to retry after `attempt` failed at `now_us`; None when no attempt is left."""
    if attempt >= policy.max_attempts:
        return None
    return now_us + round(next_delay_s(attempt, policy, jitter, retry_after_s) * 1_000_000)


def parse_retry_after(value: str, now_us: int) -> float | None:
    """Read a `Retry-After` header: seconds, or a date in one of the forms of HTTP.

    Args:
        value: the header as received.
        now_us: wall clock, which a date is measured from.

    Returns:
        Seconds from now, 0 to `RETRY_AFTER_MAX_S`; None when the value is invalid.
    """
    text = value.strip(" \t")
    if _DELTA_SECONDS.fullmatch(text):
        return min(float(text), RETRY_AFTER_MAX_S)
    if len(text) > _RETRY_AFTER_CHARACTERS_MAX or not text.isascii():
        return None
    try:
        date = parsedate_to_datetime(text)
        aware = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
        wait_s = (aware - _EPOCH).total_seconds() - now_us / 1_000_000
    except (ValueError, OverflowError):
        return None
    return min(max(wait_s, 0.0), RETRY_AFTER_MAX_S)
