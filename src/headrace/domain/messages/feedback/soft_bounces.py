"""Decides when soft bounces count as a hard one."""

from __future__ import annotations

from collections.abc import Iterable

from headrace.domain.messages.feedback.form import FeedbackKind

#: Soft bounces of an address must be spread over at least this long.
SOFT_BOUNCE_US = 7 * 24 * 3600 * 1_000_000


def address_is_bad(count: int, first_us: int, last_us: int, most: int) -> bool:
    """Whether soft bounces in a row make an address bad.

    Args:
        count: soft bounces without a delivery between them.
        first_us: when the first of them happened.
        last_us: when the last of them happened.
        most: the project's policy `soft_bounces_to_suppress`.
    """
    return count >= most and last_us - first_us >= SOFT_BOUNCE_US


def history_is_bad(history: Iterable[tuple[int, FeedbackKind]], most: int) -> bool:
    """Whether the reports about an address make it bad.

    Args:
        history: time (microseconds) and kind of each report, oldest first.
        most: the project's policy `soft_bounces_to_suppress`.
    """
    count, first_us = 0, 0
    for at_us, kind in history:
        if kind is FeedbackKind.HARD:
            return True
        if kind is FeedbackKind.DELIVERED:
            count = 0
        if kind is FeedbackKind.SOFT:
            first_us = first_us if count else at_us
            count += 1
            if address_is_bad(count, first_us, at_us, most):
                return True
    return False
