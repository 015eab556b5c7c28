"""Webhook receivers on real sockets that behave as badly as a test wants."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as it arrived."""

    line: str
    headers: dict[str, str]
    body: bytes


Behaviour = Callable[["Exchange"], Awaitable[None]]


@dataclass(kw_only=True)
class Exchange:
    """One request and the connection, to misuse for its response."""

    request: Request
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    stopping: asyncio.Event

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def pause(self, seconds: float) -> bool:
        """Wait without responding; False as soon as the receiver is stopped."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)
        return not self.stopping.is_set()

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass(kw_only=True)
class Receiver:
    """A listening receiver."""

    port: int
    scheme: str = "http"
    requests: list[Request] = field(default_factory=list)
    #: Connections that the peer has closed or reset.
    hung_up: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/hook?token=1"


@asynccontextmanager
async def receiver(behave: Behaviour, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Listen on a free loopback port until the block ends."""
    stopping = asyncio.Event()
    tasks: set[asyncio.Task[None]] = set()
    state = Receiver(port=0, scheme="http" if tls is None else "https")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                request = await _read_request(reader)
                state.requests.append(request)
                exchange = Exchange(
                    request=request, reader=reader, writer=writer, stopping=stopping
                )
                await behave(exchange)
        finally:
            writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        state.hung_up.release()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        stopping.set()
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    headers = {name.lower(): value for name, _, value in (text.partition(": ") for text in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(line=line, headers=headers, body=body)


def answers(status: int, body: bytes = b"ok", **headers: str) -> Behaviour:
    """Send a proper response; `Retry_After="3"` becomes a header."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} Status\r\nContent-Length: {len(body)}\r\n{lines}\r\n"

    async def behave(exchange: Exchange) -> None:
        await exchange.send(head.encode() + body)

    return behave


async def silent(exchange: Exchange) -> None:
    """Never respond; ends when the peer disconnects."""
    await exchange.reader.read()


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Behaviours in sequence, the last one repeated."""
    left = list(behaviours)

    async def behave(exchange: Exchange) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(exchange)

    return behave
