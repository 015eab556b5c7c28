"""One connection to a relay: opened, used for some mails, closed.

The commands are those of aiosmtplib. The content is sent here, because only the code that writes
the final dot can know whether the relay could have accepted the mail when the connection breaks.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from aiosmtplib import (
    SMTP,
    SMTPException,
    SMTPResponse,
    SMTPResponseException,
    SMTPServerDisconnected,
)
from aiosmtplib.protocol import SMTPProtocol

from headrace.delivery.mail.contract import OutgoingMail
from headrace.delivery.mail.relay_url import RelayKind, RelayUrl
from headrace.domain.messages.smtp_replies import (
    Phase,
    Reply,
    ReplyClass,
    classify,
    read_reply,
    shown_text,
)

_CHUNK_BYTES = 65_536
_LEADING_DOT = re.compile(rb"(?m)^\.")
_NOT_XTEXT = re.compile(rb"[^!-*,-<>-~]")
_QUIT_S = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RelayLimits:
    """Limits and timeouts of a relay."""

    connections_max: int = 4
    #: From the name lookup to the last response before the first mail.
    open_s: float = 30.0
    #: For the response to one command.
    command_s: float = 60.0
    #: For the relay to read one piece of the content.
    content_s: float = 60.0
    #: For the response to the final dot. RFC 5321 4.5.3.2.6: giving up early duplicates mail.
    final_s: float = 600.0
    #: Mails over one connection, and how long an idle one is kept.
    mails_max: int = 100
    idle_s: float = 15.0


class Ended(Exception):
    """An attempt is over.

    Attributes:
        outcome: of the attempt.
        phase: in which it ended.
        reply: response of the server; None without one.
    """

    def __init__(
        self, outcome: ReplyClass, phase: Phase, message: str, reply: Reply | None = None
    ) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.phase = phase
        self.reply = reply


class SmtpSession:
    """An open connection. Make it with `open_session`."""

    def __init__(self, client: SMTP, limits: RelayLimits) -> None:
        self._client = client
        self._limits = limits
        self._mails = 0
        self._broken = False

    @property
    def reusable(self) -> bool:
        """Whether another mail may follow."""
        return (
            not self._broken and self._client.is_connected and self._mails < self._limits.mails_max
        )

    @property
    def reports_delivery(self) -> bool:
        """Whether the relay offers delivery reports (RFC 3461)."""
        return self._client.supports_extension("dsn")

    async def reset(self) -> None:
        """Reset an unfinished mail; also shows whether an idle connection still works.

        Raises:
            Ended: it does not.
        """
        await self._command(Phase.MAIL, lambda: self._client.execute_command(b"RSET"), 250)

    def check(self, mail: OutgoingMail) -> None:
        """Check before sending whether the relay can accept the mail.

        Raises:
            Ended: the mail is too large, or needs an extension that the relay lacks.
        """
        limit = self._client.esmtp_extensions.get("size", "").strip()
        if limit.isdigit() and 0 < int(limit) < len(mail.content):
            message = f"the relay takes at most {limit} bytes, the mail has {len(mail.content)}"
            raise Ended(ReplyClass.TOO_LARGE, Phase.MAIL, message)
        if _needs_utf8(mail) and not self._client.supports_extension("smtputf8"):
            message = "the relay takes no addresses with other characters than ASCII"
            raise Ended(ReplyClass.CONTENT_REFUSED, Phase.MAIL, message)

    async def deliver(self, mail: OutgoingMail) -> Reply:
        """Send one mail.

        Returns:
            The response to the final dot.

        Raises:
            Ended: the mail was not accepted, or that is unknown.
        """
        self._mails += 1
        client = self._client
        encoding = "utf-8" if _needs_utf8(mail) else "ascii"
        sender = f"FROM:<{mail.sender}>".encode(encoding)
        recipient = f"TO:<{mail.recipient}>".encode(encoding)
        options = [option.encode() for option in self._mail_options(mail)]
        await self._command(
            Phase.MAIL, lambda: client.execute_command(b"MAIL", sender, *options), 250
        )
        wanted = [option.encode() for option in self._rcpt_options(mail)]
        await self._command(
            Phase.RCPT, lambda: client.execute_command(b"RCPT", recipient, *wanted), 250, 251
        )
        await self._command(Phase.DATA, lambda: client.execute_command(b"DATA"), 354)
        return await self._content(mail.content)

    async def close(self, *, politely: bool = True) -> None:
        """End the connection; never raises."""
        if politely and self._client.is_connected and not self._broken:
            with suppress(SMTPException, OSError, TimeoutError):
                await self._client.quit(timeout=_QUIT_S)
        self._client.close()

    def _mail_options(self, mail: OutgoingMail) -> Iterator[str]:
        if self._client.supports_extension("size"):
            yield f"SIZE={len(mail.content)}"
        if _needs_utf8(mail):
            yield "SMTPUTF8"
        if self.reports_delivery:
            yield "RET=HDRS"
            yield f"ENVID={_xtext(mail.message_id)}"

    def _rcpt_options(self, mail: OutgoingMail) -> Iterator[str]:
        if self.reports_delivery:
            yield "NOTIFY=SUCCESS,FAILURE,DELAY"
            if mail.recipient.isascii():
                yield f"ORCPT=rfc822;{_xtext(mail.recipient)}"

    async def _command(
        self, phase: Phase, run: Callable[[], Awaitable[SMTPResponse]], *good: int
    ) -> Reply:
        task = asyncio.current_task()
        cancelled = task.cancelling() if task else 0
        try:
            response = await run()
            if task and task.cancelling() > cancelled:
                # `asyncio.wait_for` of Python 3.11 loses a cancellation that coincides with a
                # response.
                raise asyncio.CancelledError
        except (SMTPResponseException, SMTPException, OSError, ValueError) as error:
            self._broken = True
            raise _ended(error, phase) from error
        reply = read_reply(response.code, response.message)
        if reply.code not in good:
            outcome = classify(phase, reply)
            # After an unexpected response, the next ones would be assigned to the wrong commands.
            self._broken |= outcome is ReplyClass.PROTOCOL or reply.code == 421
            raise Ended(outcome, phase, _said(reply), reply)
        return reply

    async def _content(self, content: bytes) -> Reply:
        protocol = self._client.protocol
        if protocol is None:
            self._broken = True
            raise _lost(Phase.DATA)
        # Read while writing: a relay may reject a mail in the middle of it.
        reading = asyncio.ensure_future(protocol.read_response(timeout=None))
        self._broken = True
        try:
            await self._write(protocol, content, reading)
            if reading.done():
                raise _early(reading)
            with suppress(SMTPException, OSError):
                # The reader reports a connection lost here: from now on the outcome is unknown.
                protocol.write(b".\r\n")
            reply = await self._final(reading)
        finally:
            await _cancelled(reading)
        self._broken = False
        outcome = classify(Phase.FINAL, reply)
        if outcome is not ReplyClass.SENT:
            self._broken = outcome is ReplyClass.UNKNOWN or reply.code == 421
            raise Ended(outcome, Phase.FINAL, _said(reply), reply)
        return reply

    async def _write(
        self, protocol: SMTPProtocol, content: bytes, reading: asyncio.Future[SMTPResponse]
    ) -> None:
        """Write everything but the final dot, and flush it."""
        stuffed = _LEADING_DOT.sub(b"..", content)
        if not stuffed.endswith(b"\r\n"):
            stuffed += b"\r\n"
        if protocol.transport is not None:
            # Otherwise the dot could be sent with content that is still buffered here. The
            # transports of uvloop are write transports without being of that class.
            cast("asyncio.WriteTransport", protocol.transport).set_write_buffer_limits(high=0)
        for at in range(0, len(stuffed), _CHUNK_BYTES):
            # Notices a broken connection or an early response between pieces.
            await asyncio.sleep(0)
            if reading.done():
                return
            try:
                protocol.write(stuffed[at : at + _CHUNK_BYTES])
            except (SMTPException, OSError) as error:
                raise _ended(error, Phase.DATA) from error
            await self._drained(protocol, reading)

    async def _drained(self, protocol: SMTPProtocol, reading: asyncio.Future[SMTPResponse]) -> None:
        # The protocol has no public way to wait for this.
        draining = asyncio.ensure_future(protocol._drain_helper())  # noqa: SLF001 - see above
        try:
            waited: set[asyncio.Future[Any]] = {draining, reading}
            done, _ = await asyncio.wait(
                waited,
                timeout=self._limits.content_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            await _cancelled(draining)
        if not done:
            message = "the relay does not read the mail"
            raise Ended(ReplyClass.RELAY_UNAVAILABLE, Phase.DATA, message)

    async def _final(self, reading: asyncio.Future[SMTPResponse]) -> Reply:
        try:
            async with asyncio.timeout(self._limits.final_s):
                response = await reading
        except TimeoutError:
            message = "the relay did not reply after the end of the mail"
        except SMTPResponseException as error:
            message = f"the relay sent {shown_text(str(error))} after the end of the mail"
        except (SMTPException, OSError):
            message = "the connection was lost after the end of the mail"
        else:
            return read_reply(response.code, response.message)
        raise Ended(ReplyClass.UNKNOWN, Phase.FINAL, message)


async def open_session(
    url: RelayUrl, limits: RelayLimits, client_name: str, tls: ssl.SSLContext
) -> SmtpSession:
    """Connect, greet, encrypt and authenticate, as the URL says.

    Raises:
        Ended: there is no usable connection; no mail was announced.
    """
    client = SMTP(
        hostname=url.host,
        port=url.port,
        local_hostname=client_name,
        timeout=limits.command_s,
        use_tls=url.kind is RelayKind.TLS,
        start_tls=False,
        tls_context=tls,
    )
    phase = Phase.CONNECT
    try:
        async with asyncio.timeout(limits.open_s):
            await client.connect(timeout=limits.open_s)
            phase = Phase.GREETING
            await client.ehlo()
            if url.kind is RelayKind.STARTTLS:
                await client.starttls()
                await client.ehlo()
            if url.user is not None and url.password is not None:
                phase = Phase.AUTH
                await client.login(url.user, url.password)
    except TimeoutError:
        client.close()
        message = "the relay did not reply in time"
        raise Ended(ReplyClass.RELAY_UNAVAILABLE, phase, message) from None
    except (SMTPException, OSError, ValueError) as error:
        client.close()
        raise _ended(error, phase) from error
    except BaseException:
        client.close()
        raise
    return SmtpSession(client, limits)


def _ended(error: Exception, phase: Phase) -> Ended:
    """Map an error before the final dot to the closed lists."""
    if isinstance(error, SMTPResponseException):
        reply = read_reply(error.code, error.message)
        if phase is Phase.CONNECT:
            phase = Phase.GREETING
        return Ended(classify(phase, reply), phase, _said(reply), reply)
    if phase is Phase.AUTH and not isinstance(error, OSError):
        # No method, or none without TLS: only an operator can fix that.
        return Ended(ReplyClass.RELAY_AUTH, phase, shown_text(str(error)))
    if isinstance(error, SMTPServerDisconnected):
        return _lost(phase)
    if isinstance(error, TimeoutError):
        message = "the relay did not reply in time"
    elif isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError):
        message = f"TLS failed: {shown_text(str(error))}"
    elif isinstance(error, ValueError):
        return Ended(ReplyClass.CONTENT_REFUSED, phase, "an address cannot be written")
    else:
        message = shown_text(str(error)) or type(error).__name__
    return Ended(ReplyClass.RELAY_UNAVAILABLE, phase, message)


def _lost(phase: Phase) -> Ended:
    message = "the connection was lost before the end of the mail"
    return Ended(ReplyClass.RELAY_UNAVAILABLE, phase, message)


def _early(reading: asyncio.Future[SMTPResponse]) -> Ended:
    """An early response, or an error, while the content was written."""
    error = reading.exception()
    if isinstance(error, Exception):
        return _ended(error, Phase.DATA)
    response = reading.result()
    reply = read_reply(response.code, response.message)
    return Ended(classify(Phase.DATA, reply), Phase.DATA, _said(reply), reply)


def _said(reply: Reply) -> str:
    status = f" {reply.status}" if reply.status else ""
    return f"the relay said {reply.code}{status} {reply.text}".rstrip()


def _needs_utf8(mail: OutgoingMail) -> bool:
    head = mail.content.partition(b"\r\n\r\n")[0]
    return not (mail.recipient.isascii() and mail.sender.isascii() and head.isascii())


def _xtext(text: str) -> str:
    """RFC 3461 4: a value of an option of MAIL or RCPT."""
    return _NOT_XTEXT.sub(lambda found: b"+%02X" % found[0][0], text.encode()).decode()


async def _cancelled(future: asyncio.Future[SMTPResponse] | asyncio.Future[None]) -> None:
    """Cancel a future and ignore its error, if any."""
    if not future.done():
        future.cancel()
    await asyncio.wait({future})
    if not future.cancelled():
        future.exception()
