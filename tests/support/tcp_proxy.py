"""A proxy to a server that a test can cut or silence, even in the middle of a message."""

from __future__ import annotations

import asyncio
import contextlib
from enum import Enum

from tests.support.postgres import aside

_CHUNK_BYTES = 65536


class Cut(Enum):
    """Where the connection is cut when the marked bytes arrive."""

    #: The server never sees them.
    BEFORE = "before"
    #: The server sees them and responds, and the response is lost.
    AFTER = "after"


class Silence(Enum):
    """Point after which nothing passes a connection in either direction; it stays open."""

    #: The server never sees the marked bytes.
    BEFORE = "before"
    #: The server sees them; its response never arrives.
    AFTER = "after"
    #: The first half of the response arrives.
    HALFWAY = "halfway"


class _Way:
    """One client connection and its server connection."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.writers = (client, server)
        self.silent = False
        #: What to do with the next response.
        self.answer: Cut | Silence | None = None

    def abort(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class TcpProxy:
    """Forwards connections to a port of this machine; runs outside the test's loop."""

    def __init__(self, port: int) -> None:
        self.port = 0
        #: Port that new connections are forwarded to.
        self.target = port
        #: All that new connections receive, when they are not to be forwarded.
        self.mute: bytes | None = None
        self._mark: tuple[bytes, Cut | Silence] | None = None
        self._ways: set[_Way] = set()
        self._closed = asyncio.Event()
        self._server: asyncio.Server | None = None

    def open(self) -> None:
        """Listen; again on the same port after `close`."""
        aside(self._open())

    async def _open(self) -> None:
        self._closed = asyncio.Event()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Refuse new connections and cut existing ones."""
        aside(self._close())

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._closed.set()
        self._cut()

    def cut_at(self, mark: bytes, where: Cut) -> None:
        """Cut all connections, once, when a client sends `mark`."""
        self._mark = (mark, where)

    def silence_at(self, mark: bytes, where: Silence) -> None:
        """Silence one connection for good: the first on which a client sends `mark`."""
        self._mark = (mark, where)

    @property
    def armed(self) -> bool:
        """Whether the mark has not been seen yet."""
        return self._mark is not None

    def silence(self) -> int:
        """Silence all existing connections for good; returns how many. New ones work."""

        async def silence() -> int:
            for way in self._ways:
                way.silent = True
            return len(self._ways)

        return aside(silence())

    def _cut(self) -> None:
        for way in self._ways:
            way.abort()
        self._ways.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mute is not None:
            writer.write(self.mute)
            await self._closed.wait()
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        way = _Way(writer, back)
        self._ways.add(way)
        await asyncio.gather(self._requests(way, reader, back), self._answers(way, there, writer))
        self._ways.discard(way)

    async def _requests(
        self, way: _Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                if self._mark is not None and self._mark[0] in data:
                    where, self._mark = self._mark[1], None
                    if where is Cut.BEFORE:
                        self._cut()
                        return
                    way.silent = where is Silence.BEFORE
                    way.answer = where
                if way.silent:
                    break
                writer.write(data)
        await self._end(way, writer)

    async def _answers(
        self, way: _Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                if way.answer is Cut.AFTER:
                    self._cut()
                    return
                if way.answer is not None:
                    way.silent = True
                    if way.answer is Silence.HALFWAY:
                        writer.write(data[: len(data) // 2])
                if way.silent:
                    break
                writer.write(data)
        await self._end(way, writer)

    async def _end(self, way: _Way, writer: asyncio.StreamWriter) -> None:
        """One side has closed. Over a silenced connection the other is never notified."""
        if way.silent:
            await self._closed.wait()
        writer.close()
