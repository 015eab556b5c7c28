"""The contract of the sending loop and relays: one mail in, one outcome out.

A relay makes exactly one attempt. It raises only `asyncio.CancelledError` and what
`before_hand_over` raises: every other end of an attempt is a `MailOutcome`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from headrace.domain.messages.smtp_replies import Phase, Reply, ReplyClass

#: Writes and commits that an attempt has started. Awaited when a connection is ready for the mail
#: and before any command about it: if the process crashes before this returns, the mail was not
#: sent; if it crashes after, that is unknown.
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
    #: The whole mail, signed if configured, with CRLF line ends.
    content: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class MailOutcome:
    """How one attempt ended."""

    outcome: ReplyClass
    #: The phase in which it ended.
    phase: Phase
    #: Response of the server; None without one.
    reply: Reply | None
    #: One sentence, safe to show: without address and password.
    message: str
    #: Host and port, or `capture:`.
    relay: str
    duration_us: int
    #: Whether `before_hand_over` was awaited, so that there is an attempt to end.
    handed_over: bool
    #: Whether the relay will report the delivery.
    reports_delivery: bool = False


class MailRelay(Protocol):
    """A way to send mail."""

    @property
    def name(self) -> str:
        """Host and port, or `capture:`; without secrets."""
        ...

    @property
    def free(self) -> int:
        """How many mails it can accept at once now; claim no more."""
        ...

    async def send(
        self, mail: OutgoingMail, before_hand_over: BeforeHandOver, *, fresh: bool = False
    ) -> MailOutcome:
        """Make one attempt, within the relay's own deadlines.

        Args:
            mail: the mail.
            before_hand_over: see `BeforeHandOver`; not awaited without a connection.
            fresh: use a new connection.
        """
        ...

    async def close(self) -> None:
        """Close idle connections; cancel attempts still running before."""
        ...
