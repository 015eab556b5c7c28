"""Slow and idle clients are closed at the deadlines; tested in parallel, with real deadlines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from tests.support.http_server import HttpServer, Project
from tests.support.raw_http import HOST, head_of

HEAD_SECONDS = 5.0
BODY_SECONDS = 10.0
#: How late after the deadline the close may come on a busy machine.
LATE_SECONDS = 2.5

Outcome = tuple[float, bytes]


class Slow:
    """One slow client."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def run(self, start: bytes, drip: bytes, pause_s: float) -> Outcome:
        """Send `start`, then `drip` byte by byte; returns seconds to the close and the response."""
        reader, writer = await asyncio.open_connection(HOST, self._port)
        began = time.monotonic()
        answer = asyncio.create_task(reader.read())
        try:
            writer.write(start)
            for byte in drip:
                # The pause between two bytes ends early when the response arrives.
                done, _ = await asyncio.wait({answer}, timeout=pause_s)
                if done:
                    break
                writer.write(bytes([byte]))
            text = await asyncio.wait_for(answer, 2 * BODY_SECONDS)
        except ConnectionResetError:
            text = b""
        finally:
            writer.close()
        return time.monotonic() - began, text


def assert_timed_out(outcome: Outcome, deadline_s: float) -> None:
    seconds, text = outcome
    assert deadline_s - 0.5 <= seconds <= deadline_s + LATE_SECONDS
    assert text.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close\r\n" in text.lower()
    assert text.count(b"HTTP/1.1 ") == 1


async def ask_meanwhile(port: int, request: bytes, until: Callable[[], bool]) -> tuple[int, float]:
    """Send requests repeatedly; returns the number of responses, and the longest wait."""
    reader, writer = await asyncio.open_connection(HOST, port)
    count, longest = 0, 0.0
    while not until():
        began = time.monotonic()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 202 ")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        count += 1
        longest = max(longest, time.monotonic() - began)
    writer.close()
    return count, longest


def test_slow_clients_are_cut_off_at_the_deadline_and_others_are_served(
    server: HttpServer, project: Project
) -> None:
    event = b'{"event":"a","external_id":"x"}'
    post = head_of("POST", "/events", key=project.key, length=len(event))
    chunked = head_of(
        "POST",
        "/events",
        key=project.key,
        headers={"Content-Type": "application/json", "Transfer-Encoding": "chunked"},
    )
    refused = head_of("POST", "/events", length=len(event))
    slow = Slow(server.port)
    heads = {
        "head in silence": slow.run(b"GET /heal", b"", 1),
        "head by the byte": slow.run(b"GET /healthz HTTP/1.1\r\nX: ", b"a" * 100, 0.3),
        "head by the byte, rarely": slow.run(b"GET /healthz HTTP/1.1\r\nX: ", b"a" * 100, 4.5),
        "headers by the line": slow.run(b"GET /healthz HTTP/1.1\r\n", b"X: a\r\n" * 50, 0.1),
        "head behind an answered request": slow.run(post + event + b"GET /he", b"a" * 100, 0.3),
    }
    bodies = {
        "half a body in silence": slow.run(post + event[:10], b"", 1),
        "no body at all": slow.run(post, b"", 1),
        "body by the byte": slow.run(post, b" " * 25, 0.5),
        "chunked, in silence": slow.run(chunked, b"", 1),
        "chunks by the byte": slow.run(chunked, b"1\r\n \r\n" * 20, 0.2),
        "chunk extension by the byte": slow.run(chunked, b"5;" + b"a" * 60, 0.2),
        "trailers by the byte": slow.run(chunked + b"0\r\n", b"X: a\r\n" * 20, 0.2),
        "batch by the byte": slow.run(post.replace(b"/events", b"/events/batch"), b" " * 25, 0.5),
    }
    ended = slow.run(refused, b"", 1)

    async def run() -> tuple[list[Outcome], tuple[int, float]]:
        work: list[Coroutine[Any, Any, Outcome]] = [*heads.values(), *bodies.values(), ended]
        slow_ones = asyncio.gather(*work)
        meanwhile = await ask_meanwhile(server.port, post + event, slow_ones.done)
        return await slow_ones, meanwhile

    outcomes, (count, longest) = asyncio.run(run())

    by_name = dict(zip([*heads, *bodies, "refused"], outcomes, strict=True))
    behind = by_name.pop("head behind an answered request")
    assert behind[1].count(b"HTTP/1.1 202 ") == 1
    assert_timed_out((behind[0], behind[1][behind[1].index(b"HTTP/1.1 408 ") :]), HEAD_SECONDS)
    for name in heads:
        if name in by_name:
            assert_timed_out(by_name[name], HEAD_SECONDS)
    for name in bodies:
        assert_timed_out(by_name[name], BODY_SECONDS)
    # The head already got a response; if the body never arrives there is nothing to add.
    seconds, text = by_name["refused"]
    assert seconds <= BODY_SECONDS + LATE_SECONDS
    assert text.startswith(b"HTTP/1.1 401 ")
    assert text.count(b"HTTP/1.1 ") == 1
    assert count > 100
    assert longest < 2.0


def test_a_body_that_ends_too_early_is_400(server: HttpServer, project: Project) -> None:
    event = b'{"event":"a","external_id":"x"}'
    post = head_of("POST", "/events", key=project.key, length=len(event) + 1)

    async def run() -> bytes:
        reader, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(post + event)
        writer.write_eof()
        text = await reader.read()
        writer.close()
        return text

    assert asyncio.run(run()).startswith(b"HTTP/1.1 400 ")
    assert project.client().get("/events?event=a").data == []
