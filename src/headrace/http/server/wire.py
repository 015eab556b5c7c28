"""Bytes of HTTP/1.1 responses, prepared in advance where possible."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus

import msgspec

from headrace.domain.errors import ApiError

JSON_TYPE = "application/json"

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_encode = msgspec.json.encode

#: Sent with every response: no content sniffing, no caching.
_FIXED = b"x-content-type-options: nosniff\r\ncache-control: no-store\r\n"


class Clock:
    """The `Date` header, formatted once a second instead of once per response."""

    def __init__(self) -> None:
        self.line = b""
        self.tick()

    def tick(self) -> None:
        """Format it again."""
        self.line = f"date: {formatdate(usegmt=True)}\r\n".encode()


CLOCK = Clock()


def status_line(status: int) -> bytes:
    """First line of a response."""
    return _STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n".encode()


_JSON_HEADS = {
    status: status_line(status) + _FIXED + b"content-type: application/json\r\n"
    for status in _STATUS_LINES
}


def encode_json_response(
    status: int,
    body: bytes,
    request_id: bytes,
    *,
    close: bool = False,
    headers: tuple[tuple[str, str], ...] = (),
) -> bytes:
    """A complete response with a JSON body."""
    extra = header_lines(headers) if headers else b""
    if close:
        extra += b"connection: close\r\n"
    return b"%b%bcontent-length: %d\r\nx-request-id: %b\r\n%b\r\n%b" % (
        _JSON_HEADS[status],
        CLOCK.line,
        len(body),
        request_id,
        extra,
        body,
    )


def encode_empty_response(
    status: int,
    request_id: bytes,
    *,
    close: bool = False,
    headers: tuple[tuple[str, str], ...] = (),
) -> bytes:
    """A complete response without a body."""
    end = b"connection: close\r\n" if close else b""
    lines = header_lines(headers) + b"x-request-id: %b\r\n" % request_id
    return b"%b%b%b%b%b\r\n" % (status_line(status), _FIXED, CLOCK.line, lines, end)


def header_lines(headers: tuple[tuple[str, str], ...]) -> bytes:
    """Headers as bytes."""
    return "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")


def error_headers(error: ApiError) -> tuple[tuple[str, str], ...]:
    """Headers that belong to an error."""
    headers = error.headers
    if error.retry_after_s is not None:
        headers = (*headers, ("Retry-After", str(error.retry_after_s)))
    if error.status == 401 and all(name != "WWW-Authenticate" for name, _ in headers):
        headers = (*headers, ("WWW-Authenticate", "Bearer"))
    return headers


class ErrorText(msgspec.Struct, omit_defaults=True):
    """`error` of an error response."""

    code: str
    message: str
    details: list[dict[str, str]] = []


class ErrorBody(msgspec.Struct):
    """Body of every error response."""

    status: int
    error: ErrorText


def error_object(error: ApiError) -> ErrorBody:
    """The body of an error as an object, for batches."""
    details = [{"field": problem.field, "message": problem.message} for problem in error.details]
    return ErrorBody(error.status, ErrorText(error.code.value, error.message, details))


def error_body(error: ApiError) -> bytes:
    """The body of an error."""
    return _encode(error_object(error))


def data_body(value: object) -> bytes:
    """`{"data": value}`."""
    return b'{"data":%b}' % _encode(value)
