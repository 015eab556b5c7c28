"""Chunked bodies: limits on what the parser does not report."""

from __future__ import annotations

from headrace.domain.errors import ApiError
from headrace.http.server.body import too_large
from headrace.http.server.head import malformed
from headrace.http.server.limits import UNCOUNTED_BYTES_MAX, headers_too_large

#: Stays negative whatever one segment adds.
_COUNTED = -(1 << 40)
#: Longest tail of a segment that can hold the size line of a chunk.
_TAIL_BYTES = 40
#: A size with more hexadecimal digits is invalid.
_DIGITS_MAX = 15


class ChunkGuard:
    """Watches the chunks of one body; the connection passes on what its parser reports."""

    __slots__ = ("_body_bytes", "_tail", "_uncounted_bytes")

    def __init__(self) -> None:
        #: Body of the current chunk; negative between chunks and once its size was checked.
        self._body_bytes = -1
        self._tail = b""
        # The segment in which the body begins may hold other requests before it.
        self._uncounted_bytes = _COUNTED

    def began(self) -> None:
        """The size line of a chunk was read."""
        self._body_bytes = 0
        self._uncounted_bytes = _COUNTED

    def ended(self) -> None:
        """The last byte of a chunk was read."""
        self._body_bytes = -1

    def received(self, count: int) -> None:
        """Count received bytes of body."""
        self._uncounted_bytes = _COUNTED
        if self._body_bytes >= 0:
            self._body_bytes += count

    def problem(self, data: bytes | memoryview, bytes_max: int) -> ApiError | None:
        """What is wrong after the segment `data`, while more of the body is to come.

        Bounds extensions and trailers between pieces of body. Also rejects a chunk that announces
        more than the limit at once, instead of waiting for it: the parser does not report the
        announced size, but how much of the chunk has arrived; counted back from the end of the
        data, that is where its size line is.
        """
        self._uncounted_bytes = max(0, self._uncounted_bytes + len(data))
        if self._uncounted_bytes > UNCOUNTED_BYTES_MAX:
            return headers_too_large()
        seen = self._tail + data
        self._tail = seen[-_TAIL_BYTES:]
        if self._body_bytes < 0 or self._body_bytes > len(seen):
            return None
        line_end = len(seen) - self._body_bytes - 2
        line = seen[seen.rfind(b"\r\n", 0, max(line_end, 0)) + 2 : line_end]
        digits = line.partition(b";")[0].strip()
        self._body_bytes = -1
        try:
            size = int(digits, 16)
        except ValueError:
            return None
        if len(digits) > _DIGITS_MAX:
            return malformed("A chunk size is too large.")
        return too_large(bytes_max) if size > bytes_max else None
