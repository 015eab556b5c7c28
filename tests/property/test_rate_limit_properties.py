"""Limits of so many a second: of a project, of a replay, of a send to an audience."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.pipeline.token_bucket import BURST_SECONDS, ForwardTime, TokenBucket

START_US = 1_780_928_100_000_000
STEPS = st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(1, 50)), min_size=1, max_size=60)


@settings(max_examples=300)
@given(st.integers(1, 100), STEPS)
def test_never_more_than_rate_and_burst_allow(rate: int, steps: list[tuple[int, int]]) -> None:
    bucket = TokenBucket(rate)
    now_us, taken, largest = START_US, 0, 0
    for step_us, count in steps:
        now_us += step_us
        if bucket.take(now_us, count) == 0:
            taken += count
            largest = max(largest, count)
    allowed = rate * BURST_SECONDS + (now_us - START_US) * rate / 1_000_000
    # One request beyond a full bucket may borrow, and is paid back before the next.
    assert taken <= allowed + largest


@settings(max_examples=300)
@given(st.integers(1, 1000), st.integers(1, 3000), STEPS)
def test_request_is_granted_after_the_reported_time(
    rate: int, count: int, steps: list[tuple[int, int]]
) -> None:
    bucket = TokenBucket(rate)
    now_us = START_US
    for step_us, taken in steps:
        now_us += step_us
        bucket.take(now_us, taken)
    wait_s = bucket.take(now_us, count)
    assert isinstance(wait_s, int)
    if wait_s:
        assert bucket.take(now_us + wait_s * 1_000_000, count) == 0


@settings(max_examples=300)
@given(st.integers(1, 100), st.lists(st.integers(-5_000_000, 2_000_000), max_size=60))
def test_clock_set_back_grants_nothing_extra(rate: int, steps: list[int]) -> None:
    bucket = TokenBucket(rate)
    bucket.take(START_US)
    now_us = latest_us = START_US
    taken = 1
    for step_us in steps:
        now_us += step_us
        latest_us = max(latest_us, now_us)
        taken += bucket.take(now_us) == 0
    assert taken <= rate * BURST_SECONDS + (latest_us - START_US) * rate / 1_000_000 + 1


def test_a_burst_of_two_seconds_then_the_rate() -> None:
    bucket = TokenBucket(5)
    assert [bucket.take(START_US) for _ in range(11)] == [0] * 10 + [1]
    assert bucket.take(START_US + 200_000) == 0
    assert bucket.take(START_US + 200_000) == 1


@given(
    rate=st.integers(1, 1000),
    burst=st.integers(1, 200),
    steps=st.lists(st.integers(-5_000_000, 5_000_000), max_size=30),
)
def test_lasting_work_keeps_its_rate_when_the_clock_is_set_back(
    rate: int, burst: int, steps: list[int]
) -> None:
    now_us, forward_us, spent = START_US, 0, 0
    bucket, time = TokenBucket(rate, burst=burst, level=1), ForwardTime()
    assert bucket.available(time.at(now_us)) == 1
    for step in steps:
        now_us += step
        forward_us += max(0, step)
        available = bucket.available(time.at(now_us))
        assert min(burst, int(max(0, step) * rate / 1_000_000)) <= available <= burst
        bucket.spend(available)
        spent += available
    assert spent <= 1 + forward_us * rate / 1_000_000 + 1e-6
