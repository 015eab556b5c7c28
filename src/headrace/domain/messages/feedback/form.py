"""The form that every bounce, complaint and delivery report is read into."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from headrace.domain.messages.smtp_replies import ReplyClass, shown_text

#: Recipients that one report or webhook may name; the rest is ignored.
RECIPIENTS_MAX = 50
#: Characters of a name that the source chose, such as the type of a webhook.
WORD_CHARACTERS_MAX = 100


class FeedbackKind(StrEnum):
    """What a report says; a closed list."""

    #: The receiving server accepted the mail.
    DELIVERED = "delivered"
    #: It is still being tried: not a bounce.
    DELAYED = "delayed"
    #: The address does not work.
    HARD = "hard"
    #: The mail was not delivered, and the address may work later.
    SOFT = "soft"
    #: The mail or its sender was rejected. Never affects the address.
    BLOCKED = "blocked"
    #: The recipient marked it as spam.
    COMPLAINT = "complaint"
    UNSUBSCRIBE = "unsubscribe"
    #: An answer by a program, such as an out-of-office reply: not a bounce.
    AUTO_REPLY = "auto_reply"
    #: Not understood, or nothing that matters here. Kept and shown, never an error.
    UNKNOWN = "unknown"


class Source(StrEnum):
    """Where a report came from."""

    #: A delivery report (RFC 3464).
    DSN = "dsn"
    #: A complaint report (RFC 5965).
    ARF = "arf"
    #: Any other mail to a bounce address.
    MAIL = "mail"
    SES = "ses"
    POSTMARK = "postmark"
    RESEND = "resend"


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """One report about one recipient.

    Only `message_id` is verified. Everything else is the claim of the source: `envelope_id` and
    `original_message_id` may be used to find a message only if the source is trusted or if the
    address matches that message.
    """

    kind: FeedbackKind
    source: Source
    #: The source's own word: `failed`, `Bounce/Permanent/General`, `email.bounced`.
    event: str = ""
    #: UUID text from an address or token that carries a valid signature of this store.
    message_id: str | None = None
    #: UUID text that was passed to the relay as ENVID.
    envelope_id: str | None = None
    #: `Message-ID` of the returned mail, without angle brackets.
    original_message_id: str | None = None
    #: The provider's id of the message.
    provider_id: str | None = None
    #: The recipient, as reported.
    address: str | None = None
    #: What the response is about; None when nothing is known.
    reason: ReplyClass | None = None
    #: Enhanced status code (RFC 3463) such as `5.1.1`.
    status: str | None = None
    #: Text of the receiving server on one line, addresses masked.
    diagnostic: str | None = None
    #: Host that reports.
    reporter: str | None = None
    #: When it happened, microseconds since 1970, as reported; None when unknown.
    at_us: int | None = None


def word(text: str) -> str:
    """A source's word, safe to store and show."""
    return shown_text(text[: WORD_CHARACTERS_MAX * 2])[:WORD_CHARACTERS_MAX]
