"""Reading a mailbox: against a real server, and against servers that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from headrace.delivery.mail.bounce_urls import MailboxTls, MailboxUrl, parse_mailbox_url
from headrace.delivery.mail.imap import Mailbox, MailboxError, MailboxLimits
from tests.support.mail_box import MailBox, mail_box

pytestmark = pytest.mark.anyio
LIMITS = MailboxLimits(open_s=20, command_s=20, mail_bytes_max=1000)


@pytest.fixture(scope="module")
def box() -> Iterator[MailBox]:
    with mail_box() as started:
        yield started


async def test_mails_are_found_fetched_and_marked(box: MailBox) -> None:
    large = b"Subject: two\r\n\r\n" + b"x\r\n" * 2000
    for content in (b"Subject: one\r\n\r\n* 1 FETCH {3}\r\n", large):
        await asyncio.to_thread(box.deliver, content)
    async with await Mailbox.open(parse_mailbox_url(box.url), LIMITS) as opened:
        first, second = await opened.find()
        fetched = [await opened.fetch(uid) for uid in (first, second)]
        assert fetched[0] is not None
        assert fetched[0].startswith(b"Subject: one")
        assert b"* 1 FETCH {3}" in fetched[0]
        assert len(fetched[1] or b"") == LIMITS.mail_bytes_max
        assert await opened.fetch(99_999) is None
        await opened.mark(first)
        assert await opened.find() == [second]
        # Fetching alone marks nothing.
        assert len(await asyncio.to_thread(box.flags)) == 2
    moved = replace(parse_mailbox_url(box.url), move_to="Done")
    async with await Mailbox.open(moved, LIMITS) as opened:
        await opened.mark(second)
        assert await opened.find() == []
    assert len(await asyncio.to_thread(box.flags)) == 1
    assert len(await asyncio.to_thread(box.flags, "Done")) == 1


async def test_a_wrong_password_is_an_error_without_it(box: MailBox) -> None:
    url = replace(parse_mailbox_url(box.url), password="secret-password")
    with pytest.raises(MailboxError) as caught:
        await Mailbox.open(url, LIMITS)
    assert "secret-password" not in str(caught.value)
    assert "LOGIN" in str(caught.value)


# --- a server that says what a test wants ---

GREETING = b"* OK ready\r\n"
OPENING = (
    b"a1 OK\r\n",
    b"* CAPABILITY IMAP4rev1 IDLE\r\na2 OK\r\n",
    b"* OK [PERMANENTFLAGS (\\Seen \\*)] x\r\n* 0 EXISTS\r\na3 OK\r\n",
)


@asynccontextmanager
async def server(*responses: bytes, greeting: bytes = GREETING) -> AsyncIterator[Served]:
    """One response to each line that the client sends; then it is silent."""
    served = Served()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        for response in responses:
            line = await reader.readline()
            served.lines.append(line)
            if not line:
                break
            writer.write(response)
        else:
            served.lines.append(await reader.readline())
        writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    served.url = MailboxUrl(
        tls=MailboxTls.NONE, host="127.0.0.1", port=port, user='a"b', password="p\\w"
    )
    try:
        yield served
    finally:
        listening.close()


class Served:
    """Where it listens, and what it was sent."""

    url: MailboxUrl

    def __init__(self) -> None:
        self.lines: list[bytes] = []


async def test_a_keyword_marks_where_the_mailbox_allows_one() -> None:
    found = b"* SEARCH 9 7\r\na4 OK\r\n"
    async with (
        server(*OPENING, found, b"a5 OK\r\n") as served,
        await Mailbox.open(served.url, LIMITS) as opened,
    ):
        assert await opened.find() == [7, 9]
        await opened.mark(7)
    assert served.lines[0] == b'a1 LOGIN "a\\"b" "p\\\\w"\r\n'
    assert b"UNKEYWORD HeadraceStored" in served.lines[3]
    assert b"UID STORE 7 +FLAGS.SILENT (\\Seen HeadraceStored)" in served.lines[4]


async def test_waiting_ends_with_new_mail() -> None:
    idle = b"+ idling\r\n* OK still here\r\n* 3 EXISTS\r\n"
    async with (
        server(*OPENING, idle, b"* 3 RECENT\r\na4 OK\r\n", b"a5 OK\r\n") as served,
        await Mailbox.open(served.url, LIMITS) as opened,
    ):
        async with asyncio.timeout(20):
            await opened.wait(3600)
        assert await opened.find() == []
    assert [line.split()[-1] for line in served.lines[3:5]] == [b"IDLE", b"DONE"]


async def test_waiting_ends_after_its_time() -> None:
    async with (
        server(*OPENING, b"+ idling\r\n", b"a4 OK\r\n") as served,
        await Mailbox.open(served.url, LIMITS) as opened,
    ):
        await opened.wait(0.01)
    assert served.lines[4] == b"DONE\r\n"


@pytest.mark.parametrize(
    "response",
    [
        b"a4 NO not now\r\n",
        b"a4 BAD what\r\n",
        b"* 1 FETCH (BODY[]<0> {999999999}\r\n",
        b"* 1 FETCH (BODY[]<0> {1002}\r\n" + b"x" * 1002 + b")\r\na4 OK\r\n",
        b"* 1 EXISTS\r\n" * 20_000,
        b"* BYE\r\n",
        b"x" * 9_000_000,
    ],
)
async def test_a_server_that_misbehaves_is_an_error(response: bytes) -> None:
    async with (
        server(*OPENING, response) as served,
        await Mailbox.open(served.url, LIMITS) as opened,
    ):
        with pytest.raises(MailboxError):
            await opened.fetch(1)


async def test_a_quoted_or_missing_body() -> None:
    quoted = b'* 1 FETCH (UID 1 BODY[]<0> "a\\"b")\r\na4 OK\r\n'
    async with (
        server(*OPENING, quoted, b"* 1 FETCH (UID 1 BODY[] NIL)\r\na5 OK\r\n") as served,
        await Mailbox.open(served.url, LIMITS) as opened,
    ):
        assert await opened.fetch(1) == b'a"b'
        assert await opened.fetch(1) == b""


@pytest.mark.parametrize("greeting", [b"* BYE full\r\n", b"220 smtp\r\n", b""])
async def test_a_server_that_is_none_is_an_error(greeting: bytes) -> None:
    limits = replace(LIMITS, open_s=0.2)
    async with server(b"x", greeting=greeting) as served:
        with pytest.raises(MailboxError):
            await Mailbox.open(served.url, limits)
