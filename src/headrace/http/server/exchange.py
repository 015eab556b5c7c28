"""One request and its response, and who handles it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from headrace.domain.errors import ApiError
from headrace.http.server.head import Head
from headrace.http.server.wire import (
    encode_empty_response,
    encode_json_response,
    error_body,
    error_headers,
)


class ClientConnection(Protocol):
    """What an exchange and its handler need of the connection."""

    transport: asyncio.Transport
    #: Address of the client.
    peer: str
    #: The client has closed its sending side.
    half_closed: bool
    #: Called once when the client is gone; set by streaming responses.
    on_lost: Callable[[], None] | None

    #: Writes the response of an exchange, after those of earlier requests.
    finish: Callable[[Exchange, bytes], None]
    #: Calls a function once all responses before that of an exchange are written.
    when_first: Callable[[Exchange, Callable[[], None]], None]

    async def writable(self) -> None:
        """Wait until the client has drained enough of what was written."""
        ...


class RequestHandler(Protocol):
    """Handles one request; chosen from its head."""

    #: Bytes of body as they come over the wire.
    body_bytes_max: int

    def run(self, exchange: Exchange, body: bytes) -> None:
        """Handle the whole request; the response follows now or later."""
        ...


class PendingHandler:
    """Handles a request that needs a store look-up first.

    Args:
        decide: returns the handler, or raises `ApiError` as `Dispatcher.plan` does.
        body_bytes_max: of the largest body that any of the handlers accepts.
    """

    __slots__ = ("body", "body_bytes_max", "decide")

    def __init__(
        self, decide: Callable[[], Awaitable[RequestHandler]], body_bytes_max: int
    ) -> None:
        self.decide = decide
        self.body_bytes_max = body_bytes_max
        self.body = b""

    def run(self, exchange: Exchange, body: bytes) -> None:
        """Keep the body until the handler is known."""
        del exchange
        self.body = body


class Dispatcher(Protocol):
    """Chooses the handler of a request."""

    def plan(self, head: Head, exchange: Exchange) -> RequestHandler:
        """Choose by a head; every response is sent with `exchange.headers`.

        Raises:
            ApiError: the request is rejected, its body unread.
        """
        ...

    def next_request_id(self) -> bytes:
        """A fresh id for `X-Request-Id`."""
        ...

    def count_rejection(self, error: ApiError, head: Head | None, request_id: bytes) -> None:
        """Called for every rejection made here, for counting."""
        ...


class Exchange:
    """One request and its response."""

    __slots__ = (
        "chunkable",
        "close",
        "connection",
        "encode_error",
        "head_only",
        "headers",
        "in_parts",
        "request_id",
        "response",
        "start",
    )

    def __init__(self, connection: ClientConnection, request_id: bytes) -> None:
        self.connection = connection
        self.request_id = request_id
        self.close = False
        self.head_only = False
        #: Sent with every response to this request, in addition to the response's own.
        self.headers: tuple[tuple[str, str], ...] = ()
        #: Whether the client supports chunks (HTTP/1.0 does not).
        self.chunkable = True
        #: Whether a part of the response was written already.
        self.in_parts = False
        self.response: bytes | None = None
        #: Called once all earlier responses are written, see `ClientConnection.when_first`.
        self.start: Callable[[], None] | None = None
        #: How errors look, where that is not as usual: their status and body. Left unset otherwise,
        #: so that it costs other requests nothing.
        self.encode_error: Callable[[ApiError], tuple[int, bytes]]

    def respond_json(
        self, status: int, body: bytes, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """Respond with JSON."""
        if self.headers:
            headers = (*self.headers, *headers)
        data = encode_json_response(
            status, body, self.request_id, close=self.close, headers=headers
        )
        if self.head_only:
            data = data[: data.index(b"\r\n\r\n") + 4]
        self.connection.finish(self, data)

    def respond_empty(self, status: int, headers: tuple[tuple[str, str], ...] = ()) -> None:
        """Respond without a body."""
        data = encode_empty_response(
            status, self.request_id, close=self.close, headers=(*self.headers, *headers)
        )
        self.connection.finish(self, data)

    def fail(self, error: ApiError) -> None:
        """Respond with an error."""
        encode = getattr(self, "encode_error", None)
        status, body = (error.status, error_body(error)) if encode is None else encode(error)
        self.respond_json(status, body, error_headers(error))
