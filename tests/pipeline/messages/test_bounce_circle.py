"""The whole circle: a real Postfix rejects, its report comes back to a mailbox and is applied."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from smtplib import LMTP

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from headrace.delivery.mail.bounce_urls import ListenUrl, parse_mailbox_url
from headrace.domain.messages.kinds import MessageStatus
from headrace.domain.messages.tokens import BounceAddresses
from headrace.pipeline.messages.bounce_mailbox import BounceMailbox
from headrace.pipeline.messages.feedback_settled import FeedbackSettled
from headrace.pipeline.messages.mail_intake import MailIntake
from headrace.pipeline.messages.mail_services import bounce_server
from headrace.store.contract.messages import Message, Notification
from headrace.store.messages.feedback.notifications import Wanted
from headrace.store.store import Store
from headrace.stores import open_store
from tests.pipeline.messages.senders import new_sender, smtp_relay
from tests.support import mail, postfix
from tests.support.mail_box import MailBox, mail_box
from tests.support.places import Place
from tests.support.session import StoreSession

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(postfix.why_not() is not None, reason=str(postfix.why_not())),
]
DOMAIN = "bounces.example.org"
SECONDS_MAX = 60.0
#: The server that Postfix relays to knows no such user.
GONE, THERE = "gone@example.net", "there@example.net"


@dataclass
class Next:
    """The server that Postfix relays everything to: receivers, and the host of the bounces."""

    #: Takes mail to the bounce domain.
    bounces: Callable[[bytes, str], Awaitable[None]]

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _: SMTP, __: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address == GONE:
            return "550 5.1.1 <gone@example.net>: Recipient address rejected: User unknown"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        for address in envelope.rcpt_tos:
            if address.endswith(f"@{DOMAIN}"):
                assert isinstance(envelope.content, bytes)
                await self.bounces(envelope.content, address)
        return "250 2.0.0 Ok"


@asynccontextmanager
async def running_postfix(bounces: Callable[[bytes, str], Awaitable[None]]) -> AsyncIterator[int]:
    """Port of the relay."""
    loop = asyncio.get_running_loop()
    handler = Next(bounces)
    server = await loop.create_server(
        lambda: SMTP(handler, loop=loop, hostname="next.example"), "127.0.0.1", 0
    )
    # Not a folder of the test: the user of Postfix cannot access those.
    root = Path(tempfile.mkdtemp())
    started = postfix.postfix(root, server.sockets[0].getsockname()[1])
    relay = await asyncio.to_thread(started.__enter__)
    try:
        yield relay.port
    finally:
        await asyncio.to_thread(started.__exit__, None, None, None)
        server.close()
        shutil.rmtree(root)


def fill(place: Place) -> tuple[int, list[Message]]:
    session = StoreSession(place)
    project = mail.new_project(session)
    made = [mail.send_one(session, project, to=to) for to in (GONE, THERE)]
    session.close()
    return project, made


async def send_all(store: Store, port: int) -> None:
    """Send what is due."""
    async with smtp_relay(port) as relay:
        sender = await new_sender(store, relay, mail.OWNER, bounce_domain=DOMAIN)
        assert await store.processing.acquire_leadership("processing", mail.OWNER, 60_000_000)
        while await sender.run_once():
            await sender.idle()
        await sender.stop()


async def until_two(store: Store, project: int) -> list[Notification]:
    """The notifications, once both have followed."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            found = await store.messages.notifications.list(project, Wanted(), limit=10)
            if len(found) == 2 and not any(one.effect.value == "waiting" for one in found):
                return list(found)
            await asyncio.sleep(0.05)


async def check(store: Store, project: int, made: list[Message], port: int) -> None:
    """Both reports were applied, and the address that bounced gets no second mail."""
    found = {one.message_id: one for one in await until_two(store, project)}
    bounced, delivered = (found[one.id] for one in made)
    assert (bounced.kind, bounced.effect) == ("hard", "suppressed")
    assert (bounced.status, bounced.address) == ("5.1.1", GONE)
    assert bounced.diagnostic is not None
    assert "User unknown" in bounced.diagnostic
    assert (delivered.kind, delivered.effect) == ("delivered", "delivered")
    states = [await state(store, project, one) for one in made]
    assert states == [MessageStatus.BOUNCED, MessageStatus.DELIVERED]
    (entry,) = await store.messages.suppressions.of_address(project, GONE)
    assert entry.created_by == "dsn"
    again = await store.messages.emails.send(
        project, mail.email_request(to=GONE), mail.CONTEXT, store.clock_us()
    )
    await send_all(store, port)
    (message,) = again.messages
    detail = await store.messages.lists.detail(project, message.id, store.clock_us())
    assert detail is not None
    assert (detail.message.state, detail.message.reason) == (
        MessageStatus.SKIPPED,
        "suppressed_hard_bounce",
    )


async def state(store: Store, project: int, message: Message) -> MessageStatus:
    detail = await store.messages.lists.detail(project, message.id, store.clock_us())
    assert detail is not None
    return detail.message.state


async def new_intake(store: Store) -> MailIntake:
    addresses = BounceAddresses(await store.messages.keys.get(), DOMAIN)
    return MailIntake(store.messages.notifications, addresses, store.clock_us)


@asynccontextmanager
async def in_background(*runs: Awaitable[None]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(run) for run in runs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@pytest.fixture(scope="module")
def box() -> Iterator[MailBox]:
    with mail_box() as started:
        yield started


async def test_a_rejection_comes_back_by_imap(place: Place, box: MailBox) -> None:
    project, made = await asyncio.to_thread(fill, place)
    store = await open_store(place.url, serve=False)

    async def keep(raw: bytes, address: str) -> None:
        await asyncio.to_thread(box.deliver, raw, address)

    mailbox = BounceMailbox(
        parse_mailbox_url(box.url),
        await new_intake(store),
        store.processing,
        owner=mail.OWNER,
        clock_us=store.clock_us,
        wait_s=0.1,
    )
    settled = FeedbackSettled(store.messages.notifications, store.clock_us)
    async with running_postfix(keep) as port, in_background(mailbox.run(), settled.run()):
        await send_all(store, port)
        await check(store, project, made, port)
    await store.close()


async def test_a_rejection_comes_back_by_lmtp(place: Place) -> None:
    project, made = await asyncio.to_thread(fill, place)
    store = await open_store(place.url, serve=False)
    listener = bounce_server(
        ListenUrl(lmtp=True, host="127.0.0.1", port=0), await new_intake(store)
    )
    await listener.start()

    async def hand_over(raw: bytes, address: str) -> None:
        def run() -> None:
            with LMTP("127.0.0.1", listener.port) as client:
                client.sendmail("", [address], raw)

        await asyncio.to_thread(run)

    settled = FeedbackSettled(store.messages.notifications, store.clock_us)
    async with running_postfix(hand_over) as port, in_background(settled.run()):
        await send_all(store, port)
        await check(store, project, made, port)
    await listener.close()
    await store.close()
