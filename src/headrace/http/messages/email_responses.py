"""E-mails as the API takes and shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from headrace.domain.messages.email_request import (
    ATTACHMENTS_MAX,
    AUDIENCES_MAX,
    BATCH_MAX,
    PER_SECOND_MAX,
    RECIPIENTS_MAX,
    TAGS_MAX,
)
from headrace.domain.messages.kinds import MessageKind, MessageStatus
from headrace.domain.timestamps import to_text
from headrace.http.routing.schema import IDEMPOTENCY_KEY, Id, Time, about
from headrace.http.server.wire import ErrorText
from headrace.store.contract.messages import AttemptRecord, Email, EngagementRecord, Message
from headrace.store.messages.sending.emails import SentEmail
from headrace.store.messages.sending.job_preview import JUDGED_MAX, Forecast
from headrace.store.messages.sending.jobs import Preview
from headrace.store.messages.sending.message_lists import MessageDetail, Outcome

Mailbox = Annotated[
    str, about("An address, or a name with one.", examples=["Shop <news@example.org>"])
]
_Recipients = Annotated[list[Mailbox] | None, about(maxItems=RECIPIENTS_MAX)]
_Audiences = Annotated[list[Id] | None, about(maxItems=AUDIENCES_MAX)]
_IdempotencyKey = Annotated[str | None, about(**IDEMPOTENCY_KEY)]
_Variables = about("If present, bodies are rendered as templates.")
_Track = about("Default: the domain's setting for marketing mail, false for transactional mail.")


class AttachmentInput(msgspec.Struct, forbid_unknown_fields=True):
    """A file."""

    name: str
    type: Annotated[str, about("Media type.", examples=["application/pdf"])]
    data: Annotated[str, about(contentEncoding="base64", examples=["aGFsbG8="])]


class TagInput(msgspec.Struct, forbid_unknown_fields=True):
    """A custom name and value."""

    name: str
    value: str


class EmailInput(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An e-mail. `to` or `audiences` is required, and `text`, `html` or `template_version_id`."""

    from_: Mailbox = msgspec.field(name="from")
    to: _Recipients = None
    cc: _Recipients = None
    bcc: _Recipients = None
    reply_to: list[Mailbox] | None = None
    subject: str | None = None
    text: Annotated[str | None, about("Derived from the HTML if absent.")] = None
    html: str | None = None
    headers: dict[str, str] | None = None
    tags: Annotated[list[TagInput] | None, about(maxItems=TAGS_MAX)] = None
    attachments: Annotated[list[AttachmentInput] | None, about(maxItems=ATTACHMENTS_MAX)] = None
    template_version_id: Id | None = None
    variables: Annotated[dict[str, Any] | None, _Variables] = None
    contact_id: Annotated[
        Id | None, about("The contact it is about; by default each address is looked up.")
    ] = None
    topic_id: Id | None = None
    kind: Annotated[MessageKind | None, about("transactional if absent.")] = None
    scheduled_at: Time | None = None
    idempotency_key: _IdempotencyKey = None
    track_opens: Annotated[bool | None, _Track] = None
    track_clicks: Annotated[bool | None, _Track] = None
    audiences: _Audiences = None
    excluded_audiences: _Audiences = None
    dry_run: Annotated[
        bool | None, about("Only report how many contacts an audience send would reach.")
    ] = None
    per_second: Annotated[int | None, about(minimum=1, maximum=PER_SECOND_MAX)] = None


class EmailBatchInput(msgspec.Struct, forbid_unknown_fields=True):
    """E-mails to send; each is checked separately, and a bad one does not affect the others."""

    emails: Annotated[list[EmailInput], about(minItems=1, maxItems=BATCH_MAX)]


class MessageResponse(msgspec.Struct, kw_only=True):
    """One mail to one recipient."""

    id: Id
    to: str | None
    role: Annotated[str, about(enum=["to", "cc", "bcc"])]
    contact_id: Id | None
    status: MessageStatus
    reason: str | None


class AttemptResponse(msgspec.Struct, kw_only=True):
    """One attempt to send through the relay; without an outcome it is in progress."""

    number: int
    relay: str
    started_at: Time
    ended_at: Time | None
    outcome: str | None
    code: Annotated[int | None, about("Response of the mail server.")]
    enhanced_code: str | None
    diagnostic: str | None


class EngagementResponse(msgspec.Struct, kw_only=True):
    """Opens and clicks, by person or machine."""

    kind: str
    link: int
    verdict: str
    reason: str | None
    count: int
    first_at: Time
    last_at: Time


class EmailListItem(msgspec.Struct, kw_only=True):
    """An e-mail without its messages. Of one to audiences there is no status: it has many."""

    id: Id
    from_: Mailbox = msgspec.field(name="from")
    to: Annotated[list[str], about("Empty for a send to audiences.")]
    subject: Annotated[str | None, about("Null where that of a template is used.")]
    kind: MessageKind
    topic_id: Id | None
    template_version_id: Id | None
    to_audiences: bool
    status: Annotated[
        MessageStatus | None, about("Of several messages, that of the least advanced.")
    ]
    last_event: Annotated[str | None, about("Of an e-mail to one.")]
    contact_id: Annotated[Id | None, about("Of an e-mail to one.")]
    skipped_reason: Annotated[str | None, about("Of an e-mail to one.")]
    created_at: Time
    sent_at: Time | None


class EmailResponse(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An e-mail. With several recipients each message has its own status."""

    id: Id
    subject: str | None
    status: Annotated[
        MessageStatus, about("With several messages, the status of the least advanced one.")
    ]
    last_event: str | None
    to: list[str]
    contact_id: Id | None
    template_version_id: Id | None
    automation_id: Id | None
    run_id: Id | None
    automation_step_key: str | None
    created_at: Time
    sent_at: Time | None
    skipped_reason: str | None
    messages: list[MessageResponse]
    attempts: Annotated[list[AttemptResponse], about("Set if there is exactly one recipient.")]
    engagement: Annotated[list[EngagementResponse], about("Set if there is exactly one recipient.")]
    deduplicated: Annotated[bool, about("Whether the key was used before.")] = False


class SendJobResponse(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A send to audiences, with its progress."""

    id: Id
    status: Annotated[str, about(enum=["scheduled", "running", "done", "stopped"])]
    total: Annotated[int, about("Contacts when the job started.")]
    done: Annotated[int, about("Contacts checked so far.")]
    made: Annotated[int, about("Messages created so far.")]
    created_at: Time
    deduplicated: bool = False


class SendPreviewResponse(msgspec.Struct, kw_only=True):
    """Preview of a send to audiences."""

    dry_run: Annotated[Literal[True], about(type="boolean", const=True)] = True
    count: int
    sample: Annotated[list[Id], about("A sample of the contacts.")]
    judged: Annotated[
        int, about(f"Contacts whose messages were checked: the first {JUDGED_MAX:,}.")
    ]
    skipped: Annotated[
        dict[str, int],
        about(
            "Of these, contacts that would get no message, by reason. Frequency caps, limits and "
            "pacing are checked only while sending."
        ),
    ]
    deferred: Annotated[dict[str, int], about("Of these, messages that would wait, by reason.")]


class SentItem(msgspec.Struct):
    """Id of the e-mail."""

    id: Id
    status: MessageStatus


class EmailItem(msgspec.Struct, omit_defaults=True):
    """Result for one e-mail of a batch: `data`, or `error` as a single request would get it."""

    status: int
    data: SentItem | None = None
    error: ErrorText | None = None


class EmailBatchResponse(msgspec.Struct):
    """Response to a batch: one item per e-mail, in the order sent."""

    data: list[EmailItem]


def status_of(messages: Sequence[Message | Outcome]) -> MessageStatus:
    """The status of an e-mail: that of its least advanced message."""
    states = {one.state for one in messages}
    return next((state for state in MessageStatus if state in states), MessageStatus.QUEUED)


def email_response(sent: SentEmail, detail: MessageDetail | None = None) -> EmailResponse:
    """An e-mail as the API shows it.

    Args:
        detail: of its message, if it has only one.
    """
    content, messages = sent.email.content, sent.messages
    only = messages[0] if len(messages) == 1 else None
    skipped = only is not None and only.state is MessageStatus.SKIPPED
    sent_us = [one.sent_us for one in messages if one.sent_us is not None]
    return EmailResponse(
        id=sent.email.id,
        subject=(only.subject if only else None) or content.subject,
        status=status_of(messages),
        last_event=only.last_event if only else None,
        to=[one.address for one in content.to],
        contact_id=only.contact_id if only else None,
        template_version_id=content.template_version_id,
        automation_id=only.automation_id if only else None,
        run_id=only.run_id if only else None,
        automation_step_key=only.step_key if only else None,
        created_at=to_text(sent.email.created_us),
        sent_at=to_text(min(sent_us)) if sent_us else None,
        skipped_reason=only.reason if only is not None and skipped else None,
        messages=[_message(one) for one in messages],
        attempts=[attempt_response(one) for one in (detail.attempts if detail else ())],
        engagement=[engagement_response(one) for one in (detail.engagement if detail else ())],
        deduplicated=sent.deduplicated,
    )


def listed_email(of: Email, outcomes: Sequence[Outcome]) -> EmailListItem:
    """An e-mail as lists show it."""
    content, sender = of.content, of.content.sender
    only = outcomes[0] if len(outcomes) == 1 else None
    skipped = only is not None and only.state is MessageStatus.SKIPPED
    sent_us = [one.sent_us for one in outcomes if one.sent_us is not None]
    return EmailListItem(
        id=of.id,
        from_=f"{sender.name} <{sender.address}>" if sender.name else sender.address,
        to=[one.address for one in content.to],
        subject=content.subject,
        kind=content.kind,
        topic_id=content.topic_id,
        template_version_id=content.template_version_id,
        to_audiences=content.to_audiences,
        status=status_of(outcomes) if outcomes else None,
        last_event=only.last_event if only else None,
        contact_id=only.contact_id if only else None,
        skipped_reason=only.reason if only is not None and skipped else None,
        created_at=to_text(of.created_us),
        sent_at=to_text(min(sent_us)) if sent_us else None,
    )


def preview_response(preview: Preview, forecast: Forecast) -> SendPreviewResponse:
    """A dry run as the API shows it."""
    return SendPreviewResponse(
        count=preview.count,
        sample=preview.sample,
        judged=forecast.judged,
        skipped=forecast.skipped,
        deferred=forecast.deferred,
    )


def _message(of: Message) -> MessageResponse:
    return MessageResponse(
        id=of.id,
        to=of.address,
        role=of.role,
        contact_id=of.contact_id,
        status=of.state,
        reason=of.reason,
    )


def attempt_response(of: AttemptRecord) -> AttemptResponse:
    """An attempt as the API shows it."""
    return AttemptResponse(
        number=of.number,
        relay=of.relay,
        started_at=to_text(of.started_us),
        ended_at=None if of.ended_us is None else to_text(of.ended_us),
        outcome=of.outcome,
        code=of.code,
        enhanced_code=of.status,
        diagnostic=of.diagnostic,
    )


def engagement_response(of: EngagementRecord) -> EngagementResponse:
    """Engagement as the API shows it."""
    return EngagementResponse(
        kind=of.kind,
        link=of.link,
        verdict=of.verdict,
        reason=of.reason,
        count=of.count,
        first_at=to_text(of.first_us),
        last_at=to_text(of.last_us),
    )
