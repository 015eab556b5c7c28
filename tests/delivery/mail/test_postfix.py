"""A real mail server between Headrace and the recipient: responses, reports and relaying."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from headrace.delivery.mail.compose import compose
from headrace.delivery.mail.contract import MailOutcome, OutgoingMail
from headrace.delivery.mail.dkim import sign
from headrace.delivery.mail.relay import SmtpRelay
from headrace.delivery.mail.relay_url import RelayKind, RelayUrl
from headrace.delivery.mail.smtp import RelayLimits
from headrace.domain.messages.smtp_replies import Phase, ReplyClass
from headrace.domain.messages.tokens import BounceAddresses
from tests.delivery.mail.test_compose import MARKETING
from tests.delivery.mail.test_dkim import AT_S, KEY, verified
from tests.support import postfix

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(postfix.why_not() is not None, reason=str(postfix.why_not())),
]
LIMITS = RelayLimits(open_s=20, command_s=20, content_s=20, final_s=20)
MESSAGE = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"
BOUNCES = BounceAddresses.of(b"0123456789abcdef", "bounces.example.org")
CONTENT = sign(compose(replace(MARKETING, html="<p>Grüße</p>\n.\n")), KEY, AT_S)
MAIL = OutgoingMail(
    message_id=MESSAGE,
    sender=BOUNCES.sender(MESSAGE),
    recipient="a@example.net",
    content=CONTENT,
)


@dataclass
class Next:
    """The server that Postfix relays everything to."""

    taken: asyncio.Queue[Envelope]

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        self.taken.put_nowait(envelope)
        return "250 2.0.0 Ok"


@asynccontextmanager
async def running() -> AsyncIterator[tuple[SmtpRelay, Next]]:
    loop = asyncio.get_running_loop()
    following = Next(asyncio.Queue())
    server = await loop.create_server(
        lambda: SMTP(following, loop=loop, hostname="next.example"), "127.0.0.1", 0
    )
    # Not a folder of the test: the user of Postfix cannot access those.
    root = Path(tempfile.mkdtemp())
    started = postfix.postfix(root, server.sockets[0].getsockname()[1])
    relay = await asyncio.to_thread(started.__enter__)
    try:
        url = RelayUrl(kind=RelayKind.PLAIN, host="127.0.0.1", port=relay.port)
        async with SmtpRelay(url, LIMITS) as smtp:
            yield smtp, following
    finally:
        await asyncio.to_thread(started.__exit__, None, None, None)
        server.close()
        shutil.rmtree(root)


async def nothing() -> None:
    pass


async def sent(relay: SmtpRelay, **changes: str | bytes) -> MailOutcome:
    return await relay.send(replace(MAIL, **changes), nothing)  # type: ignore[arg-type]


async def test_mail_signature_and_report_arrive() -> None:
    async with running() as (relay, following):
        outcome = await sent(relay)
        assert outcome.outcome is ReplyClass.SENT, outcome.message
        assert outcome.reports_delivery
        taken = [await asyncio.wait_for(following.taken.get(), 20) for _ in range(2)]
    mail = next(one for one in taken if one.rcpt_tos == ["a@example.net"])
    assert mail.mail_from == MAIL.sender
    assert isinstance(mail.content, bytes)
    # Postfix has prepended a line, and not changed the rest.
    assert mail.content[mail.content.index(b"DKIM-Signature") :] == CONTENT
    assert verified(mail.content)
    report = next(one for one in taken if one is not mail)
    assert BOUNCES.read(report.rcpt_tos[0]) == MESSAGE
    assert isinstance(report.content, bytes)
    parsed = message_from_bytes(report.content, policy=default)
    assert parsed.get_content_type() == "multipart/report"
    text = report.content.decode()
    assert f"Original-Envelope-Id: {MESSAGE}" in text
    assert "Action: relayed" in text


async def test_responses_of_a_real_server() -> None:
    async with running() as (relay, _):
        unknown = await sent(relay, recipient="nobody@postfix.example")
        later = await sent(relay, recipient="later@postfix.example")
        blocked = await sent(relay, sender="x@blocked.example")
        large = await sent(relay, content=CONTENT + b"x\r\n" * 50_000)
        good = await sent(relay)
    assert (unknown.outcome, unknown.phase) == (ReplyClass.ADDRESS_BAD, Phase.RCPT)
    assert unknown.reply is not None
    assert unknown.reply.status == "5.1.1"
    assert "nobody@" not in unknown.message
    assert later.outcome is ReplyClass.DEFERRED
    assert blocked.outcome is ReplyClass.SENDER_REFUSED
    assert (large.outcome, large.handed_over) == (ReplyClass.TOO_LARGE, False)
    assert good.outcome is ReplyClass.SENT
