"""A real SMTP server that counts accepted mails, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope

#: Reply after the final dot for the n-th mail, from 1; empty: it hangs up instead.
Answer = Callable[[int], str]


class MailSink:
    """Accepts every mail, unless `answer` returns another reply."""

    def __init__(self, answer: Answer | None = None) -> None:
        self._answer = answer or (lambda _: "250 2.0.0 Ok")
        self._lock = threading.Lock()
        self.mails: list[tuple[str, bytes]] = []
        #: Set once a mail was accepted.
        self.taken = threading.Event()
        self.port = 0

    async def handle_DATA(  # noqa: N802 - the name that aiosmtpd calls
        self, server: Any, _session: Any, envelope: Envelope
    ) -> str:
        """Accept one mail."""
        content = envelope.content
        assert isinstance(content, bytes)
        with self._lock:
            self.mails.append((envelope.rcpt_tos[0], content))
            number = len(self.mails)
        self.taken.set()
        answer = self._answer(number)
        if not answer:
            server.transport.abort()
        return answer

    @property
    def counts(self) -> Counter[str]:
        """Number of accepted mails by recipient."""
        with self._lock:
            return Counter(recipient for recipient, _ in self.mails)

    def parsed(self) -> list[Message]:
        """Accepted mails, in order."""
        with self._lock:
            return [message_from_bytes(content) for _, content in self.mails]


@contextmanager
def mail_sink(answer: Answer | None = None) -> Iterator[MailSink]:
    """Listen on loopback."""
    sink = MailSink(answer)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def listen() -> asyncio.Server:
        return await loop.create_server(
            lambda: SMTP(sink, loop=loop, hostname="sink.example"), "127.0.0.1", 0
        )

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
    sink.port = server.sockets[0].getsockname()[1]
    try:
        yield sink
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
