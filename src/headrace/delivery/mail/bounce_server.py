"""Accepts mail by LMTP (RFC 2033) or SMTP (RFC 5321): only what bounces need, within limits.

A mail is accepted (250) once `take` has returned, so the sender keeps it until then. There is no
relaying: each recipient is checked, and every other one is rejected.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from headrace.delivery.mail.bounce_urls import ListenUrl

#: Takes a mail with its recipients; raises `NotStoredError` when it is not stored.
Take = Callable[[bytes, Sequence[str]], Awaitable[None]]

_MAIL = re.compile(rb"FROM:\s*<([^<>]{0,320})>(.{0,500})", re.IGNORECASE)
_RCPT = re.compile(rb"TO:\s*<([^<>]{1,320})>(.{0,500})", re.IGNORECASE)
_SIZE = re.compile(rb"\bSIZE=([0-9]{1,18})\b", re.IGNORECASE)


class NotStoredError(Exception):
    """A mail was not stored; the sender is asked to try again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BounceServerLimits:
    """Limits of a listener."""

    connections_max: int = 20
    #: Size of a mail. A larger one is rejected with 552.
    mail_bytes_max: int = 10 * 1024 * 1024
    #: Of a mail that are kept; the rest is read and dropped.
    kept_bytes_max: int = 1024 * 1024
    recipients_max: int = 50
    mails_max: int = 100
    #: Commands of a connection, and among them such as are rejected.
    commands_max: int = 1000
    errors_max: int = 20
    #: For the next command or line of a mail.
    idle_s: float = 60.0
    #: For one mail, and for the whole connection.
    mail_s: float = 300.0
    connection_s: float = 1800.0


class BounceServer:
    """A listener. Made and closed inside a running event loop.

    Args:
        accepts: whether mail to an address is taken.
        take: stores a mail.
    """

    def __init__(
        self,
        url: ListenUrl,
        accepts: Callable[[str], bool],
        take: Take,
        limits: BounceServerLimits | None = None,
    ) -> None:
        self._url = url
        self._accepts = accepts
        self._take = take
        self._limits = limits or BounceServerLimits()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        #: Port that it listens on, once started.
        self.port = 0

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be used.
        """
        # A line has a limit of its own; this bounds what is read ahead.
        try:
            self._server = await asyncio.start_server(
                self._connected, self._url.host, self._url.port, limit=_LINE_BYTES_MAX
            )
        except OSError as error:
            reason = f"{self._url.shown}: {error.strerror or error}"
            raise OSError(error.errno, reason) from None
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End at once; a mail that is not accepted yet stays with its sender."""
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._open) >= self._limits.connections_max:
            writer.write(b"421 4.3.2 Too many connections\r\n")
            writer.close()
            return
        self._open.add(task)
        try:
            async with asyncio.timeout(self._limits.connection_s):
                await _Session(self._url.lmtp, self._accepts, self._take, self._limits).run(
                    reader, writer
                )
        except (OSError, EOFError, TimeoutError):
            pass
        finally:
            self._open.discard(task)
            writer.close()


#: RFC 5321 4.5.3.1.6, and room for the tail that is cut.
_LINE_BYTES_MAX = 64 * 1024


class _Ended(Exception):
    """The connection is over."""


class _Session:
    """One connection."""

    def __init__(
        self,
        lmtp: bool,  # noqa: FBT001 - one of two protocols
        accepts: Callable[[str], bool],
        take: Take,
        limits: BounceServerLimits,
    ) -> None:
        self._lmtp = lmtp
        self._accepts = accepts
        self._take = take
        self._limits = limits
        self._greeted = False
        self._has_sender = False
        self._recipients: list[str] = []
        self._mails = 0
        self._errors = 0

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve until the end of the connection."""
        self._reader, self._writer = reader, writer
        protocol = "LMTP" if self._lmtp else "ESMTP"
        await self._reply(f"220 headrace {protocol}")
        with suppress(_Ended):
            for _ in range(self._limits.commands_max):
                line = await self._line()
                verb, _, rest = line.partition(b" ")
                await self._command(verb.upper(), rest.strip())
            await self._reply("421 4.7.0 Too many commands")

    async def _command(self, verb: bytes, rest: bytes) -> None:
        greeting = b"LHLO" if self._lmtp else b"EHLO"
        if verb == greeting or (verb == b"HELO" and not self._lmtp):
            await self._hello(short=verb == b"HELO")
        elif verb == b"MAIL":
            await self._mail(rest)
        elif verb == b"RCPT":
            await self._rcpt(rest)
        elif verb == b"DATA":
            await self._data()
        elif verb in {b"RSET", b"NOOP"}:
            if verb == b"RSET":
                self._reset()
            await self._reply("250 2.0.0 Ok")
        elif verb == b"QUIT":
            await self._reply("221 2.0.0 Bye")
            raise _Ended
        else:
            await self._error("500 5.5.1 Unknown command")

    async def _hello(self, *, short: bool) -> None:
        self._greeted = True
        self._reset()
        if short:
            await self._reply("250 headrace")
            return
        size = self._limits.mail_bytes_max
        names = ("headrace", "PIPELINING", f"SIZE {size}", "8BITMIME", "SMTPUTF8")
        lines = [f"250-{name}" for name in names]
        await self._reply("\r\n".join([*lines, "250 ENHANCEDSTATUSCODES"]))

    async def _mail(self, rest: bytes) -> None:
        found = _MAIL.fullmatch(rest)
        size = _SIZE.search(found[2]) if found else None
        if not self._greeted or self._has_sender:
            await self._error("503 5.5.1 Bad sequence of commands")
        elif found is None:
            await self._error("501 5.5.4 Bad sender")
        elif self._mails >= self._limits.mails_max:
            await self._reply("421 4.7.0 Too many mails, connect again")
            raise _Ended
        elif size is not None and int(size[1]) > self._limits.mail_bytes_max:
            await self._error("552 5.3.4 The mail is too large")
        else:
            self._has_sender = True
            await self._reply("250 2.1.0 Ok")

    async def _rcpt(self, rest: bytes) -> None:
        found = _RCPT.fullmatch(rest)
        if not self._has_sender:
            await self._error("503 5.5.1 Bad sequence of commands")
            return
        address = found[1].decode("utf-8", "replace") if found else ""
        if found is None:
            await self._error("501 5.5.4 Bad recipient")
        elif not self._accepts(address):
            await self._error("550 5.1.1 No such address")
        elif len(self._recipients) >= self._limits.recipients_max:
            await self._reply("452 4.5.3 Too many recipients")
        else:
            self._recipients.append(address)
            await self._reply("250 2.1.5 Ok")

    async def _data(self) -> None:
        if not self._recipients:
            await self._error("503 5.5.1 No valid recipient")
            return
        await self._reply("354 End with a dot on a line")
        recipients = self._recipients
        async with asyncio.timeout(self._limits.mail_s):
            content, size = await self._content()
        self._reset()
        self._mails += 1
        if size > self._limits.mail_bytes_max:
            answer = "552 5.3.4 The mail is too large"
        else:
            try:
                await self._take(content, recipients)
            except NotStoredError:
                answer = "451 4.3.0 It cannot be stored now"
            else:
                answer = "250 2.0.0 Stored"
        # LMTP has a response for each recipient; the mail was stored once for all.
        for _ in recipients if self._lmtp else recipients[:1]:
            await self._reply(answer)

    async def _content(self) -> tuple[bytes, int]:
        """The start of a mail, and its whole size."""
        kept = bytearray()
        size, at_line_start = 0, True
        while True:
            piece = await self._piece()
            # Only CRLF ends a line: else a sender and this server could disagree on the end.
            ends = piece.endswith(b"\r\n")
            if at_line_start and piece == b".\r\n":
                return bytes(kept), size
            if at_line_start and piece.startswith(b"."):
                piece = piece[1:]
            size += len(piece)
            kept += piece[: max(0, self._limits.kept_bytes_max - len(kept))]
            at_line_start = ends
            if size > 2 * self._limits.mail_bytes_max:
                await self._reply("552 5.3.4 The mail is too large")
                raise _Ended

    async def _piece(self) -> bytes:
        """A line, or the part of a long one that was read ahead."""
        async with asyncio.timeout(self._limits.idle_s):
            try:
                return await self._reader.readuntil(b"\n")
            except asyncio.LimitOverrunError:
                return await self._reader.read(_LINE_BYTES_MAX)

    async def _line(self) -> bytes:
        """A command.

        Raises:
            _Ended: the client is silent, or sends no lines.
        """
        try:
            async with asyncio.timeout(self._limits.idle_s):
                return (await self._reader.readuntil(b"\n")).strip()
        except asyncio.LimitOverrunError:
            await self._reply("500 5.5.2 Line too long")
        except TimeoutError:
            await self._reply("421 4.4.2 Timeout")
        except asyncio.IncompleteReadError:
            pass
        raise _Ended

    def _reset(self) -> None:
        self._has_sender = False
        self._recipients = []

    async def _error(self, text: str) -> None:
        self._errors += 1
        if self._errors > self._limits.errors_max:
            await self._reply("421 4.7.0 Too many errors")
            raise _Ended
        await self._reply(text)

    async def _reply(self, text: str) -> None:
        self._writer.write(f"{text}\r\n".encode())
        async with asyncio.timeout(self._limits.idle_s):
            await self._writer.drain()
