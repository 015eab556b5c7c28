"""Types of messages for the pipeline and the edges. Times are microseconds since 1970 UTC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.domain.contacts.contact import Contact
from headrace.domain.messages.addresses import Mailbox
from headrace.domain.messages.email_request import Tag
from headrace.domain.messages.feedback.form import FeedbackKind, Source
from headrace.domain.messages.feedback.notification import Effect, Intake
from headrace.domain.messages.kinds import (
    Channel,
    DomainStatus,
    MessageKind,
    MessageStatus,
    SuppressionReason,
    SuppressionScope,
    TemplateStatus,
    UnknownOutcome,
)
from headrace.domain.messages.settlement import Settlement
from headrace.domain.messages.smtp_replies import ReplyClass
from headrace.domain.push.content import LocalText
from headrace.domain.push.outcomes import PushResult

DOMAINS_MAX = 100
TEMPLATES_MAX = 1000
VERSIONS_MAX = 1000


class Domain(msgspec.Struct, frozen=True, kw_only=True):
    """A domain that mail is sent from."""

    id: str
    project_id: int
    #: Lower-case ASCII.
    name: str
    status: DomainStatus
    track_opens: bool
    track_clicks: bool
    dkim_selector: str
    #: Private key, PEM.
    dkim_key: str
    verified_us: int | None
    #: `dns`, or the operator who confirmed it without a check.
    verified_by: str | None
    created_us: int
    updated_us: int


class Draft(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The editable content of a template; only fields of its channel are set."""

    subject_template: str = ""
    preview_text: str = ""
    editor_json: str | None = None
    rendered_html: str = ""
    rendered_text: str = ""
    default_locale: str | None = None
    #: Of a push template, as JSON text.
    messages: str | None = None
    buttons: str | None = None
    data: str | None = None


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """A template with its draft."""

    id: str
    project_id: int
    name: str
    #: `email` or `push`.
    channel: str
    description: str
    status: TemplateStatus
    draft: Draft
    #: Number of the newest version; 0: none was published.
    versions: int
    #: Whether the draft was changed since the newest version.
    changed: bool
    created_us: int
    updated_us: int


class VersionContent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a version sends. Of mail: CSS inlined, text derived; of push: `texts`."""

    subject: str = ""
    preview: str = ""
    html: str = ""
    text: str = ""
    #: As Liquid, that of the default language first.
    texts: tuple[LocalText, ...] = ()
    #: Of push; strings in it are Liquid.
    data: dict[str, Any] = {}
    variables: tuple[str, ...] = ()
    required: tuple[str, ...] = ()


class TemplateVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A published version; it never changes."""

    id: str
    template_id: str
    project_id: int
    number: int
    content: VersionContent
    draft: Draft
    published_us: int
    published_by: str


class Suppressed(msgspec.Struct, frozen=True, kw_only=True):
    """An address that gets no mail, for one reason."""

    id: str
    project_id: int
    reason: SuppressionReason
    scope: SuppressionScope
    #: None once the person is erased: the entry still applies.
    email: str | None
    #: Free text of the requester.
    note: str
    evidence: str
    created_by: str
    since_us: int


class FileRef(msgspec.Struct, frozen=True, kw_only=True):
    """A file of an e-mail without its bytes."""

    name: str
    type: str
    bytes: int


class EmailContent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The content of an e-mail or of a step of a run, without bodies and bytes of files."""

    sender: Mailbox
    to: tuple[Mailbox, ...] = ()
    cc: tuple[Mailbox, ...] = ()
    bcc: tuple[Mailbox, ...] = ()
    reply_to: tuple[Mailbox, ...] = ()
    #: None: that of the template.
    subject: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    tags: tuple[Tag, ...] = ()
    files: tuple[FileRef, ...] = ()
    template_version_id: str | None = None
    #: None: bodies are sent as authored, not rendered.
    variables: dict[str, Any] | None = None
    #: Of the event that began a run.
    payload: dict[str, Any] = {}
    topic_id: str | None = None
    kind: MessageKind = MessageKind.TRANSACTIONAL
    track_opens: bool | None = None
    track_clicks: bool | None = None
    #: Of a job: each recipient is alone in `To`.
    to_audiences: bool = False
    #: Automation and version, for feedback of large receivers.
    automation: tuple[str, str] | None = None
    #: Of a step of a run; None: the policy of the project decides.
    unknown_outcome: UnknownOutcome | None = None


class Email(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asked to be sent."""

    id: str
    project_id: int
    content: EmailContent
    created_us: int


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One mail to one recipient, with its state."""

    id: str
    project_id: int
    channel: Channel
    kind: MessageKind
    email_id: str | None
    automation_id: str | None
    run_id: str | None
    step_key: str | None
    contact_id: str | None
    #: Normalized; None once the person is erased.
    address: str | None
    #: As in the envelope.
    recipient: str | None
    #: `to`, `cc` or `bcc`.
    role: str
    topic_id: str | None
    template_version_id: str | None
    #: Of the sender.
    domain: str | None
    domain_id: str | None
    #: As it was last sent; None before.
    subject: str | None
    state: MessageStatus
    #: Why it is in that state, and the rule that decided.
    reason: str | None
    rule: str | None
    #: When the sending loop claims it; None: not automatically.
    due_us: int | None
    attempt: int
    sent_us: int | None
    finished_us: int | None
    last_event: str | None
    created_us: int


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One hand-over to a relay. Without an outcome it is in progress."""

    number: int
    relay: str
    started_us: int
    ended_us: int | None
    outcome: str | None
    phase: str | None
    code: int | None
    status: str | None
    diagnostic: str | None


class EngagementRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Engagement with a message, by kind, link and verdict."""

    kind: str
    link: int
    verdict: str
    reason: str | None
    count: int
    first_us: int
    last_us: int


class HitRecord(msgspec.Struct, frozen=True):
    """One request for a pixel, a link or the unsubscribe page; kept for a day."""

    kind: str
    link: int
    at_us: int
    address: str | None
    user_agent: str


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """A bounce, complaint or webhook: what was received, understood and done."""

    number: int
    id: str
    project_id: int
    #: None: it is about no known message.
    message_id: str | None
    intake: Intake
    source: Source
    #: The source's own word.
    event: str
    kind: FeedbackKind
    #: The recipient, as reported; None also where the message is not known.
    address: str | None
    #: A `ReplyClass`; None when nothing is known.
    reason: str | None
    #: Enhanced status code.
    status: str | None
    diagnostic: str | None
    reporter: str | None
    provider_id: str | None
    effect: Effect
    #: When it happened, as reported.
    reported_us: int | None
    at_us: int
    #: Readable extract, addresses masked.
    raw: str


class MessageCopy(msgspec.Struct, frozen=True, kw_only=True):
    """A message with all data about it, for the export of its recipient."""

    message: Message
    #: Sender, content and all recipients. None when its e-mail is gone.
    content: EmailContent | None
    #: Bodies as authored; None where a template is used.
    text: str | None
    html: str | None
    #: Bytes of files by their number.
    files: dict[str, bytes]
    attempts: Sequence[AttemptRecord]
    engagement: Sequence[EngagementRecord]
    hits: Sequence[HitRecord]
    #: Mails that the relay `capture:` would have sent.
    captured: Sequence[bytes]
    #: What came back about it.
    notifications: Sequence[Notification] = ()


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """A message that one worker has claimed."""

    message: Message
    #: Number of the claim; fences every write.
    claim: int
    first_due_us: int
    deferred_us: int | None
    horizon_s: int | None
    crashes: int
    protocol_errors: int
    #: Attempts with an unknown outcome.
    unknowns: int
    domain_bad_us: int | None
    group_key: str | None


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is composed and for which a connection is free."""

    claimed: Claimed
    #: Name of the relay, as attempts show it.
    relay: str
    subject: str
    #: Local part of the Message-ID.
    mail_key: str | None = None
    #: When the receiver's group and the relay may be used; None or past: now.
    receiver_free_us: int | None = None
    relay_free_us: int | None = None


class StartResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a start."""

    #: Number of the attempt, whose row is committed; None: nothing may be sent.
    attempt: int | None = None
    #: Whether the claim was lost; another worker has the message.
    lost: bool = False
    #: State of the message, when nothing may be sent.
    state: MessageStatus | None = None
    reason: str | None = None


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that ended."""

    claimed: Claimed
    #: None: it ended before the hand-over, so its row is yet to be written.
    attempt: int | None
    outcome: ReplyClass | PushResult
    relay: str = ""
    phase: str | None = None
    code: int | None = None
    status: str | None = None
    #: On one line, addresses masked.
    diagnostic: str | None = None
    #: A random number from 0 up to 1.
    jitter: float = 0.5


class EndResult(msgspec.Struct, frozen=True, kw_only=True):
    """The effect of an attempt."""

    #: None: the message is gone, or something else has settled it.
    state: MessageStatus | None = None
    settlement: Settlement | None = None


class Material(msgspec.Struct, frozen=True, kw_only=True):
    """What a mail is composed of."""

    content: EmailContent
    #: Bodies as authored; None where a template is used, or there is none.
    text: str | None = None
    html: str | None = None
    #: Bytes of the files of `content`, in their order.
    files: tuple[bytes, ...] = ()
    version: TemplateVersion | None = None
    contact: Contact | None = None
    #: None: the relay `capture:` needs none, or it was deleted.
    domain: Domain | None = None
