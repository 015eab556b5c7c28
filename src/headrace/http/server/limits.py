"""Limits of size and time of a request, before it is interpreted."""

from __future__ import annotations

from headrace.domain.errors import ApiError, ErrorCode

HEADER_BYTES_MAX = 16 * 1024
HEADERS_MAX = 100
TARGET_BYTES_MAX = 8 * 1024
HEADER_SECONDS_MAX = 5.0
REQUEST_SECONDS_MAX = 10.0
#: An idle connection is closed after so long.
IDLE_SECONDS_MAX = 75.0
#: How long a rejected client may continue to send before the connection is cut.
LINGER_SECONDS_MAX = 1.0
#: Pending requests of one connection at which reading stops.
PIPELINE_MAX = 64
#: Length of the shortest request after which another may follow: method, path, version, empty Host.
REQUEST_BYTES_MIN = len(b"GET / HTTP/1.1\r\nHost:\r\n\r\n")
#: A body rejected unread is skipped up to this size; past it the connection is closed.
SKIPPED_BYTES_MAX = 64 * 1024
#: A peer that reads nothing of its response for so long is cut off.
UNREAD_SECONDS_MAX = 30.0
#: Bytes of a chunked body that may come between two pieces of data: extensions and trailers.
UNCOUNTED_BYTES_MAX = 16 * 1024


def headers_too_large() -> ApiError:
    """431 naming both limits."""
    message = f"The headers are larger than {HEADER_BYTES_MAX} bytes or more than {HEADERS_MAX}."
    return ApiError(ErrorCode.HEADERS_TOO_LARGE, message)
