"""The HTTP edge alone, in the test's process, with a dispatcher that records its calls."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, TypeVar

import uvloop

from headrace.domain.errors import ApiError, ErrorCode
from headrace.http.server.exchange import Exchange
from headrace.http.server.head import Head
from headrace.http.server.listener import HttpServer

T = TypeVar("T")

HOST = "127.0.0.1"
#: Iterations of the loop in which a connection is accepted, or what was sent on it is read.
TURNS = 5
BODY_BYTES_MAX = 1024 * 1024


@dataclass
class Watcher:
    """Dispatches requests by their path and records them.

    `/refused` is rejected, `/now` gets a response at once, `/turn` after all earlier responses, and
    everything else when the loop is idle.
    """

    #: Method, path and body of every request in order of arrival.
    seen: list[tuple[str, str, bytes]] = field(default_factory=list)
    #: Highest number of requests of one connection waiting for responses.
    waiting_most: int = 0
    #: Highest number of heads dispatched in one iteration of the loop.
    turn_most: int = 0
    #: Highest number of Python frames between the loop and a request.
    depth_most: int = 0
    depth_before: int = 0
    server: HttpServer | None = None
    _waiting: list[Exchange] = field(default_factory=list)
    _turn: int = 0

    def next_request_id(self) -> bytes:
        return b"1"

    def count_rejection(self, error: ApiError, head: Head | None, request_id: bytes) -> None:
        """Count nothing."""

    def plan(self, head: Head, exchange: Exchange) -> RequestHandler:
        del exchange
        self.look()
        if not self._turn:
            asyncio.get_running_loop().call_soon(self._end_turn)
        self._turn += 1
        self.turn_most = max(self.turn_most, self._turn)
        if head.path == b"/refused":
            self.seen.append((head.method.decode(), "/refused", b""))
            raise ApiError(ErrorCode.NOT_FOUND, "refused")
        return RequestHandler(self, head)

    def look(self) -> None:
        """Record the stack's depth and the number of waiting requests."""
        self.depth_most = max(self.depth_most, depth_now() - self.depth_before)
        assert self.server is not None
        waiting = [len(each._exchanges) for each in self.server._connections]
        self.waiting_most = max(self.waiting_most, *waiting)

    def wait(self, exchange: Exchange) -> None:
        if not self._waiting:
            # After everything that the loop has ready now.
            asyncio.get_running_loop().call_later(0.005, self._answer)
        self._waiting.append(exchange)

    def _end_turn(self) -> None:
        self._turn = 0

    def _answer(self) -> None:
        waiting, self._waiting = self._waiting, []
        for exchange in waiting:
            exchange.respond_json(200, b"{}")


class RequestHandler:
    """One request."""

    def __init__(self, watcher: Watcher, head: Head) -> None:
        self.body_bytes_max = BODY_BYTES_MAX
        self._watcher = watcher
        self._head = head

    def run(self, exchange: Exchange, body: bytes) -> None:
        path = self._head.path.decode()
        self._watcher.seen.append((self._head.method.decode(), path, body))
        if path == "/now":
            exchange.respond_json(200, b"{}")
        elif path == "/turn":
            exchange.connection.when_first(exchange, lambda: self._start(exchange))
        else:
            self._watcher.wait(exchange)

    def _start(self, exchange: Exchange) -> None:
        self._watcher.look()
        exchange.respond_json(200, b"{}")


@dataclass(frozen=True)
class Edge:
    """The running server."""

    server: HttpServer
    port: int


def run_edge(work: Callable[[Edge], Coroutine[Any, Any, T]], watcher: Watcher) -> T:
    """Run `work` with a server that dispatches to `watcher`."""

    async def run() -> T:
        watcher.depth_before = depth_now()
        server = watcher.server = HttpServer(watcher)
        port = await server.start(HOST, 0)
        try:
            return await work(Edge(server, port))
        finally:
            server.stop_listening()
            await server.wait_closed(5)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


def depth_now() -> int:
    """Number of Python frames on the stack."""
    depth = 0
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        depth += 1
        frame = frame.f_back
    return depth


async def statuses(edge: Edge, pieces: list[bytes], count: int) -> list[int]:
    """Send pieces on one connection, each read separately; returns this many response statuses."""
    reader, writer = await asyncio.open_connection(HOST, edge.port)
    connected = writer.transport.get_extra_info("socket")
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def send() -> None:
        for piece in pieces:
            # The server is on the same loop: within some iterations it has read earlier pieces.
            for _ in range(TURNS):
                await asyncio.sleep(0)
            writer.write(piece)
            await writer.drain()

    sending = asyncio.create_task(send())
    try:
        return [await read_status(reader) for _ in range(count)]
    finally:
        await sending
        writer.close()


async def read_status(reader: asyncio.StreamReader) -> int:
    """Read one response; returns its status."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
    await reader.readexactly(int(length))
    return int(head[9:12])
