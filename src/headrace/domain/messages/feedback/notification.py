"""What was received about mail, and what followed; closed lists whose values are stored."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from headrace.domain.messages.feedback.form import Feedback
from headrace.domain.messages.tokens import UnsubscribeTarget

#: Notifications that are kept of one project.
KEPT_MAX = 10_000


class Intake(StrEnum):
    """The way that a notification came in."""

    IMAP = "imap"
    LISTENER = "listener"
    #: `headrace mail bounce`, or its route.
    COMMAND = "command"
    WEBHOOK = "webhook"


class Effect(StrEnum):
    """What followed from a notification."""

    #: The message is delivered.
    DELIVERED = "delivered"
    #: The address is suppressed: a hard bounce, or enough soft ones.
    SUPPRESSED = "suppressed"
    #: A soft bounce was counted; the message failed.
    COUNTED = "counted"
    #: The message is blocked. The address is not affected.
    BLOCKED = "blocked"
    #: The message failed. The address is not affected.
    FAILED = "failed"
    #: The address is suppressed after a complaint.
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    #: The message was unknown and is sent.
    SETTLED = "settled"
    #: Nothing: a notification of this kind changes nothing, or the message has ended.
    NOTHING = "nothing"
    #: Nothing: it belongs to no known message.
    NO_MESSAGE = "no_message"
    #: The message is being sent; it follows when that is recorded.
    WAITING = "waiting"


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """One mail or webhook, as its reader understood it."""

    #: At least one; all are about the same mail.
    reports: tuple[Feedback, ...]
    #: Verified by its token.
    unsubscribe: UnsubscribeTarget | None = None
    intake: Intake
    #: Hash of the bytes; what comes again is not applied again.
    digest: bytes
    #: Readable extract, addresses masked.
    raw: str
    #: Whether the source is known by its signature, so that its claims are believed.
    trusted: bool = False
    #: Project of the key that it came with; None: it came with none.
    project_id: int | None = None
