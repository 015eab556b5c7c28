"""Breakers are stored and restored, and count the attempts that concern them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.delivery.contract import AttemptOutcome, Delivered, Failed, FailureCause
from headrace.domain.deliveries.breaker import Breaker, BreakerPolicy, BreakerState
from headrace.pipeline.delivering.breakers import after_attempts, breaker_of, breaker_text, pauses

POLICY = BreakerPolicy()
NOW_US = 1_780_928_100_000_000

OUTCOMES = st.one_of(
    st.just(Delivered(duration_us=1)),
    st.none(),
    st.builds(
        lambda cause, wait: Failed(cause=cause, message="", duration_us=1, retry_after_s=wait),
        st.sampled_from(FailureCause),
        st.none() | st.floats(0, 1000),
    ),
)


def failed(cause: FailureCause) -> Failed:
    return Failed(cause=cause, message="no", duration_us=1)


def after(cause: FailureCause, times: int) -> Breaker:
    breaker = Breaker(policy=POLICY)
    for _ in range(times):
        breaker, permit = breaker.request(NOW_US)
        assert permit is not None
        breaker = after_attempts(breaker, [(permit, failed(cause))], NOW_US, 0.5)
    return breaker


@given(st.lists(st.tuples(OUTCOMES, st.integers(0, 10**9)), max_size=30))
def test_breaker_round_trips(steps: list[tuple[AttemptOutcome, int]]) -> None:
    breaker, now_us = Breaker(policy=POLICY), NOW_US
    for outcome, pause_us in steps:
        now_us += pause_us
        breaker, permit = breaker.request(now_us)
        if permit is not None:
            breaker = after_attempts(breaker, [(permit, outcome)], now_us, 0.5)
        read = breaker_of(breaker_text(breaker), POLICY)
        quiet = breaker.state is BreakerState.CLOSED and not breaker.failures
        assert quiet or read == breaker
        assert read.state is breaker.state


def test_quiet_breaker_is_not_written() -> None:
    assert breaker_text(Breaker()) is None
    assert breaker_of(None, POLICY) == Breaker(policy=POLICY)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"state":"ajar","generation":1}', "\x00"])
def test_malformed_text_is_a_closed_breaker(text: str) -> None:
    assert breaker_of(text, POLICY).state is BreakerState.CLOSED


@pytest.mark.parametrize("cause", [c for c in FailureCause if c.subscriber_down])
def test_subscriber_failures_open_the_breaker(cause: FailureCause) -> None:
    assert after(cause, POLICY.failures_to_open).state is BreakerState.OPEN


@pytest.mark.parametrize("cause", [c for c in FailureCause if not c.subscriber_down])
def test_other_failures_do_not_open_the_breaker(cause: FailureCause) -> None:
    assert after(cause, 3 * POLICY.failures_to_open) == Breaker(policy=POLICY)


def test_rejection_shows_that_the_subscriber_is_up() -> None:
    breaker = after(FailureCause.SERVER_ERROR, POLICY.failures_to_open - 1)
    breaker, permit = breaker.request(NOW_US)
    assert permit is not None
    rejected = failed(FailureCause.REJECTED)
    assert after_attempts(breaker, [(permit, rejected)], NOW_US, 0.5).failures == 0
    # An error of Headrace itself is neither success nor failure: the count stays.
    ours = failed(FailureCause.INTERNAL)
    assert after_attempts(breaker, [(permit, ours)], NOW_US, 0.5) == breaker


@pytest.mark.parametrize(("failures", "paused"), [(1, False), (4, False), (5, True)])
def test_text_shows_whether_the_subscriber_is_paused(failures: int, *, paused: bool) -> None:
    text = breaker_text(after(FailureCause.SERVER_ERROR, failures))
    assert text is not None
    assert pauses(text) == paused


def test_empty_object_pauses_no_subscriber() -> None:
    assert not pauses("{}")
