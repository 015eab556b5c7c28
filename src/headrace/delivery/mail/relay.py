"""A relay over SMTP, and one that only stores mails."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Self

from headrace.delivery.mail.contract import (
    BeforeHandOver,
    MailOutcome,
    MailRelay,
    OutgoingMail,
)
from headrace.delivery.mail.relay_url import RelayKind, RelayUrl
from headrace.delivery.mail.smtp import Ended, RelayLimits, SmtpSession, open_session
from headrace.domain.messages.smtp_replies import Phase, Reply, ReplyClass

#: Stores a captured mail where people can see it.
Keep = Callable[[OutgoingMail], Awaitable[None]]


class SmtpRelay:
    """Sends over a few connections that are reused for a while. Made inside a running event loop.

    Args:
        url: of kind `smtp`, `smtp+starttls` or `smtps`.
        limits: bounds of connections and waits.
        client_name: host name for EHLO.
        tls: checks certificates; the system's authorities by default.
    """

    def __init__(
        self,
        url: RelayUrl,
        limits: RelayLimits | None = None,
        *,
        client_name: str = "localhost",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if url.kind is RelayKind.CAPTURE:
            raise ValueError("a relay that captures speaks no SMTP")
        self._url = url
        self._limits = limits or RelayLimits()
        self._client_name = client_name
        self._tls = tls or ssl.create_default_context()
        self._used = 0
        self._slots = asyncio.Semaphore(self._limits.connections_max)
        #: With the timer that closes each; the newest last.
        self._idle: list[tuple[SmtpSession, asyncio.TimerHandle]] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    @property
    def name(self) -> str:
        """Host and port."""
        return self._url.shown

    @property
    def free(self) -> int:
        """Mails that would have a connection at once."""
        return self._limits.connections_max - self._used

    async def send(
        self, mail: OutgoingMail, before_hand_over: BeforeHandOver, *, fresh: bool = False
    ) -> MailOutcome:
        """Make one attempt; see `headrace.delivery.mail.contract.MailRelay`."""
        async with self._slots:
            self._used += 1
            try:
                return await self._attempt(mail, before_hand_over, fresh=fresh)
            finally:
                self._used -= 1

    async def close(self) -> None:
        """End idle connections."""
        while self._idle:
            session, timer = self._idle.pop()
            timer.cancel()
            self._end(session)
        if self._closing:
            await asyncio.wait(self._closing)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _attempt(
        self, mail: OutgoingMail, before_hand_over: BeforeHandOver, *, fresh: bool
    ) -> MailOutcome:
        began_ns = time.perf_counter_ns()
        session: SmtpSession | None = None
        handed_over = False
        try:
            session = await self._ready(fresh=fresh)
            session.check(mail)
            await before_hand_over()
            handed_over = True
            reports = session.reports_delivery
            reply = await session.deliver(mail)
            return MailOutcome(
                outcome=ReplyClass.SENT,
                phase=Phase.FINAL,
                reply=reply,
                message="the relay took the mail",
                relay=self.name,
                duration_us=_since_us(began_ns),
                handed_over=True,
                reports_delivery=reports,
            )
        except Ended as ended:
            return MailOutcome(
                outcome=ended.outcome,
                phase=ended.phase,
                reply=ended.reply,
                message=str(ended),
                relay=self.name,
                duration_us=_since_us(began_ns),
                handed_over=handed_over,
            )
        except asyncio.CancelledError:
            # Closed without QUIT: the mail may be half written.
            if session is not None and handed_over:
                await session.close(politely=False)
                session = None
            raise
        finally:
            if session is not None:
                self._give_back(session)

    async def _ready(self, *, fresh: bool) -> SmtpSession:
        while self._idle and not fresh:
            session, timer = self._idle.pop()
            timer.cancel()
            try:
                if session.reusable:
                    await session.reset()
                    return session
            except Ended:
                # The relay may close an idle connection; a new one shows whether the relay works.
                pass
            self._end(session)
        return await open_session(self._url, self._limits, self._client_name, self._tls)

    def _give_back(self, session: SmtpSession) -> None:
        if not session.reusable:
            self._end(session)
            return
        timer = self._loop.call_later(self._limits.idle_s, self._expire, session)
        self._idle.append((session, timer))
        if len(self._idle) > self._limits.connections_max:
            oldest, timer = self._idle.pop(0)
            timer.cancel()
            self._end(oldest)

    def _expire(self, session: SmtpSession) -> None:
        self._idle = [(one, timer) for one, timer in self._idle if one is not session]
        self._end(session)

    def _end(self, session: SmtpSession) -> None:
        # In the background: QUIT may take seconds, and the next mail need not wait for it.
        task = self._loop.create_task(session.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class CaptureRelay:
    """Accepts every mail and sends none: for a start without a relay, and for tests.

    Args:
        keep: stores a mail; it limits how many are kept.
        connections_max: concurrent mails.
    """

    def __init__(self, keep: Keep, connections_max: int = 4) -> None:
        self._keep = keep
        self._connections_max = connections_max
        self._used = 0
        self._slots = asyncio.Semaphore(connections_max)

    @property
    def name(self) -> str:
        """Its fixed name."""
        return "capture:"

    @property
    def free(self) -> int:
        """Mails that it can accept at once."""
        return self._connections_max - self._used

    async def send(
        self, mail: OutgoingMail, before_hand_over: BeforeHandOver, *, fresh: bool = False
    ) -> MailOutcome:
        """Store one mail; raises the store's error of `keep`."""
        del fresh
        async with self._slots:
            self._used += 1
            began_ns = time.perf_counter_ns()
            try:
                await before_hand_over()
                await self._keep(mail)
            finally:
                self._used -= 1
        return MailOutcome(
            outcome=ReplyClass.SENT,
            phase=Phase.FINAL,
            reply=Reply(250, "captured"),
            message="the mail was captured and leaves this machine for nowhere",
            relay=self.name,
            duration_us=_since_us(began_ns),
            handed_over=True,
        )

    async def close(self) -> None:
        """Nothing to end."""


def open_relay(
    url: RelayUrl,
    keep: Keep,
    limits: RelayLimits | None = None,
    *,
    client_name: str = "localhost",
) -> MailRelay:
    """Open the relay of the setting. Inside a running event loop."""
    if url.kind is RelayKind.CAPTURE:
        return CaptureRelay(keep, (limits or RelayLimits()).connections_max)
    return SmtpRelay(url, limits, client_name=client_name)


def _since_us(began_ns: int) -> int:
    return (time.perf_counter_ns() - began_ns) // 1000
