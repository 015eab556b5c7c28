"""A way to a server that a test can cut, also in the middle of what it does not want to arrive."""

from __future__ import annotations

import asyncio
import contextlib
from enum import Enum

from tests.support.postgres import aside

_CHUNK_BYTES = 65536


class Cut(Enum):
    """Where the way is cut once the marked bytes come by."""

    #: The server never sees them.
    BEFORE = "before"
    #: The server sees them and answers, and the answer is lost.
    AFTER = "after"


class TcpProxy:
    """Forwards connections to a port of this machine; runs beside the loop of the test."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self._target = port
        self._mark: tuple[bytes, Cut] | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        #: Ways to the server whose next answer is not to arrive.
        self._cut_answers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    def open(self) -> None:
        """Listen; again on the same port after `close`."""
        aside(self._open())

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Refuse new connections and cut those that are there."""
        aside(self._close())

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._cut()

    def cut_at(self, mark: bytes, where: Cut) -> None:
        """Cut all connections, once, when a client sends `mark`."""
        self._mark = (mark, where)

    def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        self._cut_answers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, back}
        await asyncio.gather(self._requests(reader, back), self._answers(there, writer, back))

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                if self._mark is not None and self._mark[0] in data:
                    where, self._mark = self._mark[1], None
                    if where is Cut.BEFORE:
                        self._cut()
                        return
                    self._cut_answers.add(writer)
                writer.write(data)
        writer.close()

    async def _answers(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        asked: asyncio.StreamWriter,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                if asked in self._cut_answers:
                    self._cut()
                    return
                writer.write(data)
        writer.close()
