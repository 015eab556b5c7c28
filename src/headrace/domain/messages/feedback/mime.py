"""Splits a mail into parts within fixed limits, whatever the mail contains.

Header fields, parameters and encodings are read by the standard library. Its parser of whole mails
is not used: it recurses once per nested part, and its time grows with the square of the parameters
of a header field, so a hostile mail could stop the process.
"""

from __future__ import annotations

import binascii
import codecs
import email.utils
import re
from dataclasses import dataclass
from email.errors import MessageError
from email.header import decode_header
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32

#: Bytes of a mail that are read. A report precedes the mail that it returns.
BYTES_MAX = 1024 * 1024
#: Bytes of one header block, and characters of one value.
HEADER_BYTES_MAX = 64 * 1024
VALUE_CHARACTERS_MAX = 2000
#: Values of one header field that are read.
VALUES_MAX = 20
#: Parts of a mail including those that contain others, and how deep they may be nested.
PARTS_MAX = 100
DEPTH_MAX = 6
#: Bytes of a part that are decoded.
TEXT_BYTES_MAX = 64 * 1024

_BOUNDARY_CHARACTERS_MAX = 200
_CHARSET_CHARACTERS_MAX = 40
#: Codecs of `charset` that are used. Others (punycode, escapes) are slow or not for mail.
_CHARSETS = re.compile(
    r"utf-8|ascii|iso8859-\d{1,2}|cp125\d|koi8-[ru]|mac-roman|gb2312|gbk|gb18030|big5"
    r"|shift_jis|cp932|euc_jp|euc_kr|cp949|iso2022_jp|utf-16(?:-[lb]e)?|utf-7"
)
_LINE_END = re.compile(rb"\r\n?")
_FOLD = re.compile(r"[\r\n]+[ \t]*|[\r\n\x00]+")
_TAG = re.compile(r"<[^<>]*>")


class Headers:
    """Header fields of a block, by name in lower case."""

    def __init__(self, block: bytes) -> None:
        parsed = BytesParser(policy=compat32).parsebytes(
            block[:HEADER_BYTES_MAX] + b"\n\n", headersonly=True
        )
        self._values: dict[str, list[str]] = {}
        for name, value in parsed.raw_items():
            values = self._values.setdefault(name.lower(), [])
            if len(values) < VALUES_MAX:
                values.append(_readable(str(value)))

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def first(self, *names: str) -> str:
        """The first value of the first of these fields that exists; empty without one."""
        return next((self._values[name][0] for name in names if name in self._values), "")

    def all(self, *names: str) -> list[str]:
        """All values of these fields, in the order of the names."""
        return [value for name in names for value in self._values.get(name, ())]

    def text(self, name: str) -> str:
        """The first value of a field with its encoded words (RFC 2047) decoded."""
        value = self.first(name)
        try:
            pieces = decode_header(value)
        except (MessageError, LookupError, ValueError):
            return value
        return "".join(
            piece if isinstance(piece, str) else decoded(piece, charset or "ascii")
            for piece, charset in pieces
        )


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a mail that contains no others."""

    headers: Headers
    #: Such as `text/plain`, lower case.
    type: str
    #: With line ends as LF, still encoded.
    raw: bytes

    @property
    def content(self) -> bytes:
        """The start of the part, with its transfer encoding removed."""
        start = self.raw[:TEXT_BYTES_MAX]
        encoding = self.headers.first("content-transfer-encoding").strip().lower()
        if encoding == "quoted-printable":
            return binascii.a2b_qp(start)
        return _from_base64(start) if encoding == "base64" else start

    @property
    def text(self) -> str:
        """The start of the part as text; markup is removed from HTML."""
        content = decoded(self.content, _parameter(self.headers, "charset"))
        return _TAG.sub(" ", content) if self.type == "text/html" else content


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail in parts, in the order of the mail."""

    headers: Headers
    parts: tuple[Part, ...]

    def first(self, *types: str) -> Part | None:
        """The first part of one of these types."""
        return next((part for part in self.parts if part.type in types), None)


def read_mail(raw: bytes) -> Mail:
    """Split a mail. Never raises; what is over a limit is left out."""
    headers, body = split_headers(_LINE_END.sub(b"\n", raw[:BYTES_MAX]))
    parts: list[Part] = []
    waiting = [(headers, body, 0)]
    seen = 0
    while waiting and seen < PARTS_MAX:
        seen += 1
        of_part, content, depth = waiting.pop()
        kind = _content_type(of_part)
        boundary = _parameter(of_part, "boundary") if kind.startswith("multipart/") else ""
        if not 0 < len(boundary) <= _BOUNDARY_CHARACTERS_MAX:
            parts.append(Part(of_part, kind, content))
        elif depth < DEPTH_MAX:
            inner = [(*split_headers(piece), depth + 1) for piece in _pieces(content, boundary)]
            waiting.extend(reversed(inner))
    return Mail(headers, tuple(parts))


def split_headers(content: bytes) -> tuple[Headers, bytes]:
    """Header fields and body of a mail or part with LF line ends."""
    if content.startswith(b"\n"):
        return Headers(b""), content[1:]
    block, _, body = content.partition(b"\n\n")
    return Headers(block), body


def decoded(content: bytes, charset: str) -> str:
    """Text of bytes in the charset that a mail names; UTF-8 where that is none."""
    name = "utf-8"
    if 0 < len(charset) <= _CHARSET_CHARACTERS_MAX:
        try:
            found = codecs.lookup(charset).name
        except (LookupError, ValueError):
            found = ""
        if _CHARSETS.fullmatch(found):
            name = found
    try:
        return content.decode(name, "replace").replace("\x00", "")
    except ValueError:
        return content.decode("utf-8", "replace").replace("\x00", "")


def _pieces(body: bytes, boundary: str) -> list[bytes]:
    mark = re.escape(boundary.encode("utf-8", "surrogateescape"))
    pieces: list[bytes] = []
    start: int | None = None
    for match in re.finditer(rb"(?m)^--" + mark + rb"(--)?[ \t]*$\n?", body):
        if start is not None:
            pieces.append(body[start : match.start()].removesuffix(b"\n"))
        start = None if match[1] else match.end()
        if match[1] or len(pieces) >= PARTS_MAX:
            return pieces
    # A mail that was cut has no closing mark.
    return pieces if start is None else [*pieces, body[start:]]


def _content_type(headers: Headers) -> str:
    return _typed(headers).get_content_type()


def _parameter(headers: Headers, name: str) -> str:
    try:
        value = _typed(headers).get_param(name, "")
        return email.utils.collapse_rfc2231_value(value) if value else ""
    except (LookupError, TypeError, ValueError):
        return ""


def _typed(headers: Headers) -> Message:
    message = Message(policy=compat32)
    message["Content-Type"] = headers.first("content-type") or "text/plain"
    return message


def _readable(value: str) -> str:
    start = value[: VALUE_CHARACTERS_MAX * 2].encode("utf-8", "surrogateescape")
    return _FOLD.sub(" ", start.decode("utf-8", "replace")).strip()[:VALUE_CHARACTERS_MAX]


def _from_base64(content: bytes) -> bytes:
    letters = re.sub(rb"[^A-Za-z0-9+/]+", b"", content)
    # The part may be cut anywhere; a single letter at the end has too few bits for a byte.
    whole = letters[:-1] if len(letters) % 4 == 1 else letters
    return binascii.a2b_base64(whole + b"=" * (-len(whole) % 4))
