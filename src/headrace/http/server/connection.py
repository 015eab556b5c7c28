"""One client connection: its socket, its deadlines and its backpressure.

`RequestReader` reads the requests and `ResponseQueue` writes the responses in their order. Without
a framework or another server in front, the disk is the limit and not the interpreter, as measured
in docs/decisions/0001-own-http-edge.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from headrace.domain.errors import ApiError, ErrorCode
from headrace.http.server.exchange import Dispatcher
from headrace.http.server.head import malformed
from headrace.http.server.limits import (
    HEADER_SECONDS_MAX,
    IDLE_SECONDS_MAX,
    LINGER_SECONDS_MAX,
    PIPELINE_MAX,
    REQUEST_BYTES_MIN,
    REQUEST_SECONDS_MAX,
    UNREAD_SECONDS_MAX,
)
from headrace.http.server.request_reader import BODY, CLOSING, HEAD, IDLE, RequestReader
from headrace.http.server.response_queue import ResponseQueue


class Connection(asyncio.Protocol):
    """Protocol of one socket.

    Args:
        dispatcher: chooses the handler of each request.
        connections: the server's set of open connections; this one adds itself.
    """

    __slots__ = (
        "_clock",
        "_connections",
        "_exchanges",
        "_parsed_bytes",
        "_parsing_scheduled",
        "_paused",
        "_reader",
        "_responses",
        "_unparsed",
        "_unsent_bytes",
        "_writable",
        "deadline",
        "draining",
        "finish",
        "half_closed",
        "on_lost",
        "peer",
        "transport",
        "when_first",
    )

    def __init__(
        self, dispatcher: Dispatcher, connections: set[Connection], clock: Callable[[], float]
    ) -> None:
        self._connections = connections
        self._clock = clock
        self._responses = ResponseQueue(self)
        self._exchanges = self._responses.exchanges
        self._reader = RequestReader(self, dispatcher, self._responses)
        # Attributes instead of methods save one call per response.
        self.finish = self._responses.finish
        self.when_first = self._responses.when_first
        #: The last data read, as long as requests in it wait for room; while they do, reading is
        #: paused. Its first `_parsed_bytes` have been parsed.
        self._unparsed = b""
        self._parsed_bytes = 0
        #: Whether parsing more of it is scheduled on the loop.
        self._parsing_scheduled = False
        self._paused = False
        self._writable: asyncio.Event | None = None
        #: Unsent bytes at the last check.
        self._unsent_bytes = 0
        #: Moment (of `clock`) at which the server calls `on_deadline`.
        self.deadline = clock() + IDLE_SECONDS_MAX
        #: Set at shutdown: requests in progress are finished, then the connection closes.
        self.draining = False
        #: The peer has closed its sending side.
        self.half_closed = False
        #: Called once when the peer is gone; set by streaming responses.
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
        self._reader.stage = CLOSING
        if self._writable is not None:
            self._writable.set()
        if self.on_lost is not None:
            self.on_lost()

    def pause_writing(self) -> None:
        # Backpressure: stop reading from a client that does not drain its responses.
        self._writable = asyncio.Event()
        self._unsent_bytes = self.transport.get_write_buffer_size()
        self.deadline = self._clock() + UNREAD_SECONDS_MAX
        self.pause_reading()

    def resume_writing(self) -> None:
        if self._writable is not None:
            self._writable.set()
            self._writable = None
        if self._reader.stage != CLOSING:
            self.resume_reading()

    def pause_reading(self) -> None:
        if not self._paused and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()

    def _has_room(self) -> bool:
        """Whether the client drains its responses, and few requests and bytes are pending."""
        return (
            self._writable is None
            and not self._reader.pending
            and not self._responses.large_body_waits
            and len(self._exchanges) < PIPELINE_MAX
        )

    def resume_reading(self) -> None:
        """Resume reading, unless too many requests or bytes are still pending.

        Data already read is parsed first, and not by this call: a response that is written while
        requests are parsed would otherwise parse the next request recursively.
        """
        if not self._paused or not self._has_room() or self.transport.is_closing():
            return
        # The client is not charged for the time in which reading was paused.
        self.arm()
        if not self._unparsed:
            self._paused = False
            self.transport.resume_reading()
        elif not self._parsing_scheduled:
            self._parsing_scheduled = True
            asyncio.get_running_loop().call_soon(self._parse_more)

    def arm(self) -> None:
        if self._reader.stage == HEAD:
            self.deadline = self._clock() + HEADER_SECONDS_MAX
        elif self._reader.stage == BODY:
            self.deadline = self._clock() + REQUEST_SECONDS_MAX
        else:
            self.deadline = 0.0 if self._exchanges else self._clock() + IDLE_SECONDS_MAX

    async def writable(self) -> None:
        """Wait until the peer has drained enough of what was written."""
        if self._writable is not None:
            await self._writable.wait()

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        if reader.stage == CLOSING:
            return
        fitting = reader.body_left + REQUEST_BYTES_MIN * (PIPELINE_MAX - len(self._exchanges))
        # A line of a head ends with CR: without one there is no further request. This detects a
        # single request with a JSON body at once.
        if len(data) <= fitting or data.find(b"\r", fitting - 1) < 0:
            reader.parse(data)
            if len(self._exchanges) >= PIPELINE_MAX:
                self.pause_reading()
        else:
            self._unparsed = data
            self._parsed_bytes = 0
            self._parse_some()

    def _parse_some(self) -> None:
        """Parse as much of the last read as there is room for, and at most `PIPELINE_MAX` requests.

        It is parsed in parts, each too short for more requests than may be pending: the rest of a
        body, then as many bytes as the shortest requests have.
        """
        reader = self._reader
        # A view, because copying the rest for every part would be quadratic.
        data = memoryview(self._unparsed)
        completed_max = reader.completed + PIPELINE_MAX
        for _ in range(PIPELINE_MAX):
            room = min(PIPELINE_MAX - len(self._exchanges), completed_max - reader.completed)
            if not self._unparsed or room <= 0 or not self._has_room():
                break
            start = self._parsed_bytes
            end = self._parsed_bytes = start + reader.body_left + REQUEST_BYTES_MIN * room
            if end >= len(data):
                self._unparsed = b""
            reader.parse(data[start:end])
            if reader.stage == CLOSING:
                self._unparsed = b""
        if self._unparsed or len(self._exchanges) >= PIPELINE_MAX:
            self.pause_reading()
        self.resume_reading()

    def _parse_more(self) -> None:
        """Called by the loop, so that other connections get their turn."""
        self._parsing_scheduled = False
        if self._reader.stage == CLOSING or self.transport.is_closing():
            self._unparsed = b""
        elif self._has_room():
            self._parse_some()

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
        elif self._reader.stage in (HEAD, BODY):
            what = "headers" if self._reader.stage == HEAD else "body"
            self._reader.reject(
                ApiError(ErrorCode.REQUEST_TIMEOUT, f"The {what} took too long to arrive.")
            )
        elif self._reader.stage == CLOSING:
            self.transport.abort()
        elif not self._exchanges:
            if self.transport.get_write_buffer_size():
                self.transport.abort()
            self.transport.close()

    # --- called by the reader and the response queue ---

    def end_within(self, seconds: float) -> None:
        """Set the deadline of a connection that is being closed."""
        self.deadline = self._clock() + seconds

    def drop_unparsed(self) -> None:
        """Drop data that was read and not parsed."""
        self._unparsed = b""

    def all_written(self) -> None:
        """All responses are written; part of the next request may have arrived."""
        if self._paused:
            self._responses.large_body_waits = False
            self.resume_reading()
        if self._reader.stage != IDLE:
            return
        if self.draining:
            self.transport.close()
        elif self._writable is None:
            self.deadline = self._clock() + IDLE_SECONDS_MAX

    def close_after_response(self) -> None:
        """Close so that the response arrives: a client still sending would get a reset instead."""
        done = self._reader.stage == IDLE and not self._paused
        self._reader.stage = CLOSING
        self._exchanges.clear()
        self._unparsed = b""
        if done or not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write_eof()
        self.deadline = self._clock() + LINGER_SECONDS_MAX
        if self._paused:
            # Read and drop what the client still sends, see above.
            self._paused = False
            self.transport.resume_reading()

    # --- its end ---

    def drain(self) -> None:
        """Close once everything read so far has its response."""
        self.draining = True
        if not self._exchanges and not self._unparsed and self._reader.stage in (IDLE, HEAD):
            self.transport.close()
        self._responses.close_with_last()

    def eof_received(self) -> bool:
        # A half-closed peer may still read: it gets its responses, then the connection closes.
        if self._reader.stage in (HEAD, BODY):
            self._reader.reject(malformed("The request ends in the middle."))
            return True
        # A client that leaves an endless stream signals no more than this.
        if not self._exchanges or self._exchanges[0].in_parts:
            return False
        self.half_closed = True
        self._responses.close_with_last()
        return True
