"""Closed lists about messages; their values are stored and shown."""

from __future__ import annotations

from enum import StrEnum


class Channel(StrEnum):
    """How a message reaches a contact."""

    MAIL = "mail"
    PUSH = "push"


class MessageKind(StrEnum):
    """Purpose of a message. Decides which guardrails apply."""

    MARKETING = "marketing"
    TRANSACTIONAL = "transactional"


class MessageStatus(StrEnum):
    """Status of a message; the comments say what sets it."""

    #: Stored, not sent yet. By a request or a step.
    QUEUED = "queued"
    #: Claimed by a worker. By the sending loop.
    SENDING = "sending"
    #: Waits for a time: a guardrail or a retry. By the sending loop.
    DEFERRED = "deferred"
    #: The relay accepted it. By the sending loop, or a person who settles an unknown outcome.
    SENT = "sent"
    #: The receiving server accepted it. By a delivery report.
    DELIVERED = "delivered"
    #: It is unknown whether the relay accepted it. By the sending loop, also after a crash.
    UNKNOWN = "unknown"
    #: A guardrail ended it. By the sending loop.
    SKIPPED = "skipped"
    #: The address does not work. By a response or a bounce.
    BOUNCED = "bounced"
    #: The message cannot be delivered; nothing is wrong with the address. By a response.
    FAILED = "failed"
    #: The receiver rejects the sender. By a response.
    BLOCKED = "blocked"
    #: Its retries reached their horizon. By the sending loop.
    EXPIRED = "expired"
    #: By a person, or because the contact was deleted.
    CANCELLED = "cancelled"
    #: The recipient marked it as spam. By a complaint.
    COMPLAINED = "complained"

    @property
    def final(self) -> bool:
        """Whether the sending loop has finished it."""
        return self not in _OPEN


_OPEN = frozenset(
    {
        MessageStatus.QUEUED,
        MessageStatus.SENDING,
        MessageStatus.DEFERRED,
        MessageStatus.UNKNOWN,
    }
)


class SuppressionReason(StrEnum):
    """Why an address gets no mail."""

    HARD_BOUNCE = "hard_bounce"
    COMPLAINT = "complaint"
    MANUAL = "manual"


class SuppressionScope(StrEnum):
    """Which mail a suppressed address no longer gets."""

    ALL = "all"
    MARKETING = "marketing"


class DomainStatus(StrEnum):
    """Whether a sending domain may be used."""

    PENDING = "pending"
    VERIFIED = "verified"


class TemplateStatus(StrEnum):
    """Whether a template has a version that can be sent."""

    DRAFT = "draft"
    ACTIVE = "active"
    ARCHIVED = "archived"


class UnknownOutcome(StrEnum):
    """How to treat a message when it is unknown whether the relay accepted it."""

    #: It is never sent again; a bounce, an engagement or a person settles it.
    HOLD = "hold"
    #: It is sent once more, with the same Message-ID.
    RETRY = "retry"


class Verdict(StrEnum):
    """Who opened or clicked."""

    MACHINE = "machine"
    PROXY = "proxy"
    PERSON = "person"


class VerdictReason(StrEnum):
    """Why a hit is judged to be from a machine or a proxy; a person needs no reason."""

    PREFETCH_PROXY = "prefetch_proxy"
    HEAD_REQUEST = "head_request"
    HONEYPOT = "honeypot"
    BURST = "burst"
    TOO_EARLY = "too_early"
    DECLARED_BOT = "declared_bot"
    SCANNER_NETWORK = "scanner_network"
    GOOGLE_IMAGE_PROXY = "google_image_proxy"
    YAHOO_MAIL_PROXY = "yahoo_mail_proxy"


class Engagement(StrEnum):
    """What a recipient did with a mail."""

    OPEN = "open"
    CLICK = "click"


#: System events of mail; `sendrealm.mail.skip` only where the project asks for it.
MAIL_SEND = "sendrealm.mail.send"
MAIL_DELIVERY = "sendrealm.mail.delivery"
MAIL_OPEN = "sendrealm.mail.open"
MAIL_CLICK = "sendrealm.mail.click"
MAIL_BOUNCE = "sendrealm.mail.bounce"
MAIL_COMPLAINT = "sendrealm.mail.complaint"
MAIL_UNSUBSCRIBE = "sendrealm.mail.unsubscribe"
MAIL_SKIP = "sendrealm.mail.skip"
