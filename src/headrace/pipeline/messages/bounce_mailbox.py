"""The loop that reads bounces from a mailbox.

A mail is marked only after it is stored, and storing it twice has no effect, so none is lost or
applied twice, wherever this ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from headrace.delivery.mail.bounce_urls import MailboxUrl
from headrace.delivery.mail.imap import Mailbox, MailboxError
from headrace.domain.messages.feedback.notification import Intake
from headrace.faults import fail_point
from headrace.observability.events import (
    MAIL_BOUNCE_FAILED,
    MAIL_BOUNCES_UNREADABLE,
    STORE_UNAVAILABLE,
)
from headrace.pipeline.leadership import Leadership
from headrace.pipeline.loop import IdlePause
from headrace.pipeline.messages.mail_intake import MailIntake
from headrace.store.contract.errors import StoreError
from headrace.store.contract.processing import ProcessingStore

#: One worker at a time reads the mailbox; two would read the same mails, to no effect.
LEADERSHIP = "mail_bounces"
LEADERSHIP_SECONDS = 90.0
#: How long one wait for new mail lasts; each is followed by a search.
WAIT_SECONDS = 25.0
#: After a failure, doubled up to the second.
RECONNECT_SECONDS = 1.0
RECONNECT_SECONDS_MAX = 300.0
#: While another worker reads.
IDLE_SECONDS = 5.0
#: Mails of one search.
BATCH_MAX = 50
#: Numbers of mails that a connection remembers; then it is opened again.
REMEMBERED_MAX = 100_000

_log = structlog.get_logger()


class BounceMailbox:
    """Reads the mailbox of the settings.

    Args:
        owner: name of this process, see `headrace.process_names`.
        wait_s: how long one wait for new mail lasts.
    """

    def __init__(
        self,
        url: MailboxUrl,
        intake: MailIntake,
        leadership_store: ProcessingStore,
        *,
        owner: str,
        clock_us: Callable[[], int],
        wait_s: float = WAIT_SECONDS,
    ) -> None:
        self._url = url
        self._intake = intake
        self._wait_s = wait_s
        self._leadership = Leadership(
            leadership_store.acquire_leadership,
            LEADERSHIP,
            owner=owner,
            lease_s=LEADERSHIP_SECONDS,
            clock_us=clock_us,
        )
        self._pause = IdlePause(RECONNECT_SECONDS, RECONNECT_SECONDS_MAX)

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            try:
                if await self._leadership.is_held():
                    await self._read()
                await asyncio.sleep(IDLE_SECONDS)
            except MailboxError as error:
                _log.warning(MAIL_BOUNCES_UNREADABLE, error=str(error))
                await asyncio.sleep(self._pause.next_s())
            except StoreError as error:
                _log.warning(STORE_UNAVAILABLE, loop="mail_bounces", error=str(error))
                await asyncio.sleep(self._pause.next_s())

    async def _read(self) -> None:
        """Read while this process leads.

        Raises:
            MailboxError: the connection is lost.
            StoreError: a mail was not stored; it is still unmarked.
        """
        async with await Mailbox.open(self._url) as box:
            #: Also those that failed: the others must not wait for them.
            seen: set[int] = set()
            while await self._leadership.is_held() and len(seen) < REMEMBERED_MAX:
                uids = [uid for uid in await box.find() if uid not in seen][:BATCH_MAX]
                self._pause.reset()
                for uid in uids:
                    seen.add(uid)
                    await self._take(box, uid)
                if not uids:
                    await box.wait(self._wait_s)

    async def _take(self, box: Mailbox, uid: int) -> None:
        raw = await box.fetch(uid)
        if raw is None:
            return
        try:
            await self._intake.mail(raw, intake=Intake.IMAP)
        except StoreError:
            raise
        except Exception:  # noqa: BLE001 - logged
            # A fault of ours: the mail stays in the mailbox for the next connection.
            _log.exception(MAIL_BOUNCE_FAILED, bytes=len(raw))
            return
        fail_point("bounce_stored")
        await box.mark(uid)
