"""Reads mails of a mailbox by IMAP (RFC 3501), within limits: only what bounces need.

A small client of its own, because the known library is licensed under the GPL, and the standard
library's blocks and has no limit for what a server sends.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from headrace.delivery.mail.bounce_urls import MailboxTls, MailboxUrl

#: Keyword of a mail that was stored, where the mailbox allows keywords; else it is `\Seen`.
KEYWORD = "HeadraceStored"

#: A line of a response; a search lists the number of every mail that it finds.
_LINE_BYTES_MAX = 8 * 1024 * 1024
#: Untagged responses to one command.
_RESPONSES_MAX = 10_000
_LITERAL = re.compile(rb"\{([0-9]{1,10})\}\r?\n$")
_QUOTED_BODY = re.compile(rb'BODY\[\](?:<0>)? "((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_PERMANENT = re.compile(rb"\[PERMANENTFLAGS \(([^)]*)\)", re.IGNORECASE)
_TEXT_CHARACTERS_MAX = 200


class MailboxError(Exception):
    """The mailbox cannot be read; the message is a sentence without the password."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MailboxLimits:
    """Limits of a mailbox."""

    #: From the name lookup to the opened folder.
    open_s: float = 30.0
    #: For one command.
    command_s: float = 60.0
    #: Of a mail that are fetched.
    mail_bytes_max: int = 1024 * 1024


class Mailbox:
    """An open folder. Make it with `Mailbox.open`; use it as a context manager."""

    def __init__(
        self,
        url: MailboxUrl,
        limits: MailboxLimits,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._url = url
        self._limits = limits
        self._reader = reader
        self._writer = writer
        self._count = 0
        self._capabilities: frozenset[bytes] = frozenset()
        #: Flag that a stored mail gets, as a condition of a search for others and as it is set.
        self._unmarked, self._mark = "UNSEEN", r"\Seen"

    @classmethod
    async def open(
        cls,
        url: MailboxUrl,
        limits: MailboxLimits | None = None,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> Self:
        """Connect, sign in and select the folder.

        Args:
            tls: checks certificates; the system's authorities by default.

        Raises:
            MailboxError: that is not possible.
        """
        limits = limits or MailboxLimits()
        context = None
        if url.tls is MailboxTls.TLS:
            context = tls or ssl.create_default_context()
        try:
            async with asyncio.timeout(limits.open_s):
                reader, writer = await asyncio.open_connection(
                    url.host, url.port, ssl=context, limit=_LINE_BYTES_MAX
                )
                box = cls(url, limits, reader, writer)
                try:
                    await box._begin()
                except BaseException:
                    writer.close()
                    raise
                return box
        except (OSError, EOFError, TimeoutError) as error:
            reason = str(error) or "it does not reply in time"
            message = f"{url.shown} cannot be opened: {reason[:_TEXT_CHARACTERS_MAX]}"
            raise MailboxError(message) from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection; never raises."""
        with suppress(OSError):
            self._writer.write(b"z LOGOUT\r\n")
            self._writer.close()

    async def find(self) -> list[int]:
        """Numbers (UID) of mails that are not marked, oldest first.

        Raises:
            MailboxError: the connection is lost, or the server rejects the command.
        """
        found: list[int] = []
        for response in await self._run(f"UID SEARCH UNDELETED {self._unmarked}"):
            if response[0].upper().startswith(b"* SEARCH"):
                found += [int(number) for number in response[0].split()[2:] if number.isdigit()]
        return sorted(found)

    async def fetch(self, uid: int) -> bytes | None:
        """The start of a mail; None when it is gone.

        Raises:
            MailboxError: the connection is lost, or the server rejects the command.
        """
        size = self._limits.mail_bytes_max
        for response in await self._run(f"UID FETCH {uid} (UID BODY.PEEK[]<0.{size}>)"):
            if b" FETCH " not in response[0].upper() or b"BODY[]" not in response[0].upper():
                continue
            if len(response) > 1:
                return response[1]
            quoted = _QUOTED_BODY.search(response[0])
            return re.sub(rb"\\(.)", rb"\1", quoted[1]) if quoted else b""
        return None

    async def mark(self, uid: int) -> None:
        """Mark or move a mail that is stored.

        Raises:
            MailboxError: the connection is lost, or the server rejects the command.
        """
        if self._url.move_to is None:
            await self._run(f"UID STORE {uid} +FLAGS.SILENT ({self._mark})")
            return
        folder = _quoted(self._url.move_to)
        if b"MOVE" in self._capabilities:
            await self._run(f"UID MOVE {uid} {folder}")
            return
        await self._run(f"UID COPY {uid} {folder}")
        await self._run(rf"UID STORE {uid} +FLAGS.SILENT (\Deleted)")
        if b"UIDPLUS" in self._capabilities:
            # Without it, EXPUNGE would also remove what others have marked.
            await self._run(f"UID EXPUNGE {uid}")

    async def wait(self, seconds: float) -> None:
        """Wait for new mail, at most for so long.

        Raises:
            MailboxError: the connection is lost.
        """
        if b"IDLE" not in self._capabilities:
            await asyncio.sleep(seconds)
            await self._run("NOOP")
            return
        try:
            async with asyncio.timeout(self._limits.command_s):
                tag = await self._send("IDLE")
                while not (await self._response())[0].startswith(b"+"):
                    pass
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._news()
            async with asyncio.timeout(self._limits.command_s):
                await self._write(b"DONE\r\n")
                await self._until(tag, "IDLE")
        except (OSError, EOFError, TimeoutError) as error:
            raise _lost(self._url, error) from None

    async def _news(self) -> None:
        while True:
            # Cancelling a read of a line loses nothing: it stays in the buffer.
            line = await self._reader.readuntil(b"\n")
            if line.upper().rstrip().endswith((b"EXISTS", b"RECENT")):
                return
            if line.upper().startswith(b"* BYE"):
                raise EOFError("the server ends the connection")

    async def _begin(self) -> None:
        greeting = (await self._response())[0]
        if not greeting.upper().startswith(b"* OK"):
            raise MailboxError(f"{self._url.shown} greets with {_shown(greeting)}")
        user, password = _quoted(self._url.user), _quoted(self._url.password)
        await self._run(f"LOGIN {user} {password}", shown="LOGIN")
        for response in await self._run("CAPABILITY"):
            if response[0].upper().startswith(b"* CAPABILITY"):
                self._capabilities = frozenset(response[0].upper().split()[2:])
        for response in await self._run(f"SELECT {_quoted(self._url.folder)}", shown="SELECT"):
            permanent = _PERMANENT.search(response[0])
            if permanent is not None and rb"\*" in permanent[1]:
                # A person who reads the mailbox sets \Seen, which must not hide a mail from here.
                self._unmarked, self._mark = f"UNKEYWORD {KEYWORD}", rf"\Seen {KEYWORD}"

    async def _run(self, command: str, *, shown: str | None = None) -> list[Sequence[bytes]]:
        """Send a command; its untagged responses.

        Args:
            shown: in an error, in place of the command.
        """
        try:
            async with asyncio.timeout(self._limits.command_s):
                tag = await self._send(command)
                return await self._until(tag, shown or command)
        except (OSError, EOFError, TimeoutError) as error:
            raise _lost(self._url, error) from None

    async def _send(self, command: str) -> bytes:
        self._count += 1
        tag = b"a%d" % self._count
        await self._write(b"%s %s\r\n" % (tag, command.encode("ascii")))
        return tag

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def _until(self, tag: bytes, command: str) -> list[Sequence[bytes]]:
        responses: list[Sequence[bytes]] = []
        while True:
            response = await self._response()
            if response[0].startswith(tag + b" "):
                if response[0][len(tag) + 1 :].upper().startswith(b"OK"):
                    return responses
                message = f"{self._url.shown} answers {_shown(response[0])} to {command}"
                raise MailboxError(message)
            if response[0].upper().startswith(b"* BYE"):
                raise EOFError("the server ends the connection")
            if len(responses) >= _RESPONSES_MAX:
                raise MailboxError(f"{self._url.shown} sends too many responses")
            responses.append(response)

    async def _response(self) -> Sequence[bytes]:
        """One response: its text, and its first literal if it has one."""
        parts: list[bytes] = []
        text = b""
        while True:
            try:
                line = await self._reader.readuntil(b"\n")
            except asyncio.LimitOverrunError:
                raise MailboxError(f"{self._url.shown} sends a line that is too long") from None
            literal = _LITERAL.search(line)
            text += line[: literal.start()] if literal else line
            if literal is None:
                return [text.strip(), *parts]
            size = int(literal[1])
            if size > self._limits.mail_bytes_max + 1 or len(text) > _LINE_BYTES_MAX:
                raise MailboxError(f"{self._url.shown} sends more than was asked for")
            content = await self._reader.readexactly(size)
            parts = parts or [content]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _shown(response: bytes) -> str:
    text = response.decode("ascii", "replace")
    return "".join(each if each.isprintable() else " " for each in text)[:_TEXT_CHARACTERS_MAX]


def _lost(url: MailboxUrl, error: Exception) -> MailboxError:
    reason = "it does not reply in time" if isinstance(error, TimeoutError) else "it was closed"
    return MailboxError(f"The connection to {url.shown} is lost: {reason}")
