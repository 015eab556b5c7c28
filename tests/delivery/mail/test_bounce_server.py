"""The listener takes mail to bounce addresses, within its limits, and relays none."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from headrace.delivery.mail.bounce_server import BounceServer, BounceServerLimits, NotStoredError
from headrace.delivery.mail.bounce_urls import ListenUrl, parse_listen_url, parse_mailbox_url

pytestmark = pytest.mark.anyio
LIMITS = BounceServerLimits(mail_bytes_max=100_000, kept_bytes_max=50_000, idle_s=20)
#: For tests of clients that say nothing.
SOON = BounceServerLimits(idle_s=0.05)


@dataclass
class Taken:
    """What was stored."""

    mails: list[tuple[bytes, Sequence[str]]] = field(default_factory=list)
    is_down: bool = False

    async def take(self, raw: bytes, recipients: Sequence[str]) -> None:
        if self.is_down:
            raise NotStoredError
        self.mails.append((raw, list(recipients)))


@asynccontextmanager
async def listening(
    limits: BounceServerLimits = LIMITS, *, lmtp: bool = True
) -> AsyncIterator[tuple[int, Taken]]:
    taken = Taken()
    url = ListenUrl(lmtp, "127.0.0.1", 0)
    server = BounceServer(url, lambda address: address.startswith("b+"), taken.take, limits)
    await server.start()
    try:
        yield server.port, taken
    finally:
        await server.close()


async def client(work: Callable[[smtplib.SMTP], Any], port: int, *, lmtp: bool = True) -> Any:
    def run() -> Any:
        made = smtplib.LMTP if lmtp else smtplib.SMTP
        with made("127.0.0.1", port) as opened:
            return work(opened)

    return await asyncio.to_thread(run)


async def raw(port: int, *lines: bytes) -> list[bytes]:
    """Send lines at once; the responses up to the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"".join(lines))
    async with asyncio.timeout(20):
        received = await reader.read()
    writer.close()
    return received.splitlines()


@pytest.mark.parametrize("lmtp", [True, False])
async def test_a_mail_is_taken_with_its_dots_and_recipients(*, lmtp: bool) -> None:
    content = b"Subject: x\r\n\r\n.dot\r\n..\r\nHi\r\n"
    async with listening(lmtp=lmtp) as (port, taken):
        refused = await client(
            lambda opened: opened.sendmail("", ["b+1@x.org", "c@x.org"], content), port, lmtp=lmtp
        )
    assert refused == {"c@x.org": (550, b"5.1.1 No such address")}
    assert taken.mails == [(content, ["b+1@x.org"])]


@pytest.mark.parametrize("lmtp", [True, False])
async def test_lmtp_answers_for_each_recipient(*, lmtp: bool) -> None:
    begin = b"%s x\r\nMAIL FROM:<>\r\n" % (b"LHLO" if lmtp else b"EHLO")
    recipients = b"RCPT TO:<b+1@x.org>\r\nRCPT TO:<b+2@x.org>\r\nDATA\r\n"
    async with listening(lmtp=lmtp) as (port, taken):
        said = await raw(port, begin, recipients, b"x\r\n.\r\nQUIT\r\n")
    assert said.count(b"250 2.0.0 Stored") == (2 if lmtp else 1)
    assert taken.mails == [(b"x\r\n", ["b+1@x.org", "b+2@x.org"])]


async def test_a_mail_that_is_not_stored_stays_with_its_sender() -> None:
    async with listening() as (port, taken):
        taken.is_down = True
        with pytest.raises(smtplib.SMTPDataError) as caught:
            await client(lambda opened: opened.sendmail("", ["b+1@x.org"], "x"), port)
        assert caught.value.smtp_code == 451
        taken.is_down = False
        await client(lambda opened: opened.sendmail("", ["b+1@x.org"], "x"), port)
    assert len(taken.mails) == 1


async def test_a_large_mail_is_cut_and_a_larger_one_refused() -> None:
    async with listening() as (port, taken):
        await client(lambda o: o.sendmail("", ["b+1@x.org"], b"x" * 90_000), port)
        assert len(taken.mails[0][0]) == LIMITS.kept_bytes_max
        with pytest.raises(smtplib.SMTPSenderRefused) as caught:
            await client(lambda o: o.sendmail("", ["b+1@x.org"], b"y" * 110_000), port)
        assert caught.value.smtp_code == 552
        begin = (b"LHLO x\r\nMAIL FROM:<>\r\n", b"RCPT TO:<b+1@x.org>\r\nDATA\r\n")
        # Without a size, in one line, and without an end.
        said = await raw(port, *begin, b"z" * 110_000, b"\r\n.\r\nQUIT\r\n")
        assert b"552 5.3.4 The mail is too large" in said
        said = await raw(port, *begin, b"z" * 300_000)
        assert said[-1] == b"552 5.3.4 The mail is too large"
    assert len(taken.mails) == 1


@pytest.mark.parametrize(
    ("lines", "last"),
    [
        ((b"X\r\n" * 30,), b"421 4.7.0 Too many errors"),
        ((b"NOOP\r\n" * 2000,), b"421 4.7.0 Too many commands"),
        ((b"LHLO x\r\nDATA\r\nQUIT\r\n",), b"221 2.0.0 Bye"),
        ((b"MAIL FROM:<>\r\nQUIT\r\n",), b"221 2.0.0 Bye"),
        ((b"LHLO x\r\nMAIL FROM:<> SIZE=999999999\r\nQUIT\r\n",), b"221 2.0.0 Bye"),
        ((b"\xff\x00\r\n\r\nRCPT TO:<\r\nQUIT\r\n",), b"221 2.0.0 Bye"),
    ],
)
async def test_wrong_commands_end_within_limits(lines: tuple[bytes, ...], last: bytes) -> None:
    async with listening() as (port, taken):
        assert (await raw(port, *lines))[-1] == last
    assert taken.mails == []


async def test_a_line_without_end_ends_the_connection() -> None:
    async with listening() as (port, taken):
        # The response may be lost: the server does not read what follows.
        with suppress(ConnectionResetError):
            assert (await raw(port, b"X" * 200_000))[-1] == b"500 5.5.2 Line too long"
    assert taken.mails == []


async def test_only_a_whole_line_with_a_dot_ends_a_mail() -> None:
    """Otherwise a sender's mail could contain the commands of another one."""
    content = b"a\n.\r\nb\r\n..\nc\r\n"
    begin = b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b+1@x.org>\r\nDATA\r\n"
    async with listening() as (port, taken):
        await raw(port, begin, content, b".\r\nQUIT\r\n")
    assert [mail for mail, _ in taken.mails] == [content.replace(b"..", b".")]


async def test_a_silent_client_is_disconnected() -> None:
    async with listening(SOON) as (port, _):
        assert (await raw(port))[-1] == b"421 4.4.2 Timeout"
        begin = b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b+1@x.org>\r\nDATA\r\nhalf"
        assert (await raw(port, begin))[-1].startswith(b"354")


async def test_connections_are_limited() -> None:
    limits = BounceServerLimits(connections_max=1, idle_s=20)
    async with listening(limits) as (port, _):
        _, first = await asyncio.open_connection("127.0.0.1", port)
        second, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(20):
            assert (await second.read()).startswith(b"421 4.3.2")
        writer.close()
        first.close()


@pytest.mark.parametrize(
    "text",
    [
        *("", "lmtp://127.0.0.1", "lmtp://host:1", "http://127.0.0.1:1", "lmtp://127.0.0.1:1/x"),
        *("lmtp://u:p@127.0.0.1:1", "lmtp://127.0.0.1:99999", "smtp://127.0.0.1:1#f", "x\n"),
    ],
)
def test_a_wrong_address_to_listen_on(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        parse_listen_url(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "imaps://host", "imaps://u:secret@", "imaps://u@host", "pop3://u:secret@host/INBOX"),
        *("imaps://u:secret@host/INBOX?x=1", "imaps://u:secret@host:0", "imaps://ü:secret@host"),
        *("imaps://u:sec%0Aret@host", "imaps://u:secret@host:99999", "imaps://u:secret@host/a\nb"),
    ],
)
def test_a_wrong_mailbox_is_named_without_its_password(text: str) -> None:
    with pytest.raises(ValueError, match="must") as caught:
        parse_mailbox_url(text)
    assert "secret" not in str(caught.value)


def test_a_mailbox_is_read_from_its_url() -> None:
    url = parse_mailbox_url("imaps://a%40b.org:p%40ss@[::1]/Return%20mail?move=Done")
    assert (url.user, url.password, url.host, url.port) == ("a@b.org", "p@ss", "::1", 993)
    assert (url.folder, url.move_to) == ("Return mail", "Done")
    assert "p@ss" not in repr(url)
