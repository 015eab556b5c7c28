"""One request and its answer, and who decides what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from headrace.domain.errors import ApiError
from headrace.http.server.head import Head
from headrace.http.server.wire import empty_answer, error_body, error_headers, json_answer


class ClientConnection(Protocol):
    """What an exchange, and whoever answers it, needs of the connection it came over."""

    transport: asyncio.Transport
    #: Address of the client.
    peer: str
    #: The client sends nothing more.
    half_closed: bool
    #: Called once when the client is gone; set by whoever streams an answer.
    on_lost: Callable[[], None] | None

    #: Writes the answer of an exchange, after those of the requests before it.
    finish: Callable[[Exchange, bytes], None]
    #: Calls a function once all answers before that of an exchange are written.
    when_first: Callable[[Exchange, Callable[[], None]], None]

    async def writable(self) -> None:
        """Wait until the client has taken enough of what was written to it."""
        ...


class RequestHandler(Protocol):
    """How one request is dealt with, decided from its head."""

    #: Bytes of body as they come over the wire.
    body_bytes_max: int

    def run(self, exchange: Exchange, body: bytes) -> None:
        """Deal with the whole request; the exchange is answered now or later."""
        ...


class PendingHandler:
    """The plan of a request about which the store has to be asked first.

    Args:
        decide: gives the plan, or raises `ApiError` as `Dispatcher.plan` does.
        body_bytes_max: of the largest body that any plan takes.
    """

    __slots__ = ("body", "body_bytes_max", "decide")

    def __init__(
        self, decide: Callable[[], Awaitable[RequestHandler]], body_bytes_max: int
    ) -> None:
        self.decide = decide
        self.body_bytes_max = body_bytes_max
        self.body = b""

    def run(self, exchange: Exchange, body: bytes) -> None:
        """Keep the body until it is decided what becomes of it."""
        del exchange
        self.body = body


class Dispatcher(Protocol):
    """Decides what happens to a request."""

    def plan(self, head: Head, exchange: Exchange) -> RequestHandler:
        """Judge a head; whatever the answer will be, `exchange.headers` are sent with it.

        Raises:
            ApiError: the request is refused, its body unread.
        """
        ...

    def next_request_id(self) -> bytes:
        """A fresh id for `X-Request-Id`."""
        ...

    def refused(self, error: ApiError, head: Head | None, request_id: bytes) -> None:
        """Told of every refusal made here, for counting."""
        ...


class Exchange:
    """One request and its answer."""

    __slots__ = (
        "answer",
        "chunkable",
        "close",
        "connection",
        "head_only",
        "headers",
        "in_parts",
        "request_id",
        "start",
    )

    def __init__(self, connection: ClientConnection, request_id: bytes) -> None:
        self.connection = connection
        self.request_id = request_id
        self.close = False
        self.head_only = False
        #: Sent with every answer to this request, beside those of the answer itself.
        self.headers: tuple[tuple[str, str], ...] = ()
        #: Whether the client knows chunks (HTTP/1.0 does not).
        self.chunkable = True
        #: Whether a part of the answer was written already.
        self.in_parts = False
        self.answer: bytes | None = None
        #: Called once all earlier answers are written, see `ClientConnection.when_first`.
        self.start: Callable[[], None] | None = None

    def respond_json(
        self, status: int, body: bytes, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """Answer with JSON."""
        if self.headers:
            headers = (*self.headers, *headers)
        data = json_answer(status, body, self.request_id, close=self.close, headers=headers)
        if self.head_only:
            data = data[: data.index(b"\r\n\r\n") + 4]
        self.connection.finish(self, data)

    def respond_empty(self, status: int, headers: tuple[tuple[str, str], ...] = ()) -> None:
        """Answer without a body."""
        data = empty_answer(
            status, self.request_id, close=self.close, headers=(*self.headers, *headers)
        )
        self.connection.finish(self, data)

    def fail(self, error: ApiError) -> None:
        """Answer with a failure."""
        self.respond_json(error.status, error_body(error), error_headers(error))
