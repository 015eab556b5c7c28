"""The closed lists that a message lives by; their values are stored and shown."""

from __future__ import annotations

from enum import StrEnum


class Channel(StrEnum):
    """How a message reaches a contact."""

    MAIL = "mail"
    PUSH = "push"


class MessageKind(StrEnum):
    """What a message is for. Decides which guardrails hold."""

    MARKETING = "marketing"
    TRANSACTIONAL = "transactional"


class MessageStatus(StrEnum):
    """Where a message is in its life; the comment says what moves it there."""

    #: Written, nothing said to a relay. By a request or a step.
    QUEUED = "queued"
    #: Claimed by a worker. By the sending loop.
    SENDING = "sending"
    #: Waits for a time: a guardrail or a retry. By the sending loop.
    DEFERRED = "deferred"
    #: The relay took it. By the sending loop, or a person who settles an unknown outcome.
    SENT = "sent"
    #: The receiving server has it. By a delivery report.
    DELIVERED = "delivered"
    #: Nobody can know whether the relay took it. By the sending loop, after a crash too.
    UNKNOWN = "unknown"
    #: A guardrail ended it. By the sending loop.
    SKIPPED = "skipped"
    #: The address does not work. By an answer or a bounce.
    BOUNCED = "bounced"
    #: The message cannot be delivered; nothing is wrong with the address. By an answer.
    FAILED = "failed"
    #: The receiver refuses the sender. By an answer.
    BLOCKED = "blocked"
    #: Its retries reached their horizon. By the sending loop.
    EXPIRED = "expired"
    #: By a person, or because the contact was deleted.
    CANCELLED = "cancelled"
    #: The recipient marked it as spam. By a complaint.
    COMPLAINED = "complained"

    @property
    def final(self) -> bool:
        """Whether the sending loop is done with it."""
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
    """Which mail a suppressed address gets no more."""

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
    """What happens to a message of which nobody can know whether the relay took it."""

    #: It is never repeated; a bounce, an engagement or a person settles it.
    HOLD = "hold"
    #: It is sent once more, under the same Message-ID.
    RETRY = "retry"


class Verdict(StrEnum):
    """Who opened or clicked."""

    MACHINE = "machine"
    PROXY = "proxy"
    PERSON = "person"


class VerdictReason(StrEnum):
    """Why a hit is judged to be of a machine or a proxy; a person needs no reason."""

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
