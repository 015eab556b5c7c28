"""One client connection: framing, limits, deadlines, and answers in the order of the requests.

The parser is llhttp (through httptools). What it leaves open is decided here: how large and how
slow a request may be, and that nothing of a body is looked at before the head was judged.
Measured against a framework or another server in front, this is the difference between the disk
and the interpreter being the limit (docs/decisions/0001-own-http-edge.md).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import httptools
import structlog

from headrace.domain.errors import ApiError, ErrorCode
from headrace.http.server.body import too_large
from headrace.http.server.chunks import ChunkGuard
from headrace.http.server.exchange import Dispatcher, Exchange, PendingHandler, RequestHandler
from headrace.http.server.head import Head, malformed
from headrace.http.server.limits import (
    HEADER_BYTES_MAX,
    HEADER_SECONDS_MAX,
    HEADERS_MAX,
    IDLE_SECONDS_MAX,
    LINGER_SECONDS_MAX,
    PIPELINE_MAX,
    REQUEST_BYTES_MIN,
    REQUEST_SECONDS_MAX,
    SKIPPED_BYTES_MAX,
    TARGET_BYTES_MAX,
    UNREAD_SECONDS_MAX,
    headers_too_large,
)
from headrace.observability.events import REQUEST_FAILED

_IDLE, _HEAD, _BODY, _CLOSING = range(4)
_log = structlog.get_logger()


class _EndedError(Exception):
    """More was sent behind a request after which the connection closes; it is nobody's."""


class Connection(asyncio.Protocol):
    """Protocol of one socket.

    Args:
        planner: decides about each request.
        connections: the server's set of open connections, which this one joins.
    """

    __slots__ = (
        "_body",
        "_body_bytes",
        "_body_left",
        "_chunks",
        "_clock",
        "_completed",
        "_connections",
        "_exchange",
        "_exchanges",
        "_head",
        "_head_bytes",
        "_head_raw_bytes",
        "_large_body_waits",
        "_parsed_bytes",
        "_parser",
        "_parsing_scheduled",
        "_paused",
        "_pending",
        "_plan",
        "_planner",
        "_stage",
        "_starting",
        "_unparsed",
        "_unsent_bytes",
        "_writable",
        "deadline",
        "draining",
        "half_closed",
        "on_lost",
        "peer",
        "transport",
    )

    def __init__(
        self, planner: Dispatcher, connections: set[Connection], clock: Callable[[], float]
    ) -> None:
        self._planner = planner
        self._connections = connections
        self._clock = clock
        self._parser = httptools.HttpRequestParser(self)
        self._stage = _IDLE
        self._head = Head()
        self._head_bytes = 0
        #: Bytes received since the head began, as long as it is not complete.
        self._head_raw_bytes = 0
        #: Set while a chunked body comes.
        self._chunks: ChunkGuard | None = None
        self._completed = 0
        self._plan: RequestHandler | None = None
        self._body: list[bytes] = []
        self._body_bytes = 0
        #: Bytes of a body of known length that are still to come.
        self._body_left = 0
        self._exchange: Exchange | None = None
        #: Requests read whose answers are not written yet, at most `PIPELINE_MAX`.
        self._exchanges: deque[Exchange] = deque()
        #: The last data read, as long as requests in it wait for room; while they do, reading is
        #: paused. Its first `_parsed_bytes` have been parsed.
        self._unparsed = b""
        self._parsed_bytes = 0
        #: Whether the loop has been asked to parse more of it.
        self._parsing_scheduled = False
        #: Set while `_write_finished` starts an answer that waited for its turn.
        self._starting = False
        #: Set from a large body that came behind unanswered requests until an answer is written.
        self._large_body_waits = False
        self._paused = False
        #: Decisions about requests that are waited for; while there are any, nothing more is read.
        self._pending: set[asyncio.Task[None]] = set()
        self._writable: asyncio.Event | None = None
        #: What waited to be sent when that was last looked at.
        self._unsent_bytes = 0
        #: Moment (of `clock`) at which the server calls `on_deadline`.
        self.deadline = clock() + IDLE_SECONDS_MAX
        #: Set at shutdown: what is under way is answered, then the connection closes.
        self.draining = False
        #: The peer sends nothing more.
        self.half_closed = False
        #: Called once when the peer is gone; set by whoever streams an answer.
        self.on_lost: Callable[[], None] | None = None
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.peer = ""

    # --- the socket ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self._connections.add(self)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else ""

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._connections.discard(self)
        self._stage = _CLOSING
        if self._writable is not None:
            self._writable.set()
        if self.on_lost is not None:
            self.on_lost()

    def pause_writing(self) -> None:
        # Whoever does not take answers may not ask for more of them either.
        self._writable = asyncio.Event()
        self._unsent_bytes = self.transport.get_write_buffer_size()
        self.deadline = self._clock() + UNREAD_SECONDS_MAX
        self._pause_reading()

    def resume_writing(self) -> None:
        if self._writable is not None:
            self._writable.set()
            self._writable = None
        if self._stage != _CLOSING:
            self._resume_reading()

    def _pause_reading(self) -> None:
        if not self._paused and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()

    def _has_room(self) -> bool:
        """Whether the client takes its answers, and few requests and bytes wait for theirs."""
        return (
            self._writable is None
            and not self._pending
            and not self._large_body_waits
            and len(self._exchanges) < PIPELINE_MAX
        )

    def _resume_reading(self) -> None:
        """Read on, unless too many requests or bytes still wait.

        What was read already is parsed first, and not by this call: an answer that is written
        while requests are parsed would otherwise parse the next one inside the one before it.
        """
        if not self._paused or not self._has_room() or self.transport.is_closing():
            return
        # The time in which nothing was read is not the client's.
        self._arm()
        if not self._unparsed:
            self._paused = False
            self.transport.resume_reading()
        elif not self._parsing_scheduled:
            self._parsing_scheduled = True
            asyncio.get_running_loop().call_soon(self._parse_more)

    def _arm(self) -> None:
        if self._stage == _HEAD:
            self.deadline = self._clock() + HEADER_SECONDS_MAX
        elif self._stage == _BODY:
            self.deadline = self._clock() + REQUEST_SECONDS_MAX
        else:
            self.deadline = 0.0 if self._exchanges else self._clock() + IDLE_SECONDS_MAX

    async def writable(self) -> None:
        """Wait until the peer has taken enough of what was written to it."""
        if self._writable is not None:
            await self._writable.wait()

    def data_received(self, data: bytes) -> None:
        if self._stage == _CLOSING:
            return
        fitting = self._body_left + REQUEST_BYTES_MIN * (PIPELINE_MAX - len(self._exchanges))
        # A line of a head ends with CR: where none comes, there is no further request. That is how
        # one with a body of JSON is known at once.
        if len(data) <= fitting or data.find(b"\r", fitting - 1) < 0:
            self._parse(data)
            if len(self._exchanges) >= PIPELINE_MAX:
                self._pause_reading()
        else:
            self._unparsed = data
            self._parsed_bytes = 0
            self._parse_some()

    def _parse_some(self) -> None:
        """Parse as much of the last read as there is room for, and at most `PIPELINE_MAX` requests.

        It is parsed in parts, each too short for more requests than may wait: what is left of a
        body, then as many bytes as the shortest requests have.
        """
        # A view, because to copy what is left for every part would be quadratic.
        data = memoryview(self._unparsed)
        completed_max = self._completed + PIPELINE_MAX
        for _ in range(PIPELINE_MAX):
            room = min(PIPELINE_MAX - len(self._exchanges), completed_max - self._completed)
            if not self._unparsed or room <= 0 or not self._has_room():
                break
            start = self._parsed_bytes
            end = self._parsed_bytes = start + self._body_left + REQUEST_BYTES_MIN * room
            if end >= len(data):
                self._unparsed = b""
            self._parse(data[start:end])
            if self._stage == _CLOSING:
                self._unparsed = b""
        if self._unparsed or len(self._exchanges) >= PIPELINE_MAX:
            self._pause_reading()
        self._resume_reading()

    def _parse_more(self) -> None:
        """Called by the loop, so that other connections have had their turn."""
        self._parsing_scheduled = False
        if self._stage == _CLOSING or self.transport.is_closing():
            self._unparsed = b""
        elif self._has_room():
            self._parse_some()

    def _parse(self, data: bytes | memoryview) -> None:
        completed = self._completed
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_without_upgrade(memoryview(data)[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._parser_failed(error)
        stage = self._stage
        if stage == _HEAD and completed == self._completed:
            self._head_grew(len(data))
        elif stage == _BODY and self._chunks is not None:
            limit = SKIPPED_BYTES_MAX if self._plan is None else self._plan.body_bytes_max
            problem = self._chunks.problem(data, limit)
            if problem is not None:
                self._refuse(problem)
        if stage in (_HEAD, _BODY) and self.deadline == 0.0:
            self._arm()

    def _go_on_without_upgrade(self, rest: memoryview) -> None:
        """Answer requests that ask for an upgrade as if they had not, as RFC 9110 7.8 allows.

        The parser stops behind the head of each. That head is parsed again without the wish, then
        `rest`, what follows it, up to the next such head.
        """
        # In the head, unless it was CONNECT that stopped the parser: the last of its connection.
        while self._stage == _HEAD:
            head, self._head = self._head, Head()
            again = head.without_upgrade(self._parser.get_http_version())
            self._parser = httptools.HttpRequestParser(self)
            self._stage = _IDLE
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
            # What follows a last request is nobody's; what belongs to it has to be right.
            if self._stage == _IDLE and self._exchanges and self._exchanges[-1].close:
                self._unparsed = b""
            else:
                self._refuse(malformed("The request is not valid HTTP/1.1."))
            return
        cause = error.__context__
        if isinstance(cause, ApiError):
            self._refuse(cause)
        elif isinstance(cause, _EndedError):
            self._unparsed = b""
        else:
            _log.error(REQUEST_FAILED, error=type(cause).__name__, exc_info=cause)
            self._refuse(ApiError(ErrorCode.INTERNAL, "Something went wrong on our side."))

    def on_deadline(self) -> None:
        """The server's clock passed `deadline`."""
        if self._writable is not None:
            unsent_bytes = self.transport.get_write_buffer_size()
            if unsent_bytes >= self._unsent_bytes:
                self.transport.abort()
            self._unsent_bytes = unsent_bytes
            self.deadline = self._clock() + UNREAD_SECONDS_MAX
        elif self._paused:
            self.deadline = 0.0
        elif self._stage in (_HEAD, _BODY):
            what = "headers" if self._stage == _HEAD else "body"
            self._refuse(
                ApiError(ErrorCode.REQUEST_TIMEOUT, f"The {what} took too long to arrive.")
            )
        elif self._stage == _CLOSING:
            self.transport.abort()
        elif not self._exchanges:
            if self.transport.get_write_buffer_size():
                self.transport.abort()
            self.transport.close()

    # --- the parser's callbacks ---

    def on_message_begin(self) -> None:
        if self._stage == _CLOSING or (self._exchanges and self._exchanges[-1].close):
            raise _EndedError
        self._stage = _HEAD
        self.deadline = 0.0
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
        if self._stage != _HEAD:
            # A trailer came after everything was decided from the head; it may change nothing.
            if self._head_bytes > HEADER_BYTES_MAX:
                raise headers_too_large()
            return
        if self._head_bytes > HEADER_BYTES_MAX or len(head.headers) >= HEADERS_MAX:
            raise headers_too_large()
        head.add(name, value)

    def on_headers_complete(self) -> None:
        parser = self._parser
        head = self._head
        if b"upgrade" in head.headers and parser.should_upgrade():
            head.complete(parser.get_method(), parser.get_http_version())
            return
        self._stage = _BODY
        self.deadline = 0.0
        request_id = self._planner.next_request_id()
        exchange = self._exchange = Exchange(self, request_id)
        method = parser.get_method()
        version = parser.get_http_version()
        exchange.close = (
            self.draining
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
        self._body_left = length or 0
        self._admit(head, exchange, length)

    def _admit(self, head: Head, exchange: Exchange, length: int | None) -> None:
        """Have the head judged; a refused request is answered here, its body skipped.

        Args:
            length: of the body, None when it comes in chunks.
        """
        try:
            plan = self._planner.plan(head, exchange)
            if length is not None and length > plan.body_bytes_max:
                raise too_large(plan.body_bytes_max)
        except ApiError as error:
            self._planner.refused(error, head, exchange.request_id)
            self._plan = None
            if length is None or length > SKIPPED_BYTES_MAX:
                exchange.close = True
            exchange.fail(error)
            return
        self._plan = plan
        if isinstance(plan, PendingHandler):
            self._decide_later(plan, head, exchange, length)
        else:
            self._invite_body(head, exchange)

    def _invite_body(self, head: Head, exchange: Exchange) -> None:
        """Send 100 Continue to a client that waits for it."""
        # Behind unanswered requests it would be taken for a part of their answers.
        if (
            b"expect" in head.headers
            and head.headers[b"expect"].lower() == b"100-continue"
            and exchange.chunkable
            and self._exchanges[0] is exchange
        ):
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _decide_later(
        self, pending: PendingHandler, head: Head, exchange: Exchange, length: int | None
    ) -> None:
        """Wait for a decision. What is sent meanwhile stays with the system, not in memory."""

        async def decide() -> None:
            try:
                decided: RequestHandler | ApiError = await pending.decide()
            except ApiError as error:
                decided = error
            except Exception as error:  # noqa: BLE001 - logged; the connection must not wait for ever
                _log.error(REQUEST_FAILED, error=type(error).__name__, exc_info=error)
                decided = ApiError(ErrorCode.INTERNAL, "Something went wrong on our side.")
            self._pending.discard(task)
            waits = exchange in self._exchanges and exchange.answer is None
            if waits and not self.transport.is_closing():
                self._decided(pending, decided, head, exchange, length)
            self._resume_reading()

        task = asyncio.get_running_loop().create_task(decide())
        self._pending.add(task)
        self._pause_reading()

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
            self._planner.refused(decided, head, exchange.request_id)
            if receives:
                self._plan = None
                self._body.clear()
                if length is None or length > SKIPPED_BYTES_MAX:
                    exchange.close = True
            exchange.fail(decided)
        elif receives:
            self._plan = decided
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
            self._body_left -= len(body)
        else:
            self._chunks.received(len(body))
        plan = self._plan
        if plan is None:
            return
        self._body_bytes += len(body)
        if self._body_bytes > plan.body_bytes_max:
            self._plan = None
            raise too_large(plan.body_bytes_max)
        self._body.append(body)

    def on_message_complete(self) -> None:
        # Still in the head: an upgrade was asked for, see `_go_on_without_upgrade`.
        if self._stage in (_CLOSING, _HEAD):
            return
        self._stage = _IDLE
        self._completed += 1
        plan, exchange = self._plan, self._exchange
        self._plan = self._exchange = None
        if plan is None or exchange is None:
            return
        chunks = self._body
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        if len(body) > SKIPPED_BYTES_MAX and len(self._exchanges) > 1:
            self._large_body_waits = True
            self._pause_reading()
        plan.run(exchange, body)

    # --- answers ---

    def finish(self, exchange: Exchange, data: bytes) -> None:
        """Write the answer of `exchange`, after those of the requests before it."""
        exchanges = self._exchanges
        if self.transport.is_closing():
            return
        if exchanges and exchanges[0] is exchange:
            exchanges.popleft()
            self.transport.write(data)
            if exchange.close:
                self._close_after_answer()
            elif not exchanges:
                self._rest()
            elif not self._starting:
                self._write_finished()
        else:
            exchange.answer = data

    def _write_finished(self) -> None:
        """Write the answers that are ready, and start the next one if it waited for its turn.

        What is started may be answered at once. That calls `finish`, which leaves what comes
        behind it to this loop.
        """
        exchanges = self._exchanges
        while exchanges:
            exchange = exchanges[0]
            if exchange.answer is not None:
                exchanges.popleft()
                self.transport.write(exchange.answer)
                if exchange.close:
                    self._close_after_answer()
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
            self._large_body_waits = False
            self._resume_reading()
        else:
            self._rest()

    def _rest(self) -> None:
        """Everything asked is answered; of the next request a part may be here already."""
        if self._paused:
            self._large_body_waits = False
            self._resume_reading()
        if self._stage != _IDLE:
            return
        if self.draining:
            self.transport.close()
        elif self._writable is None:
            self.deadline = self._clock() + IDLE_SECONDS_MAX

    def when_first(self, exchange: Exchange, start: Callable[[], None]) -> None:
        """Call `start` once all earlier answers are written.

        Answers that are long in the making are made one at a time, so that a client which sends
        hundreds of such requests at once occupies no more than one that sends a single one.
        """
        if self._exchanges and self._exchanges[0] is exchange:
            start()
        else:
            exchange.start = start

    def drain(self) -> None:
        """Close as soon as everything read so far is answered."""
        self.draining = True
        if not self._exchanges and not self._unparsed and self._stage in (_IDLE, _HEAD):
            self.transport.close()
        for exchange in self._exchanges:
            exchange.close = exchange is self._exchanges[-1]

    def _refuse(self, error: ApiError) -> None:
        """Answer a request that cannot be read on, and close."""
        if self._stage == _CLOSING:
            return
        exchange = self._exchange
        if self._stage == _BODY and exchange is not None and self._plan is None:
            answered = exchange.answer is not None or exchange not in self._exchanges
            if answered:
                self._stop_reading()
                return
        if exchange is None or exchange not in self._exchanges:
            exchange = Exchange(self, self._planner.next_request_id())
            self._exchanges.append(exchange)
        self._planner.refused(error, self._head, exchange.request_id)
        self._plan = None
        exchange.close = True
        self._stage = _CLOSING
        self.deadline = self._clock() + REQUEST_SECONDS_MAX
        exchange.fail(error)

    def _stop_reading(self) -> None:
        """The body of a request that was refused is not as it should be; its answer stands."""
        self._stage = _CLOSING
        self.deadline = self._clock() + REQUEST_SECONDS_MAX
        if self._exchanges:
            self._exchanges[-1].close = True
        else:
            self.transport.close()

    def _close_after_answer(self) -> None:
        """Close so that the answer arrives: a client that still sends would get a reset instead."""
        done = self._stage == _IDLE and not self._paused
        self._stage = _CLOSING
        self._exchanges.clear()
        self._unparsed = b""
        if done or not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write_eof()
        self.deadline = self._clock() + LINGER_SECONDS_MAX
        if self._paused:
            # What the client still sends is read and dropped, see above.
            self._paused = False
            self.transport.resume_reading()

    def eof_received(self) -> bool:
        # A half-closed peer may still read: it gets what it asked for, then we close.
        if self._stage in (_HEAD, _BODY):
            self._refuse(malformed("The request ends in the middle."))
            return True
        # Whoever leaves a stream without end says no more than this.
        if not self._exchanges or self._exchanges[0].in_parts:
            return False
        self.half_closed = True
        for exchange in self._exchanges:
            exchange.close = exchange is self._exchanges[-1]
        return True

    def _head_grew(self, count: int) -> None:
        # The parser keeps an unfinished header to itself, so raw bytes are what bounds it.
        self._head_raw_bytes += count
        if self._head_raw_bytes > HEADER_BYTES_MAX:
            self._refuse(
                headers_too_large()
                if self._head.headers or len(self._head.target) < TARGET_BYTES_MAX
                else ApiError(ErrorCode.URI_TOO_LONG, "The target is too long.")
            )
