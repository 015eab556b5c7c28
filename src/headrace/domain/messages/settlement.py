"""Decides what follows from an attempt: next status, time of the retry, and reports."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.domain.deliveries.retry import RetryPolicy, delay_s
from headrace.domain.messages.kinds import (
    MessageKind,
    MessageStatus,
    SuppressionReason,
    UnknownOutcome,
)
from headrace.domain.messages.smtp_replies import ReplyClass

#: How long a message is retried, from its first due time, unless the request sets another limit.
HORIZON_S = {MessageKind.MARKETING: 72 * 3600.0, MessageKind.TRANSACTIONAL: 24 * 3600.0}
#: Waits after the first temporary rejections, before the project's own schedule.
GREYLIST_S = (300.0, 900.0)
#: A full mailbox or a domain without a route does not recover within minutes.
SLOW_S = 3600.0
#: Outcomes after which an earlier attempt is useless.
THROTTLED_S = 60.0
RELAY_AUTH_S = 60.0
#: Wait before the single retry after an unknown outcome, if the policy is `retry`.
UNKNOWN_RETRY_S = 600.0
#: A missing route is final when it is still missing this long after the first time.
DOMAIN_BAD_S = 24 * 3600.0
#: Failures in a row before mail of a sending domain to a group of receivers waits.
SENDER_REJECTIONS_MAX = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """State of a message when an attempt ends. Times are microseconds since 1970."""

    kind: MessageKind
    #: Number of the attempt that ended, from 1.
    attempt: int
    #: When the message was first due; the horizon counts from here.
    first_due_us: int
    #: Attempts that ended `protocol` before this one.
    protocol_errors: int = 0
    #: Attempts that ended `unknown` before this one.
    unknowns: int = 0
    #: When an attempt first ended `domain_bad`.
    domain_bad_since_us: int | None = None
    horizon_s: float | None = None

    @property
    def ends_us(self) -> int:
        """When its retries end."""
        horizon_s = HORIZON_S[self.kind] if self.horizon_s is None else self.horizon_s
        return self.first_due_us + round(horizon_s * 1_000_000)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settlement:
    """What the sending loop writes and does after an attempt."""

    status: MessageStatus
    #: When it is retried; None: never automatically.
    retry_at_us: int | None = None
    #: Add the address to the suppression list for this reason.
    suppress: SuppressionReason | None = None
    #: Count it as a soft bounce; several become a hard one.
    soft_bounce: bool = False
    #: The next attempt must not use this connection.
    fresh_connection: bool = False
    #: The relay itself failed: counts for its breaker.
    relay_down: bool = False
    #: Nothing is sent through this relay until an operator acts or a later attempt succeeds.
    hold_relay: bool = False
    #: Halve the rate towards this receiver.
    slow_down: bool = False
    #: Counts for the breaker of (sending domain, receiver group).
    sender_rejected: bool = False


_HARD_BOUNCE = Settlement(status=MessageStatus.BOUNCED, suppress=SuppressionReason.HARD_BOUNCE)
#: Outcomes after which there is nothing to decide.
_ENDS = {
    ReplyClass.SENT: Settlement(status=MessageStatus.SENT),
    ReplyClass.ADDRESS_BAD: _HARD_BOUNCE,
    ReplyClass.TOO_LARGE: Settlement(status=MessageStatus.FAILED),
    ReplyClass.CONTENT_REFUSED: Settlement(status=MessageStatus.FAILED),
    ReplyClass.SENDER_REFUSED: Settlement(status=MessageStatus.BLOCKED, sender_rejected=True),
}


def settle(
    outcome: ReplyClass,
    progress: Progress,
    *,
    now_us: int,
    policy: RetryPolicy,
    unknown: UnknownOutcome,
    jitter: float,
) -> Settlement:
    """Decide what follows from an attempt.

    Args:
        outcome: of the attempt.
        progress: state of the message.
        now_us: the store's clock.
        policy: the project's retry policy; its number of attempts does not count, the horizon does.
        unknown: the project's policy for this kind of message.
        jitter: a random number from 0 up to 1.
    """
    if outcome in _ENDS:
        return _ENDS[outcome]
    if outcome is ReplyClass.UNKNOWN:
        return _unknown(progress, now_us, unknown)
    if outcome is ReplyClass.PROTOCOL and progress.protocol_errors > 0:
        return Settlement(status=MessageStatus.FAILED, fresh_connection=True)
    if outcome is ReplyClass.DOMAIN_BAD and _still_bad(progress, now_us):
        return _HARD_BOUNCE
    wait_s = _wait_s(outcome, progress.attempt, policy, jitter)
    retry_at_us = now_us + round(wait_s * 1_000_000)
    late = retry_at_us > progress.ends_us
    return Settlement(
        status=MessageStatus.EXPIRED if late else MessageStatus.DEFERRED,
        retry_at_us=None if late else retry_at_us,
        soft_bounce=outcome is ReplyClass.MAILBOX_FULL,
        fresh_connection=outcome is ReplyClass.PROTOCOL,
        relay_down=outcome is ReplyClass.RELAY_UNAVAILABLE,
        hold_relay=outcome is ReplyClass.RELAY_AUTH,
        slow_down=outcome is ReplyClass.THROTTLED,
    )


def _unknown(progress: Progress, now_us: int, policy: UnknownOutcome) -> Settlement:
    retry_at_us = now_us + round(UNKNOWN_RETRY_S * 1_000_000)
    again = (
        policy is UnknownOutcome.RETRY
        and progress.unknowns == 0
        and retry_at_us <= progress.ends_us
    )
    return Settlement(
        status=MessageStatus.UNKNOWN,
        retry_at_us=retry_at_us if again else None,
        fresh_connection=True,
    )


def _still_bad(progress: Progress, now_us: int) -> bool:
    since_us = progress.domain_bad_since_us
    return since_us is not None and now_us - since_us >= DOMAIN_BAD_S * 1_000_000


def _wait_s(outcome: ReplyClass, attempt: int, policy: RetryPolicy, jitter: float) -> float:
    normal = delay_s(attempt, policy, jitter)
    match outcome:
        case ReplyClass.PROTOCOL:
            return 0.0
        case ReplyClass.DEFERRED:
            # Greylisting needs minutes, whatever the project's schedule begins with.
            index = min(attempt, len(GREYLIST_S)) - 1
            return GREYLIST_S[index] if attempt <= len(GREYLIST_S) else max(normal, GREYLIST_S[-1])
        case ReplyClass.DOMAIN_BAD | ReplyClass.MAILBOX_FULL:
            return max(normal, SLOW_S)
        case ReplyClass.THROTTLED:
            return max(normal, THROTTLED_S)
        case ReplyClass.RELAY_AUTH:
            return max(normal, RELAY_AUTH_S)
    return normal
