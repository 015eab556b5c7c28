"""Parses an endpoint's response. Bytes in, facts out: no socket, no clock.

The status line decides the outcome of a delivery, so nothing after it may fail the attempt. What
cannot be read of the rest is recorded in a note. RFC 9112 is applied leniently: LF alone ends a
line, the reason phrase may be missing, invalid header lines are skipped.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from http import HTTPStatus

from headrace.delivery.excerpt import EXCERPT_BYTES_MAX, safe_excerpt
from headrace.domain.deliveries.attempt_requests import HEADERS_CHARACTERS_MAX, shown_value

_STATUS_LINE = re.compile(rb"HTTP/([0-9](?:\.[0-9])?)[ \t]+([0-9]{3})(?![0-9])", re.IGNORECASE)
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_NUMBER = re.compile(rb"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")
#: The only headers that matter for the rest of the response or for the next attempt.
_KEPT = frozenset(
    {
        *(b"content-length", b"transfer-encoding", b"content-encoding", b"retry-after"),
        b"connection",
    }
)
_VALUES_MAX = 8


class _Part(Enum):
    """The part that comes next; all but the body is read line by line."""

    STATUS_LINE = auto()
    HEADERS = auto()
    BODY = auto()
    CHUNK_SIZE = auto()
    CHUNK_END = auto()
    TRAILERS = auto()


class ResponseReader:
    """Reads one response, however its bytes are split.

    Args:
        head_bytes_max: status lines and headers, those of interim responses included.
        body_bytes_max: everything after the head, with chunk sizes, extensions and trailers.
        interim_max: 1xx responses before the final one.
    """

    def __init__(self, *, head_bytes_max: int, body_bytes_max: int, interim_max: int) -> None:
        #: Final status; None while there is none.
        self.status: int | None = None
        #: Why this is not an HTTP response; None while it may be one.
        self.failure: str | None = None
        #: Whether nothing more is to be read.
        self.finished = False
        self._body_bytes_max = body_bytes_max
        self._interim_left = interim_max
        self._part = _Part.STATUS_LINE
        #: Bytes that may still be read of this head or body.
        self._room = head_bytes_max
        self._line = bytearray()
        self._headers: dict[bytes, list[bytes]] = {}
        #: For display, up to a limit.
        self._shown: list[str] = []
        self._shown_room = HEADERS_CHARACTERS_MAX
        self._unreadable = 0
        #: Bytes left of the body or chunk; None: all until the end of the connection.
        self._left: int | None = None
        self._chunked = False
        self._excerpt = bytearray()
        self._notes: list[str] = []
        self._persistent = False
        self._excess = False
        self._any = False

    @property
    def begun(self) -> bool:
        """Whether anything of a response was read."""
        return self._any

    @property
    def keeps_open(self) -> bool:
        """Whether another request may follow on the connection: nothing of this one is unread."""
        return (
            self.finished
            and self._persistent
            and not (self._excess or self._notes or self._unreadable or self.failure)
            and b"close" not in self._values(b"connection")
        )

    @property
    def excerpt(self) -> str:
        """The beginning of the body, safe to show."""
        if not self._excerpt:
            return ""
        codings = [*self._values(b"content-encoding"), *self._values(b"transfer-encoding")]
        if any(coding not in {b"identity", b"chunked"} for coding in codings):
            return "(compressed although not asked for; not shown)"
        return safe_excerpt(bytes(self._excerpt))

    @property
    def excerpt_is_cut(self) -> bool:
        """Whether the body may be longer than the excerpt."""
        return len(self._excerpt) == EXCERPT_BYTES_MAX

    @property
    def header_lines(self) -> str:
        """The first headers, `name: value` a line, in ASCII and without secrets."""
        return "\n".join(self._shown)

    @property
    def note(self) -> str | None:
        """What could not be read of the response; None when everything was."""
        notes = list(self._notes)
        if self._unreadable:
            notes.insert(0, f"invalid header lines: {self._unreadable}")
        return "; ".join(notes) or None

    @property
    def retry_after(self) -> str | None:
        """The first `Retry-After` header."""
        values = self._headers.get(b"retry-after")
        return values[0].decode("latin-1") if values else None

    def feed(self, data: bytes) -> None:
        """Read more; bytes after the end are ignored."""
        place = 0
        self._any = True
        while place < len(data) and not self.finished:
            if self._part is _Part.BODY:
                place = self._take_body(data, place)
            else:
                place = self._take_line(data, place)
            if not self._room and not self.finished:
                self._too_long()
        self._excess |= place < len(data)

    def closed(self) -> None:
        """The endpoint closed the connection, which also ends a line."""
        if self._line and self._part is _Part.STATUS_LINE:
            self._end_line()
        if not self.finished and (self._part is not _Part.BODY or self._left is not None):
            self._note("the connection was closed before the response ended")
        self._persistent = False
        self.finished = True

    def cut(self, why: str) -> None:
        """End the response early, with the reason."""
        self._note(why)
        self.finished = True

    def _note(self, text: str) -> None:
        self._notes.append(text)

    def _fail(self, message: str) -> None:
        self.failure = message
        self.finished = True

    def _too_long(self) -> None:
        if self.status is None:
            self._fail("the response has no final status line, or too much data before it")
        elif self._part is _Part.HEADERS:
            self.cut("the response headers are too large")
        else:
            self.cut("the body is too large and was not read completely")

    def _take_line(self, data: bytes, place: int) -> int:
        """Read to the end of a line; returns where to continue."""
        after_line = data.find(b"\n", place) + 1
        end = min(after_line or len(data), place + self._room)
        self._line += data[place:end]
        self._room -= end - place
        if end == after_line:
            self._end_line()
        return end

    def _end_line(self) -> None:
        line = bytes(self._line).rstrip(b"\r\n")
        self._line.clear()
        if self._part is _Part.STATUS_LINE:
            self._read_status_line(line)
        elif self._part is _Part.HEADERS:
            self._read_header(line)
        elif self._part is _Part.CHUNK_SIZE:
            self._read_chunk_size(line)
        elif self._part is _Part.CHUNK_END:
            if line:
                self.cut("a chunk does not end where it should")
            self._part = _Part.CHUNK_SIZE
        elif not line:
            self.finished = True

    def _read_status_line(self, line: bytes) -> None:
        if not line:
            return
        match = _STATUS_LINE.match(line)
        if match is None:
            self._fail("the response is not HTTP")
            return
        self._part = _Part.HEADERS
        self._persistent = match[1] == b"1.1"
        status = int(match[2])
        if status // 100 != 1:
            self.status = status
        elif self._interim_left:
            self._interim_left -= 1
        else:
            self._fail("too many interim responses (1xx)")

    def _read_header(self, line: bytes) -> None:
        if not line:
            self._end_head()
            return
        if self.status is None:
            return
        name, colon, value = line.partition(b":")
        name = name.rstrip(b" \t").lower()
        if not colon or _NAME.fullmatch(name) is None or _CONTROL.search(value) is not None:
            # A folded line, too: it may continue a header that is not kept.
            self._unreadable += 1
            return
        value = value.strip(b" \t")
        self._show(name.decode(), value)
        if name in _KEPT:
            values = self._headers.setdefault(name, [])
            if len(values) < _VALUES_MAX:
                values.append(value)

    def _show(self, name: str, value: bytes) -> None:
        text = value.decode("ascii", "replace").replace("\t", " ")
        line = f"{name}: {shown_value(name, text)}"
        self._shown_room -= len(line) + 1
        if self._shown_room >= 0:
            self._shown.append(line)
        else:
            # What follows would look as if nothing were missing.
            self._shown_room = 0

    def _values(self, name: bytes) -> list[bytes]:
        """Elements of all headers of that name, in lower case."""
        found = b",".join(self._headers.get(name, ())).lower().split(b",")
        return [member for value in found if (member := value.strip(b" \t"))]

    def _end_head(self) -> None:
        if self.status is None:
            self._part = _Part.STATUS_LINE
            return
        self._room = self._body_bytes_max
        codings = self._values(b"transfer-encoding")
        lengths = self._headers.get(b"content-length")
        if self.status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
            if codings or any(length.strip(b"0") for length in lengths or ()):
                self._note("this status has no body, so the announced body was not read")
            self.finished = True
        elif codings and codings != [b"identity"]:
            self._begin_coded(codings)
        elif lengths is not None:
            self._begin_counted(lengths)
        else:
            self._part = _Part.BODY

    def _begin_coded(self, codings: list[bytes]) -> None:
        if codings[-1] != b"chunked" or b"chunked" in codings[:-1]:
            self.cut("Transfer-Encoding is invalid, so the body was not read")
            return
        self._chunked = True
        self._part = _Part.CHUNK_SIZE

    def _begin_counted(self, lengths: list[bytes]) -> None:
        members = {member.strip(b" \t") for length in lengths for member in length.split(b",")}
        length = members.pop()
        if members or _NUMBER.fullmatch(length) is None:
            self.cut("Content-Length is invalid, so the body was not read")
            return
        self._left = int(length)
        self._part = _Part.BODY
        self.finished = self._left == 0

    def _read_chunk_size(self, line: bytes) -> None:
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            self.cut("a chunk has an invalid size")
            return
        self._left = int(match[1], 16)
        self._part = _Part.BODY if self._left else _Part.TRAILERS

    def _take_body(self, data: bytes, place: int) -> int:
        """Read available bytes of the body or chunk; returns where to continue."""
        count = min(len(data) - place, self._room)
        if self._left is not None:
            count = min(count, self._left)
            self._left -= count
        wanted = min(count, EXCERPT_BYTES_MAX - len(self._excerpt))
        self._excerpt += data[place : place + wanted]
        self._room -= count
        if self._left == 0:
            self._part = _Part.CHUNK_END
            self.finished = not self._chunked
        return place + count
