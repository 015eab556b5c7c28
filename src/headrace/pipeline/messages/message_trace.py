"""Explains the state of a message: composing, guardrails, attempts and reports."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from headrace.domain.messages.explanations import all_passed, explain, said_at_the_end
from headrace.domain.messages.guardrails import Reason, Verdict
from headrace.domain.messages.kinds import MessageStatus
from headrace.store.messages.sending.message_lists import MessageDetail

#: Reasons of a message that ended because no mail could be composed.
_NOT_COMPOSED = frozenset(
    {"compose", "domain_not_verified", Reason.MISSING_VARIABLE.value, Reason.GONE.value}
)


class Composing(StrEnum):
    """Whether a mail was made of a message."""

    #: Not yet; it is made right before the hand-over.
    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


class CheckedWhen(StrEnum):
    """Which moment the verdicts of guardrails are of."""

    #: The time of the request; it decides nothing.
    NOW = "now"
    #: The last hand-over: the row of an attempt is written only when all let it pass.
    HAND_OVER = "hand_over"
    #: The end of the message.
    END = "end"


class MessageTrace(msgspec.Struct, frozen=True, kw_only=True):
    """One message with all that happened to it, in order."""

    detail: MessageDetail
    #: One sentence for people.
    explanation: str
    composing: Composing
    #: In the order in which they are checked, up to the first that did not pass.
    guardrails: Sequence[Verdict]
    #: None without verdicts.
    checked_when: CheckedWhen | None
    #: Microseconds since 1970; None: see `checked_when`.
    checked_us: int | None


def trace_of(detail: MessageDetail) -> MessageTrace:
    """What happened to a message."""
    message = detail.message
    verdicts, when, at_us = _checked(detail)
    composing = Composing.PENDING
    if message.reason in _NOT_COMPOSED:
        composing = Composing.FAILED
    elif message.attempt or (verdicts and when is not CheckedWhen.NOW):
        composing = Composing.DONE
    return MessageTrace(
        detail=detail,
        explanation=explain(message.state, message.reason, message.rule),
        composing=composing,
        guardrails=verdicts,
        checked_when=when,
        checked_us=at_us,
    )


def _checked(
    detail: MessageDetail,
) -> tuple[Sequence[Verdict], CheckedWhen | None, int | None]:
    message = detail.message
    if detail.guardrails:
        return detail.guardrails, CheckedWhen.NOW, None
    if message.state is MessageStatus.SKIPPED:
        said = said_at_the_end(message.reason, message.rule)
        return said, CheckedWhen.END if said else None, message.finished_us if said else None
    if detail.attempts:
        return all_passed(), CheckedWhen.HAND_OVER, detail.attempts[-1].started_us
    return (), None, None
