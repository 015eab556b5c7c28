"""Takes mail that came back, whichever way: understood, stored and applied.

Reading is bounded, yet a large mail takes a few hundredths of a second, so it is done in a thread.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence

from headrace.domain.messages.feedback.form import Feedback
from headrace.domain.messages.feedback.mime import BYTES_MAX
from headrace.domain.messages.feedback.notification import Intake, Received
from headrace.domain.messages.feedback.redaction import redacted_mail, redacted_webhook
from headrace.domain.messages.feedback.returned_mail import read_returned_mail
from headrace.domain.messages.tokens import BounceAddresses
from headrace.store.contract.messages import Notification
from headrace.store.messages.feedback.notifications import Notifications

#: Mails that are read at the same time.
READERS_MAX = 2
#: Local parts at the bounce domain that are not tokens: for complaints and for people.
FIXED_ADDRESSES = frozenset({"abuse", "complaints", "fbl", "feedback", "postmaster"})


class MailIntake:
    """Reads, stores and applies.

    Args:
        addresses: the store's bounce addresses; with an empty domain none is accepted, and only
            tokens in headers are believed.
        clock_us: the store's clock.
    """

    def __init__(
        self, notifications: Notifications, addresses: BounceAddresses, clock_us: Callable[[], int]
    ) -> None:
        self.addresses = addresses
        self._notifications = notifications
        self._clock_us = clock_us
        self._readers = asyncio.Semaphore(READERS_MAX)

    def accepts(self, address: str) -> bool:
        """Whether mail to an address may be a report; without a bounce domain any may be."""
        local, _, domain = address.rpartition("@")
        if not self.addresses.domain:
            return True
        if domain.lower() != self.addresses.domain:
            return False
        return local.lower() in FIXED_ADDRESSES or self.addresses.read(address) is not None

    async def mail(
        self,
        raw: bytes,
        *,
        intake: Intake,
        recipients: Sequence[str] = (),
        project_id: int | None = None,
    ) -> Notification:
        """Take one mail. Once this returns, it is stored and need not be kept elsewhere.

        Args:
            raw: the mail; bytes over `BYTES_MAX` are ignored.
            recipients: of the envelope, if known.
            project_id: of the key that it came with.

        Raises:
            StoreError: nothing was stored.
        """
        raw = raw[:BYTES_MAX]
        async with self._readers:
            received = await asyncio.to_thread(
                _received, raw, intake, tuple(recipients), project_id, self.addresses
            )
        return await self._notifications.take(received, self._clock_us())

    async def webhook(
        self, provider: str, body: bytes, reports: tuple[Feedback, ...]
    ) -> Notification:
        """Take a webhook whose sender was verified.

        Raises:
            StoreError: nothing was stored.
        """
        received = Received(
            reports=reports,
            intake=Intake.WEBHOOK,
            digest=hashlib.sha256(provider.encode() + b"\n" + body).digest(),
            raw=redacted_webhook(body),
            trusted=True,
        )
        return await self._notifications.take(received, self._clock_us())


def _received(
    raw: bytes,
    intake: Intake,
    recipients: tuple[str, ...],
    project_id: int | None,
    addresses: BounceAddresses,
) -> Received:
    read = read_returned_mail(raw, recipients=recipients, addresses=addresses)
    return Received(
        reports=read.reports,
        unsubscribe=read.unsubscribe,
        intake=intake,
        digest=hashlib.sha256(raw).digest(),
        raw=redacted_mail(raw, read.reports[0].kind),
        project_id=project_id,
    )
