"""Requests of one connection that wait for their answers, and the answers in their order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from headrace.http.server.exchange import Exchange


class ResponseOwner(Protocol):
    """What the queue needs of its connection."""

    transport: asyncio.Transport

    def resume_reading(self) -> None:
        """There is room for a request again."""
        ...

    def all_answered(self) -> None:
        """Everything asked is answered."""
        ...

    def close_after_answer(self) -> None:
        """The last answer of the connection was written."""
        ...


class ResponseQueue:
    """Writes each answer after those of the requests before it."""

    __slots__ = ("_owner", "_starting", "exchanges", "large_body_waits")

    def __init__(self, owner: ResponseOwner) -> None:
        self._owner = owner
        #: Requests read whose answers are not written yet, at most `PIPELINE_MAX`.
        self.exchanges: deque[Exchange] = deque()
        #: Set from a large body that came behind unanswered requests until an answer is written.
        self.large_body_waits = False
        #: Set while `_write_finished` starts an answer that waited for its turn.
        self._starting = False

    def finish(self, exchange: Exchange, data: bytes, /) -> None:
        """Write the answer of `exchange`, after those of the requests before it."""
        exchanges, owner = self.exchanges, self._owner
        if owner.transport.is_closing():
            return
        if exchanges and exchanges[0] is exchange:
            exchanges.popleft()
            owner.transport.write(data)
            if exchange.close:
                owner.close_after_answer()
            elif not exchanges:
                owner.all_answered()
            elif not self._starting:
                self._write_finished()
        else:
            exchange.answer = data

    def _write_finished(self) -> None:
        """Write the answers that are ready, and start the next one if it waited for its turn.

        What is started may be answered at once. That calls `finish`, which leaves what comes
        behind it to this loop.
        """
        exchanges, owner = self.exchanges, self._owner
        while exchanges:
            exchange = exchanges[0]
            if exchange.answer is not None:
                exchanges.popleft()
                owner.transport.write(exchange.answer)
                if exchange.close:
                    owner.close_after_answer()
                    return
            elif exchange.start is not None:
                start, exchange.start = exchange.start, None
                self._starting = True
                try:
                    start()
                finally:
                    self._starting = False
            else:
                break
        if exchanges:
            self.large_body_waits = False
            owner.resume_reading()
        else:
            owner.all_answered()

    def when_first(self, exchange: Exchange, start: Callable[[], None]) -> None:
        """Call `start` once all earlier answers are written.

        Answers that are long in the making are made one at a time, so that a client which sends
        hundreds of such requests at once occupies no more than one that sends a single one.
        """
        if self.exchanges and self.exchanges[0] is exchange:
            start()
        else:
            exchange.start = start

    def close_with_last(self) -> None:
        """Close the connection after the last answer that waits now, and not before."""
        for exchange in self.exchanges:
            exchange.close = exchange is self.exchanges[-1]
