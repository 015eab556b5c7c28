"""Reads requests from the bytes of one connection: framing and limits.

The parser is llhttp (through httptools). It does not limit the size of a request; that is done
here, and the head is checked before anything of the body is read.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import httptools
import structlog

from headrace.domain.errors import ApiError, ErrorCode
from headrace.http.server.body import too_large
from headrace.http.server.chunks import ChunkGuard
from headrace.http.server.exchange import (
    ClientConnection,
    Dispatcher,
    Exchange,
    PendingHandler,
    RequestHandler,
)
from headrace.http.server.head import Head, malformed
from headrace.http.server.limits import (
    HEADER_BYTES_MAX,
    HEADERS_MAX,
    REQUEST_SECONDS_MAX,
    SKIPPED_BYTES_MAX,
    TARGET_BYTES_MAX,
    headers_too_large,
)
from headrace.http.server.response_queue import ResponseQueue
from headrace.observability.events import REQUEST_FAILED

#: Where in a request the reader is; in CLOSING, nothing more is read.
IDLE, HEAD, BODY, CLOSING = range(4)
_log = structlog.get_logger()


class _EndedError(Exception):
    """Data follows a request after which the connection closes; it is ignored."""


class ReaderOwner(ClientConnection, Protocol):
    """What the reader needs of its connection."""

    #: Deadline of the request; 0.0: to be set by `arm`.
    deadline: float
    #: Whether the next response is the last.
    draining: bool

    def arm(self) -> None:
        """Set the deadline of the next data."""
        ...

    def end_within(self, seconds: float) -> None:
        """Set the deadline of a connection that is being closed."""
        ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None:
        """Resume reading, unless too many requests or bytes are still pending."""
        ...

    def drop_unparsed(self) -> None:
        """Drop data that was read and not parsed."""
        ...


class RequestReader:
    """Passes each request that the parser finds to its handler.

    Args:
        dispatcher: chooses the handler of each request.
        responses: where requests wait for their responses.
    """

    __slots__ = (
        "_body",
        "_body_bytes",
        "_chunks",
        "_connection",
        "_dispatcher",
        "_exchange",
        "_exchanges",
        "_handler",
        "_head",
        "_head_bytes",
        "_head_raw_bytes",
        "_parser",
        "_responses",
        "body_left",
        "completed",
        "pending",
        "stage",
    )

    def __init__(
        self, connection: ReaderOwner, dispatcher: Dispatcher, responses: ResponseQueue
    ) -> None:
        self._connection = connection
        self._dispatcher = dispatcher
        self._responses = responses
        self._exchanges = responses.exchanges
        self._parser = httptools.HttpRequestParser(self)
        self.stage = IDLE
        #: Requests that were read completely.
        self.completed = 0
        #: Bytes of a body of known length that are still to come.
        self.body_left = 0
        #: Pending decisions about requests; while there are any, reading is paused.
        self.pending: set[asyncio.Task[None]] = set()
        self._head = Head()
        self._head_bytes = 0
        #: Bytes received since the head began, until it is complete.
        self._head_raw_bytes = 0
        #: Set while a chunked body comes.
        self._chunks: ChunkGuard | None = None
        self._handler: RequestHandler | None = None
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._exchange: Exchange | None = None

    def parse(self, data: bytes | memoryview) -> None:
        """Parse a part of what was read."""
        completed = self.completed
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_without_upgrade(memoryview(data)[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._parser_failed(error)
        stage = self.stage
        if stage == HEAD and completed == self.completed:
            self._head_grew(len(data))
        elif stage == BODY and self._chunks is not None:
            limit = SKIPPED_BYTES_MAX if self._handler is None else self._handler.body_bytes_max
            problem = self._chunks.problem(data, limit)
            if problem is not None:
                self.reject(problem)
        if stage in (HEAD, BODY) and self._connection.deadline == 0.0:
            self._connection.arm()

    def _head_grew(self, count: int) -> None:
        # The parser does not report an unfinished header, so raw bytes bound it.
        self._head_raw_bytes += count
        if self._head_raw_bytes > HEADER_BYTES_MAX:
            self.reject(
                headers_too_large()
                if self._head.headers or len(self._head.target) < TARGET_BYTES_MAX
                else ApiError(ErrorCode.URI_TOO_LONG, "The target is too long.")
            )

    def _go_on_without_upgrade(self, rest: memoryview) -> None:
        """Handle upgrade requests as if they had not asked, as RFC 9110 7.8 allows.

        The parser stops behind the head of each. That head is parsed again without it, then
        `rest`, what follows it, up to the next such head.
        """
        # In the head, unless it was CONNECT that stopped the parser: the last of its connection.
        while self.stage == HEAD:
            head, self._head = self._head, Head()
            again = head.without_upgrade(self._parser.get_http_version())
            self._parser = httptools.HttpRequestParser(self)
            self.stage = IDLE
            try:
                self._parser.feed_data(again)
                self._parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
            except httptools.HttpParserError as error:
                self._parser_failed(error)
                return

    def _parser_failed(self, error: httptools.HttpParserError) -> None:
        if not isinstance(error, httptools.HttpParserCallbackError):
            # What follows the last request is ignored; what belongs to it must be valid.
            if self.stage == IDLE and self._exchanges and self._exchanges[-1].close:
                self._connection.drop_unparsed()
            else:
                self.reject(malformed("The request is not valid HTTP/1.1."))
            return
        cause = error.__context__
        if isinstance(cause, ApiError):
            self.reject(cause)
        elif isinstance(cause, _EndedError):
            self._connection.drop_unparsed()
        else:
            _log.error(REQUEST_FAILED, error=type(cause).__name__, exc_info=cause)
            self.reject(ApiError(ErrorCode.INTERNAL, "Something went wrong on our side."))

    # --- the parser's callbacks ---

    def on_message_begin(self) -> None:
        if self.stage == CLOSING or (self._exchanges and self._exchanges[-1].close):
            raise _EndedError
        self.stage = HEAD
        self._connection.deadline = 0.0
        self._head = Head()
        self._head_bytes = 0
        self._head_raw_bytes = 0
        self._chunks = None

    def on_url(self, url: bytes) -> None:
        head = self._head
        head.target += url
        if len(head.target) > TARGET_BYTES_MAX:
            raise ApiError(
                ErrorCode.URI_TOO_LONG, f"The target is longer than {TARGET_BYTES_MAX} bytes."
            )

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + 4
        head = self._head
        if self.stage != HEAD:
            # A trailer comes after all decisions from the head; it may change nothing.
            if self._head_bytes > HEADER_BYTES_MAX:
                raise headers_too_large()
            return
        if self._head_bytes > HEADER_BYTES_MAX or len(head.headers) >= HEADERS_MAX:
            raise headers_too_large()
        head.add(name, value)

    def on_headers_complete(self) -> None:
        parser, connection = self._parser, self._connection
        head = self._head
        if b"upgrade" in head.headers and parser.should_upgrade():
            head.complete(parser.get_method(), parser.get_http_version())
            return
        self.stage = BODY
        connection.deadline = 0.0
        request_id = self._dispatcher.next_request_id()
        exchange = self._exchange = Exchange(connection, request_id)
        method = parser.get_method()
        version = parser.get_http_version()
        exchange.close = (
            connection.draining
            or version != "1.1"
            or method == b"CONNECT"
            or not parser.should_keep_alive()
        )
        exchange.head_only = method == b"HEAD"
        exchange.chunkable = version == "1.1"
        self._exchanges.append(exchange)
        self._body.clear()
        self._body_bytes = 0
        head.complete(method, version)
        length = head.content_length
        if length is None:
            self._chunks = ChunkGuard()
        self.body_left = length or 0
        self._admit(head, exchange, length)

    def _admit(self, head: Head, exchange: Exchange, length: int | None) -> None:
        """Have the head checked; a rejected request gets its response here, its body skipped.

        Args:
            length: of the body, None when it comes in chunks.
        """
        try:
            handler = self._dispatcher.plan(head, exchange)
            if length is not None and length > handler.body_bytes_max:
                raise too_large(handler.body_bytes_max)
        except ApiError as error:
            self._dispatcher.count_rejection(error, head, exchange.request_id)
            self._handler = None
            if length is None or length > SKIPPED_BYTES_MAX:
                exchange.close = True
            exchange.fail(error)
            return
        self._handler = handler
        if isinstance(handler, PendingHandler):
            self._decide_later(handler, head, exchange, length)
        else:
            self._invite_body(head, exchange)

    def _invite_body(self, head: Head, exchange: Exchange) -> None:
        """Send 100 Continue to a client that waits for it."""
        # Behind pending requests it would be taken for a part of their responses.
        if (
            b"expect" in head.headers
            and head.headers[b"expect"].lower() == b"100-continue"
            and exchange.chunkable
            and self._exchanges[0] is exchange
        ):
            self._connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _decide_later(
        self, pending: PendingHandler, head: Head, exchange: Exchange, length: int | None
    ) -> None:
        """Wait for a decision. Data sent meanwhile stays in the socket buffer, not in memory."""

        async def decide() -> None:
            try:
                decided: RequestHandler | ApiError = await pending.decide()
            except ApiError as error:
                decided = error
            except Exception as error:  # noqa: BLE001 - logged; the connection must not wait for ever
                _log.error(REQUEST_FAILED, error=type(error).__name__, exc_info=error)
                decided = ApiError(ErrorCode.INTERNAL, "Something went wrong on our side.")
            self.pending.discard(task)
            waits = exchange in self._exchanges and exchange.response is None
            if waits and not self._connection.transport.is_closing():
                self._decided(pending, decided, head, exchange, length)
            self._connection.resume_reading()

        task = asyncio.get_running_loop().create_task(decide())
        self.pending.add(task)
        self._connection.pause_reading()

    def _decided(
        self,
        pending: PendingHandler,
        decided: RequestHandler | ApiError,
        head: Head,
        exchange: Exchange,
        length: int | None,
    ) -> None:
        receives = self._exchange is exchange
        received_bytes = self._body_bytes if receives else len(pending.body)
        if not isinstance(decided, ApiError) and (
            max(length or 0, received_bytes) > decided.body_bytes_max
        ):
            decided = too_large(decided.body_bytes_max)
        if isinstance(decided, ApiError):
            self._dispatcher.count_rejection(decided, head, exchange.request_id)
            if receives:
                self._handler = None
                self._body.clear()
                if length is None or length > SKIPPED_BYTES_MAX:
                    exchange.close = True
            exchange.fail(decided)
        elif receives:
            self._handler = decided
            self._invite_body(head, exchange)
        else:
            decided.run(exchange, pending.body)

    def on_chunk_header(self) -> None:
        if self._chunks is not None:
            self._chunks.began()

    def on_chunk_complete(self) -> None:
        if self._chunks is not None:
            self._chunks.ended()

    def on_body(self, body: bytes) -> None:
        if self._chunks is None:
            self.body_left -= len(body)
        else:
            self._chunks.received(len(body))
        handler = self._handler
        if handler is None:
            return
        self._body_bytes += len(body)
        if self._body_bytes > handler.body_bytes_max:
            self._handler = None
            raise too_large(handler.body_bytes_max)
        self._body.append(body)

    def on_message_complete(self) -> None:
        # Still in the head: an upgrade was asked for, see `_go_on_without_upgrade`.
        if self.stage in (CLOSING, HEAD):
            return
        self.stage = IDLE
        self.completed += 1
        handler, exchange = self._handler, self._exchange
        self._handler = self._exchange = None
        if handler is None or exchange is None:
            return
        chunks = self._body
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        if len(body) > SKIPPED_BYTES_MAX and len(self._exchanges) > 1:
            self._responses.large_body_waits = True
            self._connection.pause_reading()
        handler.run(exchange, body)

    def reject(self, error: ApiError) -> None:
        """Respond to a request that cannot be parsed further, and close."""
        if self.stage == CLOSING:
            return
        exchange = self._exchange
        if self.stage == BODY and exchange is not None and self._handler is None:
            responded = exchange.response is not None or exchange not in self._exchanges
            if responded:
                self._stop_reading()
                return
        if exchange is None or exchange not in self._exchanges:
            exchange = Exchange(self._connection, self._dispatcher.next_request_id())
            self._exchanges.append(exchange)
        self._dispatcher.count_rejection(error, self._head, exchange.request_id)
        self._handler = None
        exchange.close = True
        self.stage = CLOSING
        self._connection.end_within(REQUEST_SECONDS_MAX)
        exchange.fail(error)

    def _stop_reading(self) -> None:
        """The body of a rejected request is malformed; its response stays."""
        self.stage = CLOSING
        self._connection.end_within(REQUEST_SECONDS_MAX)
        if self._exchanges:
            self._exchanges[-1].close = True
        else:
            self._connection.transport.close()
