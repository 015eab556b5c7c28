"""Attempts against relays with any response at every stage, or none."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from headrace.delivery.mail.contract import MailOutcome, OutgoingMail
from headrace.delivery.mail.relay import CaptureRelay, SmtpRelay, open_relay
from headrace.delivery.mail.relay_url import RelayKind, RelayUrl, parse_relay_url
from headrace.delivery.mail.smtp import RelayLimits
from headrace.domain.messages.smtp_replies import Phase, ReplyClass
from tests.delivery.mail.certificate import client_tls, server_tls
from tests.delivery.mail.scripted_relay import (
    DROP,
    EHLO_DSN,
    SILENCE,
    Script,
    Scripted,
    scripted_relay,
)

pytestmark = pytest.mark.anyio
LIMITS = RelayLimits(open_s=20, command_s=20, content_s=20, final_s=20)
#: The timeout of a silent stage; every other one stays long, however busy the machine is.
IMPATIENT = {
    "greeting": replace(LIMITS, open_s=0.3),
    "ehlo": replace(LIMITS, command_s=0.5),
    "mail": replace(LIMITS, command_s=2),
    "middle": replace(LIMITS, content_s=1),
    "dot": replace(LIMITS, final_s=0.3),
}
MAIL = OutgoingMail(
    message_id="c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10",
    sender="b+token@bounces.example.org",
    recipient="a+b@example.net",
    content=b"Subject: x\r\n\r\n.leading dot\r\n..two\r\nend\r\n",
)


def url(port: int, kind: RelayKind = RelayKind.PLAIN, **more: Any) -> RelayUrl:
    return RelayUrl(kind=kind, host="127.0.0.1", port=port, **more)


class HandOvers:
    """Counts attempts that are about to start."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1


async def attempt(script: Script, mail: OutgoingMail = MAIL) -> Any:
    """Make one attempt; returns its outcome and the relay."""
    noted = HandOvers()
    silent = [name for name, answer in vars(script).items() if SILENCE in answer]
    limits = IMPATIENT[silent[0]] if silent else LIMITS
    async with scripted_relay(script) as relay, SmtpRelay(url(relay.port), limits) as smtp:
        outcome = await smtp.send(mail, noted)
    assert outcome.handed_over == (noted.count == 1)
    assert "example.net" not in outcome.message.replace("***@example.net", "")
    return outcome, relay


async def test_mail_arrives_as_it_was_composed() -> None:
    outcome, relay = await attempt(Script())
    assert (outcome.outcome, outcome.phase) == (ReplyClass.SENT, Phase.FINAL)
    assert outcome.reply.status == "2.0.0"
    assert relay.mails == [MAIL.content]
    assert relay.commands == [
        "EHLO localhost",
        f"MAIL FROM:<b+token@bounces.example.org> SIZE={len(MAIL.content)}",
        "RCPT TO:<a+b@example.net>",
        "DATA",
        "QUIT",
    ]


@pytest.mark.parametrize(
    ("changes", "outcome", "phase"),
    [
        ({"greeting": "421 4.3.2 later\r\n"}, ReplyClass.RELAY_UNAVAILABLE, Phase.GREETING),
        ({"greeting": "554 5.7.1 no\r\n"}, ReplyClass.RELAY_UNAVAILABLE, Phase.GREETING),
        ({"greeting": DROP}, ReplyClass.RELAY_UNAVAILABLE, Phase.CONNECT),
        ({"greeting": SILENCE}, ReplyClass.RELAY_UNAVAILABLE, Phase.CONNECT),
        ({"greeting": "22" + SILENCE}, ReplyClass.RELAY_UNAVAILABLE, Phase.CONNECT),
        ({"greeting": "HTTP/1.1 400 Bad\r\n"}, ReplyClass.PROTOCOL, Phase.GREETING),
        ({"ehlo": "550 5.7.1 who?\r\n"}, ReplyClass.RELAY_UNAVAILABLE, Phase.GREETING),
        ({"ehlo": "250-relay\r\n" + SILENCE}, ReplyClass.RELAY_UNAVAILABLE, Phase.GREETING),
    ],
)
async def test_without_a_connection_no_attempt_is_recorded(
    changes: dict[str, str], outcome: ReplyClass, phase: Phase
) -> None:
    found, relay = await attempt(Script(**changes))
    assert (found.outcome, found.phase) == (outcome, phase)
    assert not found.handed_over
    assert relay.mails == []


@pytest.mark.parametrize(
    ("changes", "outcome", "phase"),
    [
        ({"mail": "530 5.7.0 sign in\r\n"}, ReplyClass.RELAY_AUTH, Phase.MAIL),
        ({"mail": "503 5.5.1 Sender already given\r\n"}, ReplyClass.PROTOCOL, Phase.MAIL),
        ({"mail": "550 5.7.1 go away\r\n"}, ReplyClass.SENDER_REFUSED, Phase.MAIL),
        ({"mail": "421 4.7.0 too many\r\n"}, ReplyClass.THROTTLED, Phase.MAIL),
        ({"mail": DROP}, ReplyClass.RELAY_UNAVAILABLE, Phase.MAIL),
        ({"mail": SILENCE}, ReplyClass.RELAY_UNAVAILABLE, Phase.MAIL),
        ({"rcpt": "450 4.7.1 greylisted\r\n"}, ReplyClass.DEFERRED, Phase.RCPT),
        ({"rcpt": "452 4.2.2 full\r\n"}, ReplyClass.MAILBOX_FULL, Phase.RCPT),
        ({"rcpt": "550 5.1.1 unknown\r\n"}, ReplyClass.ADDRESS_BAD, Phase.RCPT),
        ({"rcpt": "550 5.4.4 no host\r\n"}, ReplyClass.DOMAIN_BAD, Phase.RCPT),
        ({"rcpt": "550-5.1.1 a\r\n550 5.1.1 b\r\n"}, ReplyClass.ADDRESS_BAD, Phase.RCPT),
        ({"rcpt": "55" + DROP}, ReplyClass.RELAY_UNAVAILABLE, Phase.RCPT),
        ({"rcpt": "what?\r\n"}, ReplyClass.PROTOCOL, Phase.RCPT),
        ({"rcpt": "x" * 40_000 + "\r\n"}, ReplyClass.PROTOCOL, Phase.RCPT),
        ({"rcpt": "251 will forward\r\n"}, ReplyClass.SENT, Phase.FINAL),
        ({"data": "554 5.7.1 no\r\n"}, ReplyClass.SENDER_REFUSED, Phase.DATA),
        ({"data": "250 ok\r\n"}, ReplyClass.PROTOCOL, Phase.DATA),
        ({"data": DROP}, ReplyClass.RELAY_UNAVAILABLE, Phase.DATA),
        ({"dot": "250 2.0.0 ok\r\n"}, ReplyClass.SENT, Phase.FINAL),
        ({"dot": "552 5.3.4 too large\r\n"}, ReplyClass.TOO_LARGE, Phase.FINAL),
        ({"dot": "554 5.6.0 malformed\r\n"}, ReplyClass.CONTENT_REFUSED, Phase.FINAL),
        ({"dot": "550 5.7.26 unauthenticated\r\n"}, ReplyClass.SENDER_REFUSED, Phase.FINAL),
        ({"dot": "451 4.3.0 later\r\n"}, ReplyClass.DEFERRED, Phase.FINAL),
        ({"dot": "421 4.3.0 later\r\n"}, ReplyClass.RELAY_UNAVAILABLE, Phase.FINAL),
        # The outcome is unknown.
        ({"dot": DROP}, ReplyClass.UNKNOWN, Phase.FINAL),
        ({"dot": SILENCE}, ReplyClass.UNKNOWN, Phase.FINAL),
        ({"dot": "25" + DROP}, ReplyClass.UNKNOWN, Phase.FINAL),
        ({"dot": "250-ok\r\n" + SILENCE}, ReplyClass.UNKNOWN, Phase.FINAL),
        ({"dot": "ok\r\n"}, ReplyClass.UNKNOWN, Phase.FINAL),
        ({"dot": "354 more?\r\n"}, ReplyClass.UNKNOWN, Phase.FINAL),
        ({"dot": "x" * 40_000}, ReplyClass.UNKNOWN, Phase.FINAL),
    ],
)
async def test_response_at_every_stage(
    changes: dict[str, str], outcome: ReplyClass, phase: Phase
) -> None:
    found, _ = await attempt(Script(**changes))
    assert (found.outcome, found.phase) == (outcome, phase), found.message
    assert found.handed_over


@pytest.mark.parametrize(
    ("middle", "outcome"),
    [
        ("552 5.3.4 too large\r\n" + DROP, ReplyClass.TOO_LARGE),
        (DROP, ReplyClass.RELAY_UNAVAILABLE),
        (SILENCE, ReplyClass.RELAY_UNAVAILABLE),
    ],
)
async def test_end_before_the_final_dot_is_known(middle: str, outcome: ReplyClass) -> None:
    """The content is larger than every buffer, so the dot cannot have been sent."""
    large = replace(MAIL, content=b"Subject: x\r\n\r\n" + (b"x" * 74 + b"\r\n") * 400_000)
    found, relay = await attempt(Script(middle=middle, ehlo=EHLO_DSN), mail=large)
    assert (found.outcome, found.phase) == (outcome, Phase.DATA), found.message
    assert relay.mails == []


async def test_refused_connection_and_unknown_host() -> None:
    async with scripted_relay() as relay:
        port = relay.port
    noted = HandOvers()
    async with SmtpRelay(url(port), LIMITS) as smtp:
        outcome = await smtp.send(MAIL, noted)
    assert (outcome.outcome, outcome.phase) == (ReplyClass.RELAY_UNAVAILABLE, Phase.CONNECT)
    assert noted.count == 0


async def test_delivery_reports_are_requested_where_offered() -> None:
    outcome, relay = await attempt(Script(ehlo=EHLO_DSN))
    assert outcome.reports_delivery
    assert relay.commands[1].endswith(f"RET=HDRS ENVID={MAIL.message_id}")
    assert relay.commands[2] == (
        "RCPT TO:<a+b@example.net> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;a+2Bb@example.net"
    )


async def test_mail_that_the_relay_cannot_accept_is_not_sent() -> None:
    small = Script(ehlo="250-relay.example\r\n250 SIZE 10\r\n")
    outcome, relay = await attempt(small)
    assert (outcome.outcome, outcome.handed_over) == (ReplyClass.TOO_LARGE, False)
    foreign = replace(MAIL, recipient="ü@example.net")
    outcome, relay = await attempt(Script(), mail=foreign)
    assert (outcome.outcome, outcome.handed_over) == (ReplyClass.CONTENT_REFUSED, False)
    outcome, relay = await attempt(Script(ehlo=EHLO_DSN), mail=foreign)
    assert outcome.outcome is ReplyClass.SENT
    assert "SMTPUTF8" in relay.commands[1]
    assert relay.commands[2] == "RCPT TO:<ü@example.net> NOTIFY=SUCCESS,FAILURE,DELAY"


async def send_many(script: Script, count: int, limits: RelayLimits = LIMITS) -> Scripted:
    async with scripted_relay(script) as relay, SmtpRelay(url(relay.port), limits) as smtp:
        for _ in range(count):
            await smtp.send(MAIL, HandOvers())
        relay.script = replace(relay.script)
        used = relay.connections
        await smtp.close()
    relay.connections = used
    return relay


async def test_connection_is_reused_up_to_its_limit() -> None:
    relay = await send_many(Script(), 5, replace(LIMITS, mails_max=2))
    assert relay.connections == 3
    assert len(relay.mails) == 5
    assert relay.commands.count("RSET") == 2


async def test_rejected_recipient_keeps_the_connection() -> None:
    relay = await send_many(Script(rcpt="550 5.1.1 no\r\n"), 3)
    assert relay.connections == 1


async def test_desynchronized_connection_is_not_reused() -> None:
    for script in (Script(dot=DROP), Script(mail="503 5.5.1 no\r\n"), Script(dot="ok\r\n")):
        relay = await send_many(script, 2)
        assert relay.connections == 2


async def test_connection_closed_by_the_relay_is_replaced_before_the_hand_over() -> None:
    noted = HandOvers()
    async with scripted_relay() as relay, SmtpRelay(url(relay.port), LIMITS) as smtp:
        first = await smtp.send(MAIL, noted)
        relay.script.rset = DROP
        second = await smtp.send(MAIL, noted)
        third = await smtp.send(MAIL, noted, fresh=True)
        assert relay.connections == 3
    assert {one.outcome for one in (first, second, third)} == {ReplyClass.SENT}
    assert noted.count == 3


async def test_nothing_is_sent_when_recording_fails() -> None:
    async def fail() -> None:
        raise ConnectionError("the store is away")

    async with scripted_relay() as relay, SmtpRelay(url(relay.port), LIMITS) as smtp:
        with pytest.raises(ConnectionError, match="the store"):
            await smtp.send(MAIL, fail)
        assert smtp.free == LIMITS.connections_max
        outcome = await smtp.send(MAIL, HandOvers())
        assert relay.connections == 1
    assert outcome.outcome is ReplyClass.SENT
    assert len(relay.mails) == 1


async def test_cancelled_attempt_ends_its_connection() -> None:
    limits = replace(LIMITS, final_s=60)
    handed = asyncio.Event()

    async def note() -> None:
        handed.set()

    async with (
        scripted_relay(Script(dot=SILENCE)) as relay,
        SmtpRelay(url(relay.port), limits) as smtp,
    ):
        task = asyncio.create_task(smtp.send(MAIL, note))
        await handed.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert smtp.free == limits.connections_max


async def test_concurrent_mails_are_limited() -> None:
    limits = replace(LIMITS, connections_max=2)
    async with scripted_relay() as relay, SmtpRelay(url(relay.port), limits) as smtp:
        outcomes = await asyncio.gather(*(smtp.send(MAIL, HandOvers()) for _ in range(10)))
        assert relay.connections <= 2
    assert {one.outcome for one in outcomes} == {ReplyClass.SENT}
    assert len(relay.mails) == 10


async def test_captured_mail_is_kept() -> None:
    kept: list[OutgoingMail] = []

    async def keep(mail: OutgoingMail) -> None:
        kept.append(mail)

    relay = open_relay(parse_relay_url("capture:"), keep)
    assert isinstance(relay, CaptureRelay)
    outcome = await relay.send(MAIL, HandOvers())
    assert (outcome.outcome, outcome.relay) == (ReplyClass.SENT, "capture:")
    assert kept == [MAIL]


class Handler:
    """What aiosmtpd has received."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.encrypted: list[bool] = []

    async def handle_DATA(self, _: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        self.envelopes.append(envelope)
        self.encrypted.append(session.ssl is not None)
        return "250 2.0.0 Ok"


@asynccontextmanager
async def aiosmtpd_relay(handler: Handler, **options: Any) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    context = options.pop("implicit_tls", None)
    server = await loop.create_server(
        lambda: SMTP(handler, loop=loop, hostname="relay.example", **options),
        "127.0.0.1",
        0,
        ssl=context,
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def authenticate(_: Any, __: Any, ___: Any, ____: str, data: Any) -> AuthResult:
    good = (data.login, data.password) == (b"user", b"p@ss")
    return AuthResult(success=good, handled=False)


async def sent(relay: RelayUrl, tls: ssl.SSLContext | None = None) -> MailOutcome:
    async with SmtpRelay(relay, LIMITS, tls=tls) as smtp:
        return await smtp.send(MAIL, HandOvers())


HOST = "localhost"


async def test_starttls_and_sign_in() -> None:
    handler = Handler()
    options = {"tls_context": server_tls(), "require_starttls": True, "auth_required": True}
    async with aiosmtpd_relay(handler, authenticator=authenticate, **options) as port:
        relay = parse_relay_url(f"smtp+starttls://user:p%40ss@{HOST}:{port}")
        outcome = await sent(relay, client_tls())
        assert outcome.outcome is ReplyClass.SENT, outcome.message
        wrong = await sent(replace(relay, password="wrong"), client_tls())
        assert (wrong.outcome, wrong.phase) == (ReplyClass.RELAY_AUTH, Phase.AUTH)
        # An untrusted certificate is rejected.
        stranger = await sent(relay)
        assert (stranger.outcome, stranger.handed_over) == (ReplyClass.RELAY_UNAVAILABLE, False)
        assert "TLS" in stranger.message
        plain = await sent(parse_relay_url(f"smtp://{HOST}:{port}"))
        assert plain.outcome is ReplyClass.RELAY_AUTH
    assert handler.encrypted == [True]
    assert handler.envelopes[0].mail_from == MAIL.sender
    assert handler.envelopes[0].rcpt_tos == [MAIL.recipient]
    assert handler.envelopes[0].content == MAIL.content


async def test_relay_without_starttls_gets_no_plain_text() -> None:
    handler = Handler()
    async with aiosmtpd_relay(handler) as port:
        outcome = await sent(parse_relay_url(f"smtp+starttls://{HOST}:{port}"), client_tls())
        assert (outcome.outcome, outcome.handed_over) == (ReplyClass.RELAY_UNAVAILABLE, False)
        outcome = await sent(parse_relay_url(f"smtp://user:p@{HOST}:{port}"))
        assert (outcome.outcome, outcome.phase) == (ReplyClass.RELAY_AUTH, Phase.AUTH)
    assert handler.envelopes == []


async def test_implicit_tls() -> None:
    handler = Handler()
    async with aiosmtpd_relay(handler, implicit_tls=server_tls()) as port:
        outcome = await sent(parse_relay_url(f"smtps://{HOST}:{port}"), client_tls())
        assert outcome.outcome is ReplyClass.SENT, outcome.message
        stranger = await sent(parse_relay_url(f"smtps://{HOST}:{port}"))
        assert stranger.outcome is ReplyClass.RELAY_UNAVAILABLE
    assert len(handler.envelopes) == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("capture:", "capture:"),
        ("smtp://mail.example.org", "mail.example.org:25"),
        ("smtp+starttls://u:p@mail.example.org", "mail.example.org:587"),
        ("smtps://[::1]", "[::1]:465"),
        ("smtp://127.0.0.1:2525/", "127.0.0.1:2525"),
        ("smtp://bücher.example:25", "xn--bcher-kva.example:25"),
    ],
)
async def test_relay_url(text: str, shown: str) -> None:
    found = parse_relay_url(text)
    assert found.shown == shown
    assert "p@" not in repr(found)


@pytest.mark.parametrize(
    "text",
    [
        *("", "smtp:", "smtp://", "http://a.example", "smtp://a b", "smtp://a.example:0"),
        *("smtp://a.example:99999", "smtp://u@a.example", "smtp://:p@a.example"),
        *("smtp://a.example/x", "smtp://a.example?x=1", "capture://x", "smtp://a.example\r\nX:25"),
    ],
)
async def test_invalid_relay_url(text: str) -> None:
    with pytest.raises(ValueError, match="must") as caught:
        parse_relay_url(text)
    assert "example" not in str(caught.value)
