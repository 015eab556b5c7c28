"""The status line decides the outcome, whatever follows it and however the bytes are split."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.delivery.contract import (
    AttemptOutcome,
    Delivered,
    EndpointResponse,
    Failed,
    FailureCause,
)
from headrace.delivery.webhook.response_reader import ResponseReader
from headrace.delivery.webhook.transport import WebhookLimits, WebhookTransport
from tests.delivery.receiver import Behaviour, Exchange, receiver
from tests.delivery.samples import LOOPBACK, event, webhook

pytestmark = pytest.mark.anyio

#: Only responses without a marked end wait for it.
DEADLINE_S = 0.3

_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
_NO_BODY = "this status has no body, so the announced body was not read"
_LENGTH = "Content-Length is invalid, so the body was not read"
_CODING = "Transfer-Encoding is invalid, so the body was not read"
_ONE_LINE = "invalid header lines: 1"

#: Bytes of a response with a marked end, its status, excerpt and note.
COMPLETE: dict[str, tuple[bytes, int, str, str | None]] = {
    "204 with a body": (
        b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nnull",
        *(204, "", _NO_BODY),
    ),
    "204 chunked": (
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        *(204, "", _NO_BODY),
    ),
    "204 of length 0": (b"HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n", 204, "", None),
    "204 and then a body": (b"HTTP/1.1 204 No Content\r\n\r\n<html>", 204, "", None),
    "extra bytes": (_OK + b"Content-Length: 2\r\n\r\nokEXTRA", 200, "ok", None),
    "extra answer": (_OK + b"Content-Length: 2\r\n\r\nok" + _OK + b"\r\n", 200, "ok", None),
    "bytes after the last chunk": (_CHUNKED + b"2\r\nok\r\n0\r\n\r\nEXTRA", 200, "ok", None),
    "chunks": (_CHUNKED + b"1\r\no\r\n01;a=b\r\nk\r\n0\r\nA: b\r\n\r\n", 200, "ok", None),
    "chunks with bare LF": (_CHUNKED + b"2\nok\n0\n\n", 200, "ok", None),
    "no chunk": (_CHUNKED + b"ok\r\n", 200, "", "a chunk has an invalid size"),
    "negative chunk": (_CHUNKED + b"-2\r\nok", 200, "", "a chunk has an invalid size"),
    "huge chunk": (
        _CHUNKED + b"F" * 16 + b"\r\nok",
        *(200, "", "a chunk has an invalid size"),
    ),
    "longer chunk": (
        _CHUNKED + b"2\r\nokay\r\n0\r\n\r\n",
        *(200, "ok", "a chunk does not end where it should"),
    ),
    "equal lengths": (_OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", 200, "ok", None),
    "listed lengths": (_OK + b"Content-Length: 2, 2\r\n\r\nok", 200, "ok", None),
    "other lengths": (
        _OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        *(200, "", _LENGTH),
    ),
    "negative length": (_OK + b"Content-Length: -1\r\n\r\nok", 200, "", _LENGTH),
    "signed length": (_OK + b"Content-Length: +2\r\n\r\nok", 200, "", _LENGTH),
    "length of letters": (_OK + b"Content-Length: two\r\n\r\nok", 200, "", _LENGTH),
    "no length": (_OK + b"Content-Length:\r\n\r\nok", 200, "", _LENGTH),
    "huge length": (_OK + b"Content-Length: " + b"9" * 40 + b"\r\n\r\nok", 200, "", _LENGTH),
    "length and chunks": (
        _OK + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        *(200, "ok", None),
    ),
    "unknown coding": (_OK + b"Transfer-Encoding: xchunked\r\n\r\nok", 200, "", _CODING),
    "chunked twice": (_OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n", 200, "", _CODING),
    "coding of blanks": (
        _OK + b"Transfer-Encoding: \t\r\nContent-Length: 2\r\n\r\nok",
        *(200, "ok", None),
    ),
    "65 headers": (
        _OK + b"".join(b"X-%d: a\r\n" % n for n in range(65)) + b"Content-Length: 2\r\n\r\nok",
        *(200, "ok", None),
    ),
    "1000 headers": (
        _OK + b"".join(b"X-%d: a\r\n" % n for n in range(1000)) + b"Content-Length: 2\r\n\r\nok",
        *(200, "ok", None),
    ),
    "header of 9 kB": (
        _OK + b"Set-Cookie: " + b"a" * 9000 + b"\r\nContent-Length: 2\r\n\r\nok",
        *(200, "ok", None),
    ),
    "reason of 9 kB": (
        b"HTTP/1.1 200 " + b"a" * 9000 + b"\r\nContent-Length: 2\r\n\r\nok",
        *(200, "ok", None),
    ),
    "no colon": (_OK + b"Server\r\nContent-Length: 2\r\n\r\nok", 200, "ok", _ONE_LINE),
    "no name": (_OK + b": a\r\nContent-Length: 2\r\n\r\nok", 200, "ok", _ONE_LINE),
    "blank in a name": (_OK + b"A b: c\r\nContent-Length: 2\r\n\r\nok", 200, "ok", _ONE_LINE),
    "blank after a name": (_OK + b"Content-Length : 2\r\n\r\nok", 200, "ok", None),
    "name beyond ASCII": (
        _OK + "Größe: 2\r\nContent-Length: 2\r\n\r\nok".encode(),
        *(200, "ok", _ONE_LINE),
    ),
    "NUL in a value": (_OK + b"A: b\x00c\r\nContent-Length: 2\r\n\r\nok", 200, "ok", _ONE_LINE),
    "NUL in a name": (_OK + b"A\x00: b\r\nContent-Length: 2\r\n\r\nok", 200, "ok", _ONE_LINE),
    "CR in a value": (_OK + b"A: b\rc\r\nContent-Length: 2\r\n\r\nok", 200, "ok", _ONE_LINE),
    "bytes beyond UTF-8": (_OK + b"A: \xff\xfe\r\nContent-Length: 2\r\n\r\nok", 200, "ok", None),
    "folded header": (_OK + b"A: b\r\n c\r\nContent-Length: 2\r\n\r\nok", 200, "ok", _ONE_LINE),
    "folded first": (_OK + b"\tc\r\nContent-Length: 2\r\n\r\nok", 200, "ok", _ONE_LINE),
    "bare LF": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200, "ok", None),
    "blank lines first": (b"\r\n\n" + _OK + b"Content-Length: 2\r\n\r\nok", 200, "ok", None),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, "ok", None),
    "blank for a reason": (b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", 200, "ok", None),
    "blanks for one": (b"HTTP/1.1   200  OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", None),
    "bytes in a reason": (
        b"HTTP/1.1 200 \xff\x00\x1b\r\nContent-Length: 2\r\n\r\nok",
        *(200, "ok", None),
    ),
    "lower case": (b"http/1.1 200 ok\r\ncontent-length: 2\r\n\r\nok", 200, "ok", None),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", None),
    "HTTP/2": (b"HTTP/2 200\r\nContent-Length: 2\r\n\r\nok", 200, "ok", None),
    "HTTP/9.9": (b"HTTP/9.9 299 OK\r\nContent-Length: 2\r\n\r\nok", 299, "ok", None),
    "continue": (
        b"HTTP/1.1 100 Continue\r\n\r\n" + _OK + b"Content-Length: 0\r\n\r\n",
        200,
        "",
        None,
    ),
    "16 interim answers": (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nodd\r\n\r\n" * 16
        + b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok",
        *(202, "ok", None),
    ),
    "switching protocols": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"
        + _OK
        + b"Content-Length: 0\r\n\r\n",
        *(200, "", None),
    ),
    "gzip": (
        _OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b",
        *(200, "(compressed although not asked for; not shown)", None),
    ),
    "gzip in chunks": (
        _OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n\x1f\x8b\r\n0\r\n\r\n",
        *(200, "(compressed although not asked for; not shown)", None),
    ),
}

_CLOSED = "the connection was closed before the response ended"
#: Responses that end with the connection.
UNTIL_CLOSED: dict[str, tuple[bytes, int, str, str | None]] = {
    "status line alone": (_OK, 200, "", _CLOSED),
    "status line without its end": (b"HTTP/1.1 204 No Content", 204, "", _CLOSED),
    "status without a reason": (b"HTTP/1.1 204", 204, "", _CLOSED),
    "half a header": (_OK + b"Content-Le", 200, "", _CLOSED),
    "no end of the head": (_OK + b"Content-Length: 2\r\n", 200, "", _CLOSED),
    "half a body": (_OK + b"Content-Length: 100\r\n\r\nhalf", 200, "half", _CLOSED),
    "half a chunk": (_CHUNKED + b"5\r\nha", 200, "ha", _CLOSED),
    "no last chunk": (_CHUNKED + b"2\r\nok\r\n", 200, "ok", _CLOSED),
    "no last trailer": (_CHUNKED + b"0\r\nA: b\r\n", 200, "", _CLOSED),
    "no length": (_OK + b"\r\nok", 200, "ok", None),
    "identity": (_OK + b"Transfer-Encoding: identity\r\n\r\nok", 200, "ok", None),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\nok", 200, "ok", None),
    "nothing but a head": (_OK + b"\r\n", 200, "", None),
}


def split_in_bytes(data: bytes) -> list[bytes]:
    return [data[place : place + 1] for place in range(len(data))]


def sending(data: bytes, *, whole: bool, then: str) -> Behaviour:
    """Send the bytes in one piece or one by one, then close, reset or stay silent."""

    async def behave(exchange: Exchange) -> None:
        for piece in [data] if whole else split_in_bytes(data):
            await exchange.send(piece)
            # Writes in one iteration of the loop are sent in one piece.
            await asyncio.sleep(0)
        if then == "silent":
            await exchange.reader.read()
        elif then == "reset":
            exchange.reset()

    return behave


async def outcome_of(behave: Behaviour, deadline_s: float = DEADLINE_S) -> AttemptOutcome:
    limits = WebhookLimits(deadline_s=deadline_s)
    async with (
        receiver(behave) as endpoint,
        WebhookTransport(allowed=LOOPBACK, limits=limits) as webhooks,
    ):
        outcome = await webhooks.attempt(webhook(endpoint.url))
    assert len(endpoint.requests) == 1
    return outcome


@pytest.mark.parametrize("whole", [True, False], ids=["one send", "byte by byte"])
@pytest.mark.parametrize("case", COMPLETE)
async def test_response_counts_as_soon_as_it_ends(case: str, whole: bool) -> None:
    """The endpoint keeps the connection open, so a response without an end would never end."""
    data, status, excerpt, note = COMPLETE[case]
    outcome = await outcome_of(sending(data, whole=whole, then="silent"), deadline_s=30)
    assert isinstance(outcome, Delivered)
    assert outcome.response == EndpointResponse(http_status=status, excerpt=excerpt, note=note)


@pytest.mark.parametrize("whole", [True, False], ids=["one send", "byte by byte"])
@pytest.mark.parametrize("case", UNTIL_CLOSED)
async def test_response_may_end_with_the_connection(case: str, whole: bool) -> None:
    data, status, excerpt, note = UNTIL_CLOSED[case]
    outcome = await outcome_of(sending(data, whole=whole, then="close"), deadline_s=30)
    assert isinstance(outcome, Delivered)
    assert outcome.response == EndpointResponse(http_status=status, excerpt=excerpt, note=note)


@pytest.mark.parametrize("whole", [True, False], ids=["one send", "byte by byte"])
@pytest.mark.parametrize("data", [_OK, _OK + b"Content-Length: 100\r\n\r\nhalf"])
async def test_silence_after_the_status_line_is_not_a_failure(data: bytes, whole: bool) -> None:
    outcome = await outcome_of(sending(data, whole=whole, then="silent"))
    assert isinstance(outcome, Delivered)
    assert outcome.response is not None
    assert outcome.response.note == "the response did not end before the deadline"


@pytest.mark.parametrize("whole", [True, False], ids=["one send", "byte by byte"])
async def test_reset_after_the_status_line_is_not_a_failure(whole: bool) -> None:
    outcome = await outcome_of(sending(_OK, whole=whole, then="reset"), deadline_s=30)
    assert isinstance(outcome, Delivered)
    assert outcome.response == EndpointResponse(
        http_status=200, excerpt="", note="the connection broke: Connection reset by peer"
    )


@asynccontextmanager
async def hasty_receiver() -> AsyncIterator[str]:
    """Responds after the head, and closes with most of the body unread: a reset."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_OK + b"Content-Length: 2\r\n\r\nok")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def test_response_before_the_request_was_read_counts() -> None:
    """The rest of the request cannot be sent, but there is a response."""
    large = event(payload='"' + "x" * 8_000_000 + '"')
    async with hasty_receiver() as url, WebhookTransport(allowed=LOOPBACK) as webhooks:
        outcome = await webhooks.attempt(webhook(url, of=large))
    assert isinstance(outcome, Delivered)
    assert outcome.response == EndpointResponse(http_status=200, excerpt="ok")


_ODD = b"odd\r\nContent-Length: 3, 4\r\nRetry-After: 7\r\n\r\nbusy"


@pytest.mark.parametrize("whole", [True, False], ids=["one send", "byte by byte"])
@pytest.mark.parametrize(
    ("status", "cause", "retry_after_s"),
    [
        (301, FailureCause.REDIRECTED, None),
        (400, FailureCause.REJECTED, None),
        (410, FailureCause.GONE, None),
        (429, FailureCause.THROTTLED, 7.0),
        (500, FailureCause.SERVER_ERROR, 7.0),
        (503, FailureCause.SERVER_ERROR, 7.0),
        (99, FailureCause.PROTOCOL_ERROR, 7.0),
        (600, FailureCause.PROTOCOL_ERROR, 7.0),
    ],
)
async def test_failure_status_also_counts(
    status: int, cause: FailureCause, retry_after_s: float | None, whole: bool
) -> None:
    data = b"HTTP/1.1 %03d Status\r\n" % status + _ODD
    outcome = await outcome_of(sending(data, whole=whole, then="silent"), deadline_s=30)
    assert isinstance(outcome, Failed)
    assert (outcome.cause, outcome.retry_after_s) == (cause, retry_after_s)
    assert outcome.message.startswith(f"the endpoint returned {status} (")
    assert outcome.message.endswith(f"); {_ONE_LINE}; {_LENGTH}")


@pytest.mark.parametrize("whole", [True, False], ids=["one send", "byte by byte"])
@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize(
    "data", [b"", b"\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 101 Switching\r\n\r\n"]
)
async def test_missing_final_response_is_a_lost_connection(
    data: bytes, then: str, whole: bool
) -> None:
    behave = sending(data, whole=whole, then=then)
    outcome = await outcome_of(behave, deadline_s=30)
    assert isinstance(outcome, Failed)
    assert outcome.cause is FailureCause.CONNECTION_LOST


_PIECES = st.sampled_from(
    [
        *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Go on\r\n", b"HTTP/1.0 503 \n", b"\r\n", b"\n"),
        *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Retry-After: 3\r\n"),
        *(b"5\r\nhello\r\n", b"0\r\n", b"1;a=b\nx\n", b"A: b\x00\r\n", b" folded\r\n", b"text"),
    ]
)


@given(
    pieces=st.lists(_PIECES | st.binary(max_size=20), max_size=20),
    cuts=st.lists(st.integers(0, 200), max_size=10),
    closes=st.booleans(),
)
def test_no_response_depends_on_how_it_is_split(
    pieces: list[bytes], cuts: list[int], closes: bool
) -> None:
    data = b"".join(pieces)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    some = [data[start:end] for start, end in pairwise(places)]
    read = {_read(split, closes=closes) for split in ([data], some, split_in_bytes(data))}
    assert len(read) == 1


def _read(pieces: list[bytes], *, closes: bool) -> tuple[object, ...]:
    reader = ResponseReader(head_bytes_max=100, body_bytes_max=60, interim_max=2)
    for piece in pieces:
        reader.feed(piece)
    if closes:
        reader.closed()
    facts = (reader.status, reader.failure, reader.finished, reader.excerpt, reader.note)
    return (*facts, reader.retry_after)
