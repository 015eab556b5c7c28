"""Soft bounces become a hard one by their number and time, and a delivery starts again."""

from __future__ import annotations

import pytest

from headrace.domain.messages.feedback.form import FeedbackKind
from headrace.domain.messages.feedback.soft_bounces import (
    SOFT_BOUNCE_US,
    address_is_bad,
    history_is_bad,
)

DAY_US = 24 * 3600 * 1_000_000
SOFT, DELIVERED = FeedbackKind.SOFT, FeedbackKind.DELIVERED


def soft_on(*days: float) -> list[tuple[int, FeedbackKind]]:
    return [(round(day * DAY_US), SOFT) for day in days]


@pytest.mark.parametrize(
    ("history", "bad"),
    [
        ([], False),
        (soft_on(0, 2, 4, 6, 7), True),
        # Too few, or too close together.
        (soft_on(0, 2, 4, 7), False),
        (soft_on(0, 1, 2, 3, 4, 5, 6, 6.9), False),
        (soft_on(0, 0, 0, 0, 0, 0, 7), True),
        # A delivery between them.
        ([*soft_on(0, 2, 4, 6), (6 * DAY_US, DELIVERED), *soft_on(7, 8)], False),
        ([*soft_on(0, 2), (3 * DAY_US, DELIVERED), *soft_on(4, 6, 8, 10, 11)], True),
        # What says nothing about the address does not count.
        ([(day * DAY_US, FeedbackKind.BLOCKED) for day in range(30)], False),
        ([(day * DAY_US, FeedbackKind.DELAYED) for day in range(30)], False),
        ([(day * DAY_US, FeedbackKind.AUTO_REPLY) for day in range(30)], False),
        ([*soft_on(0, 2, 4, 6), (7 * DAY_US, FeedbackKind.BLOCKED)], False),
        ([(0, FeedbackKind.HARD)], True),
    ],
)
def test_history_makes_an_address_bad(history: list[tuple[int, FeedbackKind]], bad: bool) -> None:
    assert history_is_bad(history, 5) is bad


def test_both_limits_are_inclusive() -> None:
    assert address_is_bad(5, 1, 1 + SOFT_BOUNCE_US, 5)
    assert not address_is_bad(5, 1, SOFT_BOUNCE_US, 5)
    assert not address_is_bad(4, 1, 1 + SOFT_BOUNCE_US, 5)
