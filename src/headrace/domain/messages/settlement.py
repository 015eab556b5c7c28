"""What follows from an attempt: the message's next status, when it is tried again, who is told."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.domain.deliveries.retry import RetryPolicy, delay_s
from headrace.domain.messages.kinds import (
    MessageKind,
    MessageStatus,
    SuppressionReason,
    UnknownOutcome,
)
from headrace.domain.messages.smtp_answers import AnswerClass

#: How long a message is tried, from its first due time, unless the send says otherwise.
HORIZON_S = {MessageKind.MARKETING: 72 * 3600.0, MessageKind.TRANSACTIONAL: 24 * 3600.0}
#: Waits after the first refusals that ask for patience, before the project's own schedule.
GREYLIST_S = (300.0, 900.0)
#: A full mailbox and a domain without a route do not change within minutes.
SLOW_S = 3600.0
#: After these no attempt is worth making sooner.
THROTTLED_S = 60.0
RELAY_AUTH_S = 60.0
#: Once, after an outcome that nobody can know, where the policy is `retry`.
UNKNOWN_RETRY_S = 600.0
#: A domain without a route is believed when it has none this long after the first time.
DOMAIN_BAD_S = 24 * 3600.0
#: In a row, before mail of a sending domain to a group of receivers waits.
SENDER_REFUSED_MAX = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """What is known of a message when an attempt ends. Times are microseconds since 1970."""

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
    #: When it is tried again; None: not by itself.
    retry_at_us: int | None = None
    #: Put the address on the suppression list for this.
    suppress: SuppressionReason | None = None
    #: Count it towards a soft bounce that becomes a hard one.
    soft_bounce: bool = False
    #: The next attempt must not use this connection.
    fresh_connection: bool = False
    #: The relay itself failed: counts for its breaker.
    relay_down: bool = False
    #: Nothing is sent through this relay until an operator acts or a later try succeeds.
    hold_relay: bool = False
    #: Halve the rate towards this receiver.
    slow_down: bool = False
    #: Counts for the breaker of (sending domain, receiver group).
    sender_refused: bool = False


_HARD_BOUNCE = Settlement(status=MessageStatus.BOUNCED, suppress=SuppressionReason.HARD_BOUNCE)
#: Answers after which there is nothing to decide.
_ENDS = {
    AnswerClass.SENT: Settlement(status=MessageStatus.SENT),
    AnswerClass.ADDRESS_BAD: _HARD_BOUNCE,
    AnswerClass.TOO_LARGE: Settlement(status=MessageStatus.FAILED),
    AnswerClass.CONTENT_REFUSED: Settlement(status=MessageStatus.FAILED),
    AnswerClass.SENDER_REFUSED: Settlement(status=MessageStatus.BLOCKED, sender_refused=True),
}


def settle(
    outcome: AnswerClass,
    progress: Progress,
    *,
    now_us: int,
    policy: RetryPolicy,
    unknown: UnknownOutcome,
    jitter: float,
) -> Settlement:
    """Decide what follows from an attempt.

    Args:
        outcome: what it came to.
        progress: what is known of the message.
        now_us: the store's clock.
        policy: the project's retry policy; its number of attempts does not count, the horizon does.
        unknown: the project's policy for this kind of message.
        jitter: a random number from 0 up to 1.
    """
    if outcome in _ENDS:
        return _ENDS[outcome]
    if outcome is AnswerClass.UNKNOWN:
        return _unknown(progress, now_us, unknown)
    if outcome is AnswerClass.PROTOCOL and progress.protocol_errors > 0:
        return Settlement(status=MessageStatus.FAILED, fresh_connection=True)
    if outcome is AnswerClass.DOMAIN_BAD and _still_bad(progress, now_us):
        return _HARD_BOUNCE
    wait_s = _wait_s(outcome, progress.attempt, policy, jitter)
    retry_at_us = now_us + round(wait_s * 1_000_000)
    late = retry_at_us > progress.ends_us
    return Settlement(
        status=MessageStatus.EXPIRED if late else MessageStatus.DEFERRED,
        retry_at_us=None if late else retry_at_us,
        soft_bounce=outcome is AnswerClass.MAILBOX_FULL,
        fresh_connection=outcome is AnswerClass.PROTOCOL,
        relay_down=outcome is AnswerClass.RELAY_UNAVAILABLE,
        hold_relay=outcome is AnswerClass.RELAY_AUTH,
        slow_down=outcome is AnswerClass.THROTTLED,
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


def _wait_s(outcome: AnswerClass, attempt: int, policy: RetryPolicy, jitter: float) -> float:
    normal = delay_s(attempt, policy, jitter)
    match outcome:
        case AnswerClass.PROTOCOL:
            return 0.0
        case AnswerClass.DEFERRED:
            # Receivers that greylist want minutes, whatever the project's schedule begins with.
            index = min(attempt, len(GREYLIST_S)) - 1
            return GREYLIST_S[index] if attempt <= len(GREYLIST_S) else max(normal, GREYLIST_S[-1])
        case AnswerClass.DOMAIN_BAD | AnswerClass.MAILBOX_FULL:
            return max(normal, SLOW_S)
        case AnswerClass.THROTTLED:
            return max(normal, THROTTLED_S)
        case AnswerClass.RELAY_AUTH:
            return max(normal, RELAY_AUTH_S)
    return normal
