"""A relay on a real socket that follows a script: a response, half of one, silence, or a close."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

EHLO = "250-relay.example\r\n250-SIZE 10485760\r\n250 8BITMIME\r\n"
EHLO_DSN = "250-relay.example\r\n250-DSN\r\n250-SMTPUTF8\r\n250 SIZE 0\r\n"

#: Instead of a response: close, close after a partial response, or wait.
DROP = "<drop>"
SILENCE = "<silence>"


@dataclass(kw_only=True)
class Script:
    """The response to each command; `dot` is the end of the mail, `middle` comes before it."""

    greeting: str = "220 relay.example ESMTP\r\n"
    ehlo: str = EHLO
    auth: str = "235 2.7.0 Ok\r\n"
    mail: str = "250 2.1.0 Ok\r\n"
    rcpt: str = "250 2.1.5 Ok\r\n"
    data: str = "354 go on\r\n"
    middle: str = ""
    dot: str = "250 2.0.0 Ok: queued as 1\r\n"
    rset: str = "250 2.0.0 Ok\r\n"
    quit: str = "221 2.0.0 Bye\r\n"


@dataclass(kw_only=True)
class Scripted:
    """The relay, and what it has received."""

    script: Script
    port: int = 0
    #: Commands of all connections in order.
    commands: list[str] = field(default_factory=list)
    mails: list[bytes] = field(default_factory=list)
    connections: int = 0
    #: Released when a connection has ended.
    ended: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._answer(writer, self.script.greeting)
            while line := await reader.readline():
                command = line.decode("utf-8", "replace").rstrip("\r\n")
                self.commands.append(command)
                await self._command(command, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, EOFError):
            pass
        finally:
            writer.transport.abort()
            self.ended.release()

    async def _command(
        self, command: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        verb = command.split(" ", 1)[0].lower()
        answer = getattr(self.script, verb, "500 what?\r\n")
        await self._answer(writer, answer)
        if verb == "quit":
            raise EOFError
        if verb == "data" and answer.startswith("354"):
            if self.script.middle:
                await reader.readline()
                await self._answer(writer, self.script.middle)
            self.mails.append(await self._mail(reader))
            await self._answer(writer, self.script.dot)

    async def _mail(self, reader: asyncio.StreamReader) -> bytes:
        lines: list[bytes] = []
        while (line := await reader.readline()) != b".\r\n":
            if not line:
                raise EOFError
            lines.append(line.removeprefix(b".") if line.startswith(b".") else line)
        return b"".join(lines)

    async def _answer(self, writer: asyncio.StreamWriter, answer: str) -> None:
        text, _, end = answer.partition("<")
        writer.write(text.encode())
        await writer.drain()
        if end == SILENCE[1:]:
            await self.stopping.wait()
        if end:
            raise EOFError


@asynccontextmanager
async def scripted_relay(script: Script | None = None) -> AsyncIterator[Scripted]:
    """Listen on loopback."""
    relay = Scripted(script=script or Script())
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        relay.stopping.set()
        server.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                while relay.connections > 0:
                    await relay.ended.acquire()
                    relay.connections -= 1
