"""Messages as the API shows them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from headrace.domain.messages.guardrails import Decision, Guardrail, Reason, Verdict
from headrace.domain.messages.kinds import Channel, MessageKind, MessageStatus
from headrace.domain.timestamps import to_text
from headrace.http.messages.email_responses import (
    AttemptResponse,
    EngagementResponse,
    attempt_response,
    engagement_response,
)
from headrace.http.routing.schema import Id, Time, about
from headrace.pipeline.messages.message_trace import CheckedWhen, Composing, MessageTrace
from headrace.store.contract.messages import Message

SETTLEMENTS = ("sent", "failed", "retry")
_REASON = about("Why it is in that status, from a closed list.")
_RULE = about("The rule that decided, in words.")


class SettleInput(msgspec.Struct, forbid_unknown_fields=True):
    """The outcome of a message whose outcome was unknown."""

    outcome: Annotated[
        Literal["sent", "failed", "retry"], about("`retry` may send the mail a second time.")
    ]


class SettledMessages(msgspec.Struct):
    """How many messages a request settled."""

    settled: int
    more: Annotated[bool, about("Whether others are left: repeat the request.")]


class ListedMessage(msgspec.Struct, kw_only=True):
    """One mail or push to one recipient."""

    id: Id
    email_id: Annotated[Id | None, about("Of the request it was made of.")]
    channel: Channel
    kind: MessageKind
    to: Annotated[str | None, about("Null once the person is forgotten.")]
    role: Annotated[str, about(enum=["to", "cc", "bcc"])]
    contact_id: Id | None
    topic_id: Id | None
    template_version_id: Id | None
    automation_id: Id | None
    run_id: Id | None
    automation_step_key: str | None
    domain: Annotated[str | None, about("Of the sender.", examples=["example.org"])]
    subject: Annotated[str | None, about("As it was last sent; null before.")]
    status: MessageStatus
    reason: Annotated[str | None, _REASON]
    rule: Annotated[str | None, _RULE]
    attempts: Annotated[int, about("Hand-overs to the relay that were begun.")]
    due_at: Annotated[Time | None, about("When the worker processes it next; null if it does not.")]
    last_event: str | None
    created_at: Time
    sent_at: Time | None
    finished_at: Time | None


class GuardrailVerdict(msgspec.Struct, kw_only=True):
    """What one guardrail said."""

    guardrail: Guardrail
    decision: Decision
    reason: Reason | None
    rule: Annotated[str | None, _RULE]
    until: Annotated[Time | None, about("Of `defer`: when it is asked again.")]


class MessageTraceResponse(msgspec.Struct, kw_only=True):
    """All that happened to a message, in order."""

    message: ListedMessage
    explanation: Annotated[str, about("Its outcome and the reason, in one sentence.")]
    composing: Annotated[Composing, about("Whether a mail was made of it.")]
    guardrails: Annotated[
        list[GuardrailVerdict],
        about("In the order in which they are checked, up to the first that did not pass."),
    ]
    checked_when: Annotated[
        CheckedWhen | None,
        about("Of which moment the guardrails are: `now` decides nothing yet."),
    ]
    checked_at: Time | None
    attempts: list[AttemptResponse]
    engagement: list[EngagementResponse]


def message_response(of: Message) -> ListedMessage:
    """A message as lists show it."""
    return ListedMessage(
        id=of.id,
        email_id=of.email_id,
        channel=of.channel,
        kind=of.kind,
        to=of.address,
        role=of.role,
        contact_id=of.contact_id,
        topic_id=of.topic_id,
        template_version_id=of.template_version_id,
        automation_id=of.automation_id,
        run_id=of.run_id,
        automation_step_key=of.step_key,
        domain=of.domain,
        subject=of.subject,
        status=of.state,
        reason=of.reason,
        rule=of.rule or None,
        attempts=of.attempt,
        due_at=_time(of.due_us),
        last_event=of.last_event,
        created_at=to_text(of.created_us),
        sent_at=_time(of.sent_us),
        finished_at=_time(of.finished_us),
    )


def trace_response(of: MessageTrace) -> MessageTraceResponse:
    """A trace as the API shows it."""
    return MessageTraceResponse(
        message=message_response(of.detail.message),
        explanation=of.explanation,
        composing=of.composing,
        guardrails=[_guardrail(each) for each in of.guardrails],
        checked_when=of.checked_when,
        checked_at=_time(of.checked_us),
        attempts=[attempt_response(each) for each in of.detail.attempts],
        engagement=[engagement_response(each) for each in of.detail.engagement],
    )


def _guardrail(of: Verdict) -> GuardrailVerdict:
    return GuardrailVerdict(
        guardrail=of.guardrail,
        decision=of.decision,
        reason=of.reason,
        rule=of.rule or None,
        until=_time(of.until_us),
    )


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else to_text(at_us)
