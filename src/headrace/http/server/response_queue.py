"""Pending requests of one connection, and their responses in order."""

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
        """Called when there is room for a request again."""
        ...

    def all_written(self) -> None:
        """Called when all responses are written."""
        ...

    def close_after_response(self) -> None:
        """Called when the last response of the connection was written."""
        ...


class ResponseQueue:
    """Writes each response after those of earlier requests."""

    __slots__ = ("_owner", "_starting", "exchanges", "large_body_waits")

    def __init__(self, owner: ResponseOwner) -> None:
        self._owner = owner
        #: Requests read whose responses are not written yet, at most `PIPELINE_MAX`.
        self.exchanges: deque[Exchange] = deque()
        #: Set from a large body behind pending requests until a response is written.
        self.large_body_waits = False
        #: Set while `_write_finished` starts a response that waited for its turn.
        self._starting = False

    def finish(self, exchange: Exchange, data: bytes, /) -> None:
        """Write the response of `exchange`, after those of earlier requests."""
        exchanges, owner = self.exchanges, self._owner
        if owner.transport.is_closing():
            return
        if exchanges and exchanges[0] is exchange:
            exchanges.popleft()
            owner.transport.write(data)
            if exchange.close:
                owner.close_after_response()
            elif not exchanges:
                owner.all_written()
            elif not self._starting:
                self._write_finished()
        else:
            exchange.response = data

    def _write_finished(self) -> None:
        """Write the responses that are ready, and start the next one if it waited for its turn.

        A started one may finish at once. That calls `finish`, which leaves later responses to this
        loop.
        """
        exchanges, owner = self.exchanges, self._owner
        while exchanges:
            exchange = exchanges[0]
            if exchange.response is not None:
                exchanges.popleft()
                owner.transport.write(exchange.response)
                if exchange.close:
                    owner.close_after_response()
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
            owner.all_written()

    def when_first(self, exchange: Exchange, start: Callable[[], None]) -> None:
        """Call `start` once all earlier responses are written.

        Slow responses are produced one at a time, so that a client that pipelines hundreds of such
        requests uses no more resources than one that sends a single one.
        """
        if self.exchanges and self.exchanges[0] is exchange:
            start()
        else:
            exchange.start = start

    def close_with_last(self) -> None:
        """Close the connection after the last pending response."""
        for exchange in self.exchanges:
            exchange.close = exchange is self.exchanges[-1]
