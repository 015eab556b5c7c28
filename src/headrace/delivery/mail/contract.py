"""What the sending loop and the relays agree on: one mail in, one outcome out.

A relay makes exactly one attempt. It raises nothing but `asyncio.CancelledError` and what
`before_hand_over` raises: every way an attempt can end is a `MailOutcome`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from headrace.domain.messages.smtp_answers import Answer, AnswerClass, Phase

#: Writes and commits that an attempt has started. Awaited when a connection is ready for the mail
#: and before a word about it is said: if the process dies before this returns, the mail was not
#: sent; if it dies after, nobody can know.
BeforeHandOver = Callable[[], Awaitable[None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class OutgoingMail:
    """One mail to one recipient."""

    #: UUID text; the envelope id that delivery reports repeat.
    message_id: str
    #: Envelope sender.
    sender: str
    #: Envelope recipient, domain in ASCII.
    recipient: str
    #: The whole mail, signed if it shall be; lines ended by CRLF.
    content: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class MailOutcome:
    """How one attempt ended."""

    outcome: AnswerClass
    #: Where it ended.
    phase: Phase
    #: What the server said; None when it said nothing.
    answer: Answer | None
    #: One sentence, fit to be shown: no address, no password.
    message: str
    #: Host and port, or `capture:`.
    relay: str
    duration_us: int
    #: Whether `before_hand_over` was awaited, so that there is an attempt to end.
    handed_over: bool
    #: Whether the relay promised to report a delivery.
    reports_delivery: bool = False


class MailRelay(Protocol):
    """One way out."""

    @property
    def name(self) -> str:
        """Host and port, or `capture:`; free of secrets."""
        ...

    @property
    def free(self) -> int:
        """How many mails it can take at once now; claim no more."""
        ...

    async def send(
        self, mail: OutgoingMail, before_hand_over: BeforeHandOver, *, fresh: bool = False
    ) -> MailOutcome:
        """Make one attempt, within the relay's own deadlines.

        Args:
            mail: the mail.
            before_hand_over: see `BeforeHandOver`; not awaited when no connection can be had.
            fresh: use a new connection.
        """
        ...

    async def close(self) -> None:
        """End idle connections; attempts still running are cancelled first."""
        ...
