"""Lines of a file, each with its own idempotency key."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import msgspec

from headrace.domain.ids import UUID_TEXT

#: The largest payload a project can allow is 1 MiB; a longer line is no event.
LINE_BYTES_MAX = 2 * 1024 * 1024
#: Bytes of a file that make its fingerprint together with its size.
FINGERPRINT_BYTES = 1024 * 1024
FINGERPRINT_CHARACTERS = 16
#: Members of an exported event that are not sent.
_SET_BY_STORE = (
    *("source", "status", "delivery_status"),
    *("received_at", "attempts", "last_error"),
)
_BLANKS = b" \t\r\n"


class Line(msgspec.Struct, frozen=True):
    """One line that is not blank, or one record of several lines."""

    #: From 1, blank lines counted.
    number: int
    text: bytes
    #: Offset of the next line.
    end: int
    too_long: bool = False
    #: Why it is not sent; empty when it is valid.
    problem: str = ""
    #: The original text, where `text` was converted.
    sent: bytes | None = None
    #: Number of lines it spans.
    lines: int = 1

    @property
    def last_number(self) -> int:
        """Number of its last line."""
        return self.number + self.lines - 1


def fingerprint(path: Path) -> str:
    """Identifies a file without reading all of it: hash of its first MiB and its size."""
    with path.open("rb") as file:
        digest = sha256(file.read(FINGERPRINT_BYTES))
    digest.update(str(path.stat().st_size).encode())
    return digest.hexdigest()[:FINGERPRINT_CHARACTERS]


def read_lines(file: IO[bytes], *, number: int, offset: int) -> Iterator[Line]:
    """Lines after the `number` already read; `file` is positioned at `offset`."""
    while text := file.readline(LINE_BYTES_MAX):
        number += 1
        offset += len(text)
        too_long = len(text) == LINE_BYTES_MAX and not text.endswith(b"\n")
        if too_long:
            offset += _skip_line(file)
        if number == 1:
            text = text.removeprefix(codecs.BOM_UTF8)
        if text.strip(_BLANKS):
            yield Line(number, text.strip(_BLANKS), offset, too_long)


def _skip_line(file: IO[bytes]) -> int:
    skipped = 0
    while text := file.readline(LINE_BYTES_MAX):
        skipped += len(text)
        if text.endswith(b"\n"):
            break
    return skipped


def with_key(text: bytes, key: str) -> bytes:
    """The event with `key` as its idempotency key, unless it has one of its own.

    A line of `headrace export` keeps the id of its event, by which the store knows it, and loses
    what only the store sets. All other bytes stay as they are. The server rejects what is not an
    object.
    """
    members = _members(text)
    if members is None:
        return text
    if isinstance(event_id := members.get("id"), str) and UUID_TEXT.fullmatch(event_id):
        return _exported(text, members, f"export:{event_id}")
    if members.get("idempotency_key") is not None:
        return text
    if "idempotency_key" in members:
        # Present and null: adding a second member of that name would be ambiguous.
        try:
            raw = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return text
        return msgspec.json.encode(raw | {"idempotency_key": key})
    separator = b"," if members else b""
    return b'{"idempotency_key":%b%b%b' % (msgspec.json.encode(key), separator, text[1:])


def _exported(text: bytes, members: dict[str, Any], key: str) -> bytes:
    try:
        raw = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return text
    left_out = set(_SET_BY_STORE)
    if members.get("external_id") is not None or members.get("email") is not None:
        # The contact it was resolved to: another store has that person under another id.
        left_out.add("contact_id")
    sent = {name: value for name, value in raw.items() if name not in left_out}
    if members.get("idempotency_key") is None:
        sent["idempotency_key"] = msgspec.Raw(msgspec.json.encode(key))
    return msgspec.json.encode(sent)


def _members(text: bytes) -> dict[str, Any] | None:
    try:
        # Python's own parser accepts every escape that the server accepts. Numbers stay text, as
        # Python converts none of more than 4,300 digits.
        members = json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
    return members if isinstance(members, dict) else None
