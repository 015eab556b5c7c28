"""Writes headers and parts of a mail: ASCII, short lines, CRLF line ends.

The standard library's writer is not used: it turns a long `List-Unsubscribe` into encoded words,
which no mail program reads as an address, it decodes encoded words in callers' input (which may
produce line breaks), and it is ten times slower. Nothing here decodes anything.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

#: RFC 5322 2.1.1: recommended length of a line, without its end.
LINE_CHARACTERS = 78
#: Of an encoded word, RFC 2047 2; the rest of its 75 is `=?utf-8?b?…?=`.
_WORD_BYTES = 45
#: A longer run without a space is encoded, so that no line comes near 998 characters.
_RUN_CHARACTERS_MAX = 500

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*")
_PLAIN_FILE_NAME = re.compile(r"[A-Za-z0-9 !#$&+,.;=@^_`{}~()\[\]-]{1,60}")


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a mail: its own headers, and its encoded body."""

    headers: tuple[str, ...]
    body: bytes


def text_header(name: str, value: str) -> str:
    """A header with human-readable text, encoded where it is not plain ASCII."""
    if needs_encoding(value):
        return f"{name}: {encoded_words(value)}"
    return plain_header(name, value)


def plain_header(name: str, value: str) -> str:
    """A header with a machine-readable value, folded only at spaces.

    Raises:
        ValueError: the value holds a line break or another control character.
    """
    if _UNSAFE.search(value) or _UNSAFE.search(name):
        raise ValueError("a header must not hold control characters")
    lines: list[str] = []
    line = f"{name}:"
    for word in value.split(" "):
        # A line of only white space would end the headers for some programs.
        if len(line) + 1 + len(word) > LINE_CHARACTERS and line.strip() and word:
            lines.append(line)
            line = f" {word}"
        else:
            line = f"{line} {word}"
    return "\r\n".join((*lines, line))


def needs_encoding(value: str) -> bool:
    """Whether a text has to be encoded."""
    return (
        not value.isascii()
        or "=?" in value
        or max(map(len, value.split(" "))) > _RUN_CHARACTERS_MAX
    )


def encoded_words(value: str) -> str:
    """A text as encoded words (RFC 2047), one a line, split between characters.

    Raises:
        ValueError: the value holds a line break or another control character.
    """
    if _UNSAFE.search(value):
        raise ValueError("a header must not hold control characters")
    return "\r\n ".join(
        f"=?utf-8?b?{base64.b64encode(piece).decode()}?=" for piece in _pieces(value)
    )


def mailbox(name: str, address: str) -> str:
    """An address with its display name."""
    if not name:
        return address
    if needs_encoding(name):
        return f"{encoded_words(name)} <{address}>"
    if _ATOMS.fullmatch(name) and name == name.strip():
        return f"{name} <{address}>"
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" <{address}>'


def address_header(name: str, mailboxes: Sequence[str]) -> str:
    """A header with addresses, one a line.

    Raises:
        ValueError: an address holds a control character.
    """
    if any(_UNSAFE.search(one.replace("\r\n ", " ")) for one in mailboxes):
        raise ValueError("a header must not hold control characters")
    return f"{name}: " + ",\r\n ".join(mailboxes)


def text_part(subtype: str, text: str) -> Part:
    """A part of text in UTF-8.

    Never 8bit, which a relay may have to convert, breaking a signature, and never 7bit, whose long
    lines are cut.
    """
    lines = re.sub(r"\r\n?|\n", "\r\n", text)
    data = (lines if lines.endswith("\r\n") else lines + "\r\n").encode(errors="replace")
    kind = f"Content-Type: text/{subtype}; charset=utf-8"
    # Each byte past ASCII takes three characters as quoted-printable, and 4/3 as base64.
    if (len(data) - len(lines)) * 4 > len(data):
        return Part((kind, "Content-Transfer-Encoding: base64"), _base64(data))
    # The encoder adopts the kind of the first line end.
    quoted = binascii.b2a_qp(data, istext=True)
    return Part((kind, "Content-Transfer-Encoding: quoted-printable"), quoted)


def file_part(media_type: str, name: str, data: bytes) -> Part:
    """An attachment."""
    return Part(
        (
            f"Content-Type: {media_type}",
            f"Content-Disposition: attachment;{_file_name(name)}",
            "Content-Transfer-Encoding: base64",
        ),
        _base64(data),
    )


def multipart(subtype: str, parts: Sequence[Part], boundary: str) -> Part:
    """Several parts as one.

    The boundary begins with `=_`, which no encoded body can contain.
    """
    mark = f"=_{boundary}"
    pieces = [b"--%s\r\n%s" % (mark.encode(), part_bytes(part)) for part in parts]
    body = b"\r\n".join((*pieces, b"--%s--\r\n" % mark.encode()))
    return Part((f'Content-Type: multipart/{subtype};\r\n boundary="{mark}"',), body)


def part_bytes(part: Part) -> bytes:
    """Headers of a part, an empty line, its body."""
    return "\r\n".join(part.headers).encode() + b"\r\n\r\n" + part.body


def _pieces(value: str) -> Iterator[bytes]:
    piece = b""
    for character in value:
        added = character.encode()
        if len(piece) + len(added) > _WORD_BYTES:
            yield piece
            piece = b""
        piece += added
    yield piece


def _base64(data: bytes) -> bytes:
    return base64.encodebytes(data).replace(b"\n", b"\r\n")


def _file_name(name: str) -> str:
    if _PLAIN_FILE_NAME.fullmatch(name):
        return f'\r\n filename="{name}"'
    # RFC 2231: percent-encoded and continued, so that lines stay short.
    encoded = quote(name.encode(errors="replace"), safe="")
    cuts = [encoded[at : at + 60] for at in range(0, len(encoded), 60)]
    rows = (
        f"\r\n filename*{number}*={'' if number else chr(39).join(('utf-8', '', ''))}{cut}"
        for number, cut in enumerate(cuts)
    )
    return ";".join(rows)
