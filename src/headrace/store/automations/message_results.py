"""What became of the message of a step, as an input of its run."""

from __future__ import annotations

from headrace.domain.automations.running.inputs import MessageDeferred, MessageFinished
from headrace.domain.automations.running.reasons import RunReason
from headrace.domain.automations.running.runs import Wait
from headrace.domain.automations.running.states import StepStatus
from headrace.domain.messages.kinds import Channel, MessageStatus
from headrace.store.contract.messages import Message

_TAKEN = frozenset({MessageStatus.SENT, MessageStatus.DELIVERED, MessageStatus.COMPLAINED})
_REASONS = frozenset(reason.value for reason in RunReason)


def result_of(
    message: Message | None, step_key: str, wait: Wait, now_us: int
) -> MessageFinished | MessageDeferred | None:
    """The input for a run that waits for a message; None while there is nothing new.

    Args:
        message: None when it was removed.
    """
    if message is None:
        return _finished(step_key, StepStatus.SKIPPED, now_us, RunReason.GONE)
    if message.state.final or message.state in _TAKEN:
        return _result(message, step_key, message.sent_us or message.finished_us or now_us)
    is_deferred = message.state is MessageStatus.DEFERRED
    if not is_deferred or message.due_us is None or wait.held_until_us == message.due_us:
        return None
    return MessageDeferred(step_key=step_key, until_us=message.due_us, reason=_reason(message))


def _result(message: Message, step_key: str, at_us: int) -> MessageFinished:
    if message.state in _TAKEN:
        return _finished(step_key, StepStatus.COMPLETED, at_us)
    if message.state is MessageStatus.SKIPPED:
        return _finished(step_key, StepStatus.SKIPPED, at_us, _reason(message) or RunReason.GONE)
    if message.channel is Channel.PUSH and message.state is MessageStatus.BOUNCED:
        # Every device turned out to have ended its subscription, so the contact has none.
        return _finished(step_key, StepStatus.SKIPPED, at_us, RunReason.NO_DEVICE)
    detail = ": ".join(filter(None, (message.state.value, message.reason)))
    return _finished(step_key, StepStatus.FAILED, at_us, detail=detail)


def _reason(message: Message) -> RunReason | None:
    reason = message.reason
    return None if reason is None or reason not in _REASONS else RunReason(reason)


def _finished(
    step_key: str, status: StepStatus, at_us: int, reason: RunReason | None = None, detail: str = ""
) -> MessageFinished:
    return MessageFinished(
        step_key=step_key, status=status, at_us=at_us, reason=reason, detail=detail
    )
