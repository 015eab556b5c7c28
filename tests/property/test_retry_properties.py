from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.access.policies import BOUNDS
from headrace.domain.deliveries.retry import (
    RETRY_AFTER_MAX_S,
    RetryPolicy,
    delay_s,
    next_delay_s,
    parse_retry_after,
    retry_at_us,
)


def within(policy: str) -> st.SearchStrategy[float]:
    low, high = BOUNDS[policy]
    return st.floats(low, high)


POLICIES = st.builds(
    RetryPolicy,
    base_s=within("retry_base_seconds"),
    factor=within("retry_factor"),
    cap_s=within("retry_cap_seconds"),
    max_attempts=st.integers(1, 30),
)
ATTEMPTS = st.integers(1, 1_000_000)
JITTERS = st.floats(0, 1, exclude_max=True)


@given(ATTEMPTS, POLICIES, JITTERS)
def test_delay_is_positive_and_at_most_a_fifth_past_the_cap(
    attempt: int, policy: RetryPolicy, jitter: float
) -> None:
    delay = delay_s(attempt, policy, jitter)
    assert 0 < min(policy.base_s, policy.cap_s) * 0.8 <= delay <= policy.cap_s * 1.2


@given(st.integers(1, 30), POLICIES)
def test_delay_follows_the_formula(attempt: int, policy: RetryPolicy) -> None:
    nominal = min(policy.cap_s, policy.base_s * policy.factor ** (attempt - 1))
    assert abs(delay_s(attempt, policy, 0.5) - nominal) <= nominal * 1e-9


@given(ATTEMPTS, POLICIES, JITTERS)
def test_delays_never_shrink_with_the_attempts(
    attempt: int, policy: RetryPolicy, jitter: float
) -> None:
    assert delay_s(attempt, policy, jitter) <= delay_s(attempt + 1, policy, jitter)


@given(ATTEMPTS, POLICIES, JITTERS, st.floats(0, 1e12))
def test_retry_after_is_obeyed_up_to_a_day(
    attempt: int, policy: RetryPolicy, jitter: float, asked_s: float
) -> None:
    delay = next_delay_s(attempt, policy, jitter, asked_s)
    assert delay >= delay_s(attempt, policy, jitter)
    assert delay >= min(asked_s, RETRY_AFTER_MAX_S)
    assert delay <= max(policy.cap_s * 1.2, RETRY_AFTER_MAX_S)


@given(st.integers(1, 40), POLICIES, JITTERS, st.integers(0, 2**52))
def test_there_is_a_next_attempt_until_they_are_used_up(
    attempt: int, policy: RetryPolicy, jitter: float, now_us: int
) -> None:
    at_us = retry_at_us(now_us, attempt, policy, jitter)
    assert (at_us is None) == (attempt >= policy.max_attempts)
    assert at_us is None or at_us > now_us


@given(st.text(max_size=80), st.integers(0, 2**52))
def test_any_retry_after_is_bounded_or_ignored(value: str, now_us: int) -> None:
    seconds = parse_retry_after(value, now_us)
    assert seconds is None or 0 <= seconds <= RETRY_AFTER_MAX_S


@given(st.datetimes(), st.integers(0, 2**52))
def test_any_date_is_bounded(date: object, now_us: int) -> None:
    text = f"{date:%a, %d %b %Y %H:%M:%S} GMT"
    seconds = parse_retry_after(text, now_us)
    assert seconds is None or 0 <= seconds <= RETRY_AFTER_MAX_S
