from __future__ import annotations

import pytest

from headrace.domain.access.policies import Policies
from headrace.domain.deliveries.retry import (
    DELIVERY_RETRY,
    PROCESSING_RETRY,
    RETRY_AFTER_MAX_S,
    RetryPolicy,
    delay_s,
    delivery_retry,
    next_delay_s,
    parse_retry_after,
    processing_retry,
    retry_at_us,
)

#: 2026-06-08T14:15:00Z
NOW_US = 1_780_928_100_000_000
#: The jitter value that leaves the nominal delay unchanged.
MIDDLE = 0.5


def test_deliveries_are_tried_fourteen_times_over_eighty_hours() -> None:
    delays = [delay_s(attempt, DELIVERY_RETRY, MIDDLE) for attempt in range(1, 14)]
    assert delays[:7] == pytest.approx([5, 20, 80, 320, 1280, 5120, 20480])
    assert delays[7:] == pytest.approx([43200] * 6)
    assert sum(delays) / 3600 == pytest.approx(79.6, abs=0.05)
    assert DELIVERY_RETRY.max_attempts == 14


def test_processing_is_tried_ten_times_at_most_five_minutes_apart() -> None:
    delays = [delay_s(attempt, PROCESSING_RETRY, MIDDLE) for attempt in range(1, 10)]
    assert delays == pytest.approx([5, 20, 80, 300, 300, 300, 300, 300, 300])
    assert PROCESSING_RETRY.max_attempts == 10


def test_policies_of_a_project_decide() -> None:
    policies = Policies(
        retry_base_seconds=1,
        retry_factor=2,
        retry_cap_seconds=60,
        delivery_max_attempts=3,
        processing_max_attempts=4,
    )
    assert delivery_retry(policies) == RetryPolicy(base_s=1, factor=2, cap_s=60, max_attempts=3)
    assert processing_retry(policies) == RetryPolicy(base_s=1, factor=2, cap_s=60, max_attempts=4)


@pytest.mark.parametrize(("jitter", "share"), [(0.0, 0.8), (0.25, 0.9), (0.5, 1.0), (1.0, 1.2)])
def test_jitter_is_a_fifth_to_either_side(jitter: float, share: float) -> None:
    assert delay_s(2, DELIVERY_RETRY, jitter) == pytest.approx(20 * share)
    assert delay_s(30, DELIVERY_RETRY, jitter) == pytest.approx(43200 * share)


@pytest.mark.parametrize("attempt", [31, 1000, 10**9, 10**30])
def test_absurd_attempt_numbers_stay_at_the_cap(attempt: int) -> None:
    assert delay_s(attempt, DELIVERY_RETRY, MIDDLE) == pytest.approx(43200)
    flat = RetryPolicy(base_s=5, factor=1, cap_s=60, max_attempts=30)
    assert delay_s(attempt, flat, MIDDLE) == pytest.approx(5)


@pytest.mark.parametrize(
    ("retry_after_s", "expected_s"),
    [(None, 5), (0, 5), (3, 5), (60, 60), (86_400, 86_400), (10**9, RETRY_AFTER_MAX_S)],
)
def test_the_receiver_can_ask_for_more_but_not_for_less(
    retry_after_s: float | None, expected_s: float
) -> None:
    assert next_delay_s(1, DELIVERY_RETRY, MIDDLE, retry_after_s) == pytest.approx(expected_s)


def test_the_last_attempt_has_no_next_one() -> None:
    assert retry_at_us(NOW_US, 1, DELIVERY_RETRY, MIDDLE) == NOW_US + 5_000_000
    assert retry_at_us(NOW_US, 1, DELIVERY_RETRY, MIDDLE, 90.0) == NOW_US + 90_000_000
    assert retry_at_us(NOW_US, 13, DELIVERY_RETRY, MIDDLE) is not None
    assert retry_at_us(NOW_US, 14, DELIVERY_RETRY, MIDDLE) is None
    assert retry_at_us(NOW_US, 15, DELIVERY_RETRY, MIDDLE, 5.0) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_s": 0},
        {"base_s": 3601},
        {"base_s": float("nan")},
        {"factor": 0.5},
        {"factor": 11},
        {"cap_s": 86_401},
        {"cap_s": float("inf")},
        {"max_attempts": 0},
        {"max_attempts": 31},
    ],
)
def test_values_out_of_bounds_are_rejected(wrong: dict[str, float]) -> None:
    values: dict[str, float] = {"base_s": 5, "factor": 4, "cap_s": 60, "max_attempts": 3}
    with pytest.raises(ValueError, match="must be from"):
        RetryPolicy(**(values | wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 120\t", 120),
        ("000120", 120),
        ("86400", 86_400),
        ("999999999999", RETRY_AFTER_MAX_S),
        ("Mon, 08 Jun 2026 14:15:30 GMT", 30),
        ("Mon, 08 Jun 2026 14:15:30 +0000", 30),
        ("Monday, 08-Jun-26 14:15:30 GMT", 30),
        ("Mon Jun  8 14:15:30 2026", 30),
        ("Mon, 08 Jun 2026 16:15:30 +0200", 30),
        ("Mon, 08 Jun 2026 14:00:00 GMT", 0),
        ("Mon, 08 Jun 2099 14:15:30 GMT", RETRY_AFTER_MAX_S),
    ],
)
def test_retry_after_is_read_in_every_form(value: str, seconds: float) -> None:
    assert parse_retry_after(value, NOW_US) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "-1",
        "+5",
        "1.5",
        "1e3",
        "\u0665",
        "1_000",
        "9" * 19,
        "soon",
        "0x10",
        "Mon, 99 Jun 2026 14:15:30 GMT",
        "Mon, 08 Jun 99999 14:15:30 GMT",
        "Mon, 08 Jun 2026 14:15:30 GMT" * 10,
    ],
)
def test_a_meaningless_retry_after_is_ignored(value: str) -> None:
    assert parse_retry_after(value, NOW_US) is None
