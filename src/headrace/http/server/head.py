"""The head of a request: what is known before its body is read."""

from __future__ import annotations

import functools
import ipaddress
import re
from urllib.parse import unquote

import msgspec

from headrace.domain.errors import ApiError, ErrorCode

#: Headers that must not be repeated: it would be ambiguous which one counts.
_SINGLE = frozenset(
    {
        b"authorization",
        b"content-length",
        b"content-type",
        b"content-encoding",
        b"host",
        b"idempotency-key",
        b"transfer-encoding",
    }
)
#: A name in the DNS has 253 characters, a colon and a port six.
_AUTHORITY_BYTES_MAX = 259
_PORT_MAX = 65_535
_AUTHORITY = re.compile(
    rb"(?:\[(?P<ipv6>[0-9A-Fa-f:.]{2,45})(?:%25[A-Za-z0-9._~-]+)?\]"
    rb"|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*+)"
    rb"(?::(?P<port>[0-9]{0,5}))?"
)
#: In `http://host/path`, what comes before the path, query or fragment.
_BEFORE_PATH = re.compile(rb"[^/?#]*")


def malformed(message: str) -> ApiError:
    """400 that is not about JSON."""
    return ApiError(ErrorCode.MALFORMED_REQUEST, message)


class Head:
    """Method, target and headers of one request; headers by lower-case name."""

    __slots__ = ("duplicate", "headers", "method", "path", "query_string", "shown_path", "target")

    def __init__(self) -> None:
        self.method = b""
        self.target = b""
        self.path = b""
        self.query_string = b""
        #: The path as it may be stored: without a credential in it.
        self.shown_path = b""
        self.headers: dict[bytes, bytes] = {}
        self.duplicate: bytes | None = None

    def add(self, name: bytes, value: bytes) -> None:
        """Add a header as it was parsed; repeated ones are joined or rejected later."""
        name = name.lower()
        headers = self.headers
        if name not in headers:
            headers[name] = value
        elif name in _SINGLE:
            self.duplicate = name
        else:
            headers[name] = headers[name] + b", " + value

    def complete(self, method: bytes, version: str) -> None:
        """Check what the parser does not.

        Raises:
            ApiError: 400.
        """
        self.method = method
        if version not in ("1.1", "1.0"):
            message = "This server speaks HTTP/1.1 and 1.0."
            raise malformed(message)
        target = self.target
        if not target.startswith(b"/"):
            target = _origin_form(target)
        self.path, _, self.query_string = target.partition(b"?")
        self.shown_path = self.path
        if self.duplicate is not None:
            message = f"The header {self.duplicate.decode()} occurs twice."
            raise malformed(message)
        headers = self.headers
        host = headers.get(b"host")
        if host is None:
            if version == "1.1":
                message = "The header Host is missing."
                raise malformed(message)
        elif len(host) > _AUTHORITY_BYTES_MAX or not is_authority(host):
            message = "The Host header is not a valid host or host:port."
            raise malformed(message)
        if b"transfer-encoding" in headers:
            if b"content-length" in headers:
                message = "Content-Length and Transfer-Encoding cannot be combined."
                raise malformed(message)
            if headers[b"transfer-encoding"].strip().lower() != b"chunked":
                message = "The only transfer encoding supported is chunked."
                raise malformed(message)

    def without_upgrade(self, version: str) -> bytes:
        """The head in bytes, without the request to upgrade.

        Args:
            version: of HTTP, which decides whether the connection is kept.
        """
        options = self.headers.pop(b"connection", b"").lower().split(b",")
        del self.headers[b"upgrade"]
        lines = [b"%b: %b\r\n" % header for header in self.headers.items()]
        if b"close" in [option.strip() for option in options]:
            lines.append(b"connection: close\r\n")
        first_line = b"%b %b HTTP/%b\r\n" % (self.method, self.target, version.encode())
        return b"%b%b\r\n" % (first_line, b"".join(lines))

    @property
    def content_length(self) -> int | None:
        """Declared size of the body; 0 without one, None when it is chunked."""
        if b"transfer-encoding" in self.headers:
            return None
        return int(self.headers.get(b"content-length", b"0"))

    @property
    def bearer(self) -> bytes:
        """Text of the bearer key, empty when there is none."""
        value = self.headers.get(b"authorization", b"")
        scheme, _, key = value.partition(b" ")
        return key if scheme.lower() == b"bearer" else b""


def _origin_form(target: bytes) -> bytes:
    # `GET http://host/path` is legal for a server, too; its host is not needed.
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        message = "The request target must be a path."
        raise malformed(message)
    authority = _BEFORE_PATH.match(rest)[0]  # type: ignore[index]  # it matches nothing, too
    if not 0 < len(authority) <= _AUTHORITY_BYTES_MAX or not is_authority(authority):
        message = "The request target has no valid host or host:port."
        raise malformed(message)
    path = rest[len(authority) :]
    return path if path.startswith(b"/") else b"/" + path


# Called for every request, with the same few values.
@functools.lru_cache(maxsize=256)
def is_authority(text: bytes) -> bool:
    """Whether it is `host[:port]` as in RFC 3986, 3.2; an empty host is allowed, a user is not."""
    found = _AUTHORITY.fullmatch(text)
    if found is None or int(found["port"] or 0) > _PORT_MAX:
        return False
    if found["ipv6"] is None:
        return True
    try:
        ipaddress.IPv6Address(found["ipv6"].decode())
    except ValueError:
        return False
    return True


def decode_path(path: bytes) -> str:
    """The path as text; bytes that are no UTF-8 become replacement characters, matching nothing."""
    return unquote(path.decode("latin-1"), encoding="utf-8", errors="replace")


class MediaType(msgspec.Struct, frozen=True):
    """A parsed Content-Type."""

    name: str
    charset: str


def media_type(value: bytes) -> MediaType:
    """Parse a Content-Type header; an absent one gives an empty name."""
    name, *parameters = value.decode("latin-1").split(";")
    charset = "utf-8"
    for parameter in parameters:
        key, _, text = parameter.partition("=")
        if key.strip().lower() == "charset":
            charset = text.strip().strip('"').lower()
    return MediaType(name.strip().lower(), charset)
