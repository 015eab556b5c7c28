"""Which bodies are accepted: their media type and content encoding."""

from __future__ import annotations

from starlette.requests import Request

from headrace.domain.errors import ApiError, ErrorCode
from headrace.http.routing.route import ANY, Route
from headrace.http.server.body import ENCODINGS, unpack
from headrace.http.server.head import Head, media_type


def check_media_type(head: Head, allowed: tuple[str, ...]) -> str:
    """The media type of the body.

    Raises:
        ApiError: 415 when it is not one of `allowed`, or not in UTF-8.
    """
    value = head.headers.get(b"content-type", b"")
    if value == b"application/json" and "application/json" in allowed:
        return "application/json"
    media = media_type(value)
    if ANY in allowed:
        return media.name
    if media.name not in allowed or media.charset not in ("utf-8", "utf8"):
        message = f"Send Content-Type: {' or '.join(allowed)} in UTF-8."
        raise ApiError(ErrorCode.UNSUPPORTED_MEDIA_TYPE, message)
    return media.name


def check_encoding(head: Head) -> str:
    """The content encoding of the body.

    Raises:
        ApiError: 415 for an unsupported one.
    """
    value = head.headers.get(b"content-encoding")
    if value is None:
        return "identity"
    encoding = value.decode("latin-1").strip().lower()
    # RFC 9110, 8.4.1.3: an alias.
    encoding = "gzip" if encoding == "x-gzip" else encoding
    if encoding not in ENCODINGS:
        message = f"Content-Encoding must be one of {', '.join(ENCODINGS)}, once."
        headers = (("Accept-Encoding", "gzip, zstd"),)
        raise ApiError(ErrorCode.UNSUPPORTED_MEDIA_TYPE, message, headers=headers)
    return encoding


async def read_body(request: Request) -> bytes:
    """The unpacked body of a request, in one of the media types of its route.

    Raises:
        ApiError: 415, 413, or 400 when it cannot be unpacked.
    """
    state = request.scope["state"]
    head: Head = state["head"]
    route: Route = state["route"]
    check_media_type(head, route.media)
    encoding = check_encoding(head)
    return unpack(await request.body(), encoding, route.limits.unpacked_bytes_max)
