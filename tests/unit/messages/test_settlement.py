"""The effects of each class of SMTP reply."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.deliveries.retry import DELIVERY_RETRY
from headrace.domain.messages.kinds import (
    MessageKind,
    MessageStatus,
    SuppressionReason,
    UnknownOutcome,
)
from headrace.domain.messages.settlement import HORIZON_S, Progress, Settlement, settle
from headrace.domain.messages.smtp_replies import ReplyClass

NOW_US = 1_800_000_000_000_000
HOUR_US = 3_600_000_000


FRESH = Progress(kind=MessageKind.MARKETING, attempt=1, first_due_us=NOW_US)


def settled(
    outcome: ReplyClass,
    progress: Progress = FRESH,
    *,
    now_us: int = NOW_US,
    unknown: UnknownOutcome = UnknownOutcome.HOLD,
    jitter: float = 0.5,
) -> Settlement:
    return settle(
        outcome, progress, now_us=now_us, policy=DELIVERY_RETRY, unknown=unknown, jitter=jitter
    )


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (ReplyClass.SENT, MessageStatus.SENT),
        (ReplyClass.ADDRESS_BAD, MessageStatus.BOUNCED),
        (ReplyClass.TOO_LARGE, MessageStatus.FAILED),
        (ReplyClass.CONTENT_REFUSED, MessageStatus.FAILED),
        (ReplyClass.SENDER_REFUSED, MessageStatus.BLOCKED),
        (ReplyClass.UNKNOWN, MessageStatus.UNKNOWN),
    ],
)
def test_some_replies_end_the_attempts(outcome: ReplyClass, status: MessageStatus) -> None:
    done = settled(outcome)
    assert done.status is status
    assert done.retry_at_us is None


@pytest.mark.parametrize("outcome", ReplyClass)
def test_only_a_bad_address_is_suppressed(outcome: ReplyClass) -> None:
    expected = SuppressionReason.HARD_BOUNCE if outcome is ReplyClass.ADDRESS_BAD else None
    assert settled(outcome).suppress is expected


def test_deferred_waits_five_and_fifteen_minutes_then_the_schedule() -> None:
    waits = [
        (settled(ReplyClass.DEFERRED, replace(FRESH, attempt=attempt)).retry_at_us or 0) - NOW_US
        for attempt in (1, 2, 3, 7)
    ]
    assert [wait // 1_000_000 for wait in waits] == [300, 900, 900, 20_480]


def test_unknown_marketing_is_held_and_transactional_retried_once() -> None:
    assert settled(ReplyClass.UNKNOWN).retry_at_us is None
    once = settled(ReplyClass.UNKNOWN, unknown=UnknownOutcome.RETRY)
    assert once.retry_at_us == NOW_US + 600_000_000
    assert once.fresh_connection
    again = replace(FRESH, unknowns=1)
    assert settled(ReplyClass.UNKNOWN, again, unknown=UnknownOutcome.RETRY).retry_at_us is None


def test_protocol_errors_are_retried_once_on_a_fresh_connection() -> None:
    first = settled(ReplyClass.PROTOCOL)
    assert (first.status, first.retry_at_us) == (MessageStatus.DEFERRED, NOW_US)
    assert first.fresh_connection
    assert (
        settled(ReplyClass.PROTOCOL, replace(FRESH, protocol_errors=1)).status
        is MessageStatus.FAILED
    )


def test_domain_is_believed_bad_a_day_after_the_first_time() -> None:
    first = settled(ReplyClass.DOMAIN_BAD)
    assert first.status is MessageStatus.DEFERRED
    since = replace(FRESH, domain_bad_since_us=NOW_US)
    soon = settled(ReplyClass.DOMAIN_BAD, since, now_us=NOW_US + HOUR_US)
    assert soon.status is MessageStatus.DEFERRED
    later = settled(ReplyClass.DOMAIN_BAD, since, now_us=NOW_US + 25 * HOUR_US)
    assert later.suppress is SuppressionReason.HARD_BOUNCE


def test_flags_name_what_a_reply_concerns() -> None:
    assert settled(ReplyClass.RELAY_UNAVAILABLE).relay_down
    assert settled(ReplyClass.RELAY_AUTH).hold_relay
    assert settled(ReplyClass.THROTTLED).slow_down
    assert settled(ReplyClass.MAILBOX_FULL).soft_bounce
    assert settled(ReplyClass.SENDER_REFUSED).sender_rejected


@given(
    outcome=st.sampled_from(ReplyClass),
    kind=st.sampled_from(MessageKind),
    attempt=st.integers(1, 10_000),
    later_us=st.integers(0, 100 * HOUR_US),
    unknown=st.sampled_from(UnknownOutcome),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_no_retry_after_the_horizon_and_none_in_the_past(
    outcome: ReplyClass,
    kind: MessageKind,
    attempt: int,
    later_us: int,
    unknown: UnknownOutcome,
    jitter: float,
) -> None:
    now_us = NOW_US + later_us
    progress = replace(FRESH, kind=kind, attempt=attempt)
    done = settled(outcome, progress, now_us=now_us, unknown=unknown, jitter=jitter)
    if done.retry_at_us is not None:
        assert now_us <= done.retry_at_us <= NOW_US + HORIZON_S[kind] * 1_000_000
        assert not done.status.final
    elif done.status is not MessageStatus.UNKNOWN:
        assert done.status.final
