"""Pipelined requests, however many: few wait, the stack stays flat, the order is kept."""

from __future__ import annotations

import asyncio

import pytest

from headrace.http.server.limits import PIPELINE_MAX
from tests.support.edge_server import HOST, Edge, Watcher, read_status, run_edge, statuses

UPGRADE = b"Connection: upgrade\r\nUpgrade: a\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
WEBSOCKET = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def get(path: bytes, lines: bytes = b"") -> bytes:
    return b"GET %b HTTP/1.1\r\nHost:\r\n%b\r\n" % (path, lines)


def post(path: bytes, body: bytes, lines: bytes = b"") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    return b"POST %b HTTP/1.1\r\nHost: a\r\n%b%b\r\n%b" % (path, lines, length, body)


def chunked(path: bytes, body: bytes, lines: bytes = b"") -> bytes:
    half = len(body) // 2
    pieces = (b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:]))
    coding = b"Transfer-Encoding: chunked\r\n"
    return b"POST %b HTTP/1.1\r\nHost: a\r\n%b%b\r\n%b0\r\n\r\n" % (
        path,
        lines,
        coding,
        b"".join(pieces),
    )


#: Stack frames between the loop and a request; independent of what is sent.
DEPTH_MAX = 15
#: A body that looks like requests.
NESTED = b"GET /inner HTTP/1.0\r\nHost: a\r\n\r\n" * 5

PIPELINES = {
    "shortest": get(b"/a"),
    "plain": post(b"/a", b"{}"),
    "upgrade": get(b"/a", UPGRADE),
    "upgrade, body": post(b"/a", b'{"a":1}', UPGRADE),
    "upgrade, chunked": chunked(b"/a", b'{"a":1}', UPGRADE),
    "h2c": get(b"/a", H2C),
    "h2c, body": post(b"/a", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", H2C),
    "websocket": get(b"/a", WEBSOCKET),
    "refused": get(b"/refused"),
    "refused, upgrade": get(b"/refused", UPGRADE),
    "refused behind one that waits": get(b"/a") + get(b"/refused", UPGRADE) * 99,
    "answered at once": get(b"/now"),
    "answered at once, upgrade": post(b"/now", b"x", UPGRADE),
    "in turn": get(b"/turn"),
    "in turn, upgrade": get(b"/turn", UPGRADE),
    "in turn behind one that waits": get(b"/a") + get(b"/turn") * 99,
    "bodies that look like requests": post(b"/a", NESTED, UPGRADE),
    "chunks that look like requests": chunked(b"/a", NESTED),
    "mixed": get(b"/a", UPGRADE)
    + post(b"/now", b"{}", UPGRADE)
    + chunked(b"/turn", b"[1]", H2C)
    + get(b"/refused")
    + get(b"/a"),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_no_pipeline_gets_past_the_limits(name: str) -> None:
    unit = PIPELINES[name]
    requests = unit.count(b" HTTP/1.1")
    data = unit * (2000 // requests)
    count = 2000 // requests * requests
    watcher = Watcher()
    answered = run_edge(lambda edge: statuses(edge, [data], count), watcher)
    assert set(answered) <= {200, 404}
    assert len(watcher.seen) == count
    assert watcher.waiting_most <= PIPELINE_MAX
    # The rest of one read and what the next read brings; then other connections are served.
    assert watcher.turn_most <= 2 * PIPELINE_MAX
    assert watcher.depth_most < DEPTH_MAX


def mixed_requests() -> tuple[bytes, list[tuple[str, str, bytes]]]:
    """A pipeline of every kind of request, and the requests to be parsed from it."""
    data = b""
    expected = []
    for lines, path in ((b"", "/a"), (UPGRADE, "/now"), (H2C, "/turn"), (WEBSOCKET, "/a")):
        where = path.encode()
        body = b"to " + where
        data += get(where, lines) + post(where, body, lines) + chunked(where, body, lines)
        expected += [("GET", path, b""), ("POST", path, body), ("POST", path, body)]
    data += get(b"/refused", UPGRADE)
    expected.append(("GET", "/refused", b""))
    return data, expected


def test_a_pipeline_may_be_split_at_every_byte() -> None:
    data, expected = mixed_requests()
    right = [404 if path == "/refused" else 200 for _, path, _ in expected]
    watcher = Watcher()

    async def run(edge: Edge) -> None:
        for start in range(1, len(data), 100):
            cuts = range(start, min(start + 100, len(data)))
            answers = await asyncio.gather(
                *(statuses(edge, [data[:cut], data[cut:]], len(right)) for cut in cuts)
            )
            assert answers == [right] * len(cuts)

    run_edge(run, watcher)
    assert len(watcher.seen) == len(expected) * (len(data) - 1)
    assert set(watcher.seen) == set(expected)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 24, 25, 26, 63, 64, 65, 1599, 1600, 1601])
def test_what_is_understood_does_not_depend_on_the_segments(size: int) -> None:
    data, expected = mixed_requests()
    watcher = Watcher()
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    answered = run_edge(lambda edge: statuses(edge, pieces, len(expected)), watcher)
    assert [status == 404 for status in answered] == [path == "/refused" for _, path, _ in expected]
    assert watcher.seen == expected


def test_a_chunked_request_may_begin_behind_a_large_one() -> None:
    """Bytes before it in the same segment do not count towards its size."""
    body = b"x" * 50_000
    first, second = post(b"/a", body), chunked(b"/a", b"some words")
    watcher = Watcher()
    for cut in range(len(second)):
        pieces = [first + second[:cut], second[cut:]]
        answered = run_edge(lambda edge, pieces=pieces: statuses(edge, pieces, 2), watcher)  # type: ignore[misc]
        assert answered == [200, 200], cut
    assert set(watcher.seen) == {("POST", "/a", body), ("POST", "/a", b"some words")}


def test_many_connections_at_once_keep_each_its_order() -> None:
    watcher = Watcher()

    async def run(edge: Edge) -> list[list[int]]:
        unit = get(b"/a", UPGRADE) + get(b"/refused", UPGRADE) + post(b"/now", b"x", H2C)
        return await asyncio.gather(*(statuses(edge, [unit * 100], 300) for _ in range(30)))

    for answers in run_edge(run, watcher):
        assert answers == [200, 404, 200] * 100
    assert watcher.depth_most < DEPTH_MAX


def test_a_client_that_leaves_with_unread_requests_affects_no_other() -> None:
    watcher = Watcher()

    async def run(edge: Edge) -> list[int]:
        for _ in range(20):
            _, writer = await asyncio.open_connection(HOST, edge.port)
            writer.write(get(b"/a", UPGRADE) * 2000)
            writer.transport.abort()
        return await statuses(edge, [get(b"/a", UPGRADE) * 100], 100)

    assert run_edge(run, watcher) == [200] * 100


@pytest.mark.parametrize("path", [b"/a", b"/now", b"/turn", b"/refused"])
def test_a_stopping_server_marks_its_last_response(path: bytes) -> None:
    """However many requests of the connection were read, those after the last do not start."""
    watcher = Watcher()

    async def run(edge: Edge) -> bytes:
        reader, writer = await asyncio.open_connection(HOST, edge.port)
        writer.write(get(path, UPGRADE) * 2000)
        await read_status(reader)
        edge.server.stop_listening()
        rest = await reader.read()
        writer.close()
        return rest

    answers = run_edge(run, watcher).split(b"HTTP/1.1 ")[1:]
    assert [b"connection: close" in answer for answer in answers] == [False] * (
        len(answers) - 1
    ) + [True]
    assert len(watcher.seen) == 1 + len(answers)


def test_a_large_body_behind_others_stops_reading_until_a_response_is_sent() -> None:
    """Queued bodies are limited in bytes, not only in number."""
    body = b"x" * 300_000
    watcher = Watcher()
    answered = run_edge(lambda edge: statuses(edge, [post(b"/a", body, UPGRADE) * 20], 20), watcher)
    assert answered == [200] * 20
    assert watcher.waiting_most <= 4
