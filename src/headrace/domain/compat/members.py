"""Members of JSON objects, each left as the text that was sent until it is needed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.domain.json_text import forbidden_escape

#: The JSON text of each member by its name.
Members = Mapping[str, bytes]

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode = msgspec.json.decode
_NULL = b"null"
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_REPLACEMENT = rb"\ufffd"


def storable(text: bytes) -> bytes:
    r"""The JSON text with U+FFFD in place of what no store can keep: NUL and half surrogate pairs.

    A program that cuts a text in the middle of an emoji sends such a half.
    """
    if forbidden_escape(text) is None:
        return text
    return _ESCAPE.sub(_storable_escape, text)


def _storable_escape(found: re.Match[bytes]) -> bytes:
    escape = found[0]
    is_one_code = len(escape) == 6 and escape[1:2] == b"u"
    return _REPLACEMENT if is_one_code else escape


def read_members(text: bytes) -> dict[str, bytes]:
    """The members of an object; of a name that occurs twice, the last one.

    Raises:
        ValueError: it is no JSON object.
    """
    try:
        return {name: bytes(raw) for name, raw in _decode_members(text).items()}
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(_reason(error)) from None


def _reason(error: Exception) -> str:
    return "nests too deeply" if isinstance(error, RecursionError) else str(error)


def value_of(members: Members, name: str) -> Any:
    """The value of a member; None when it is absent or null.

    Raises:
        ValueError: it cannot be decoded, such as a number of thousands of digits.
    """
    raw = members.get(name)
    if raw is None or raw == _NULL:
        return None
    try:
        return _decode(raw)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(_reason(error)) from None


def text_of(members: Members, name: str) -> str | None:
    """A member that is a text or a number, as text; None when it is absent, null or empty.

    Raises:
        ValueError: it is something else.
    """
    raw = members.get(name)
    if raw is None or raw == _NULL:
        return None
    if raw.startswith(b'"'):
        text: str = value_of(members, name)
        return text or None
    if raw[:1] in b"-0123456789":
        return raw.decode()
    message = "must be a string"
    raise ValueError(message)


def object_of(members: Members, name: str) -> bytes | None:
    """A member that is an object; None when it is absent, null or empty.

    Raises:
        ValueError: it is something else.
    """
    raw = members.get(name)
    if raw is None or raw == _NULL:
        return None
    if not raw.startswith(b"{"):
        message = "must be an object"
        raise ValueError(message)
    return raw if raw[1:-1].strip() else None


def with_members(text: bytes, more: Mapping[str, bytes]) -> bytes:
    """The text of an object with more members at its end.

    Everything else stays byte for byte. Where a name is there already, one that begins with `$`
    replaces it, and any other is left out.
    """
    if not more:
        return text
    if b"\\u" in text or any(b'"%b"' % name.encode() in text for name in more):
        members = read_members(text)
        for name, value in more.items():
            if name.startswith("$") or name not in members:
                members[name] = value
        return encoded(members)
    inner = text.strip()[1:-1].strip()
    parts = [inner] if inner else []
    parts += [b'"%b":%b' % (name.encode(), value) for name, value in more.items()]
    return b"{%b}" % b",".join(parts)


def encoded(members: Members) -> bytes:
    """The text of an object."""
    return msgspec.json.encode({name: msgspec.Raw(value) for name, value in members.items()})


def flattened(members: Members) -> dict[str, bytes]:
    """Members as properties of a contact.

    A nested object becomes members such as `address.city`. What is no property then, a deeper
    object or a list of other than strings, becomes its JSON text. A null is left out.
    """
    flat: dict[str, bytes] = {}
    for name, raw in members.items():
        if raw.startswith(b"{"):
            for inner, value in read_members(raw).items():
                _put(flat, f"{name}.{inner}", value)
        else:
            _put(flat, name, raw)
    return flat


def _put(flat: dict[str, bytes], name: str, raw: bytes) -> None:
    if raw == _NULL:
        return
    if raw.startswith(b"{") or (raw.startswith(b"[") and not _is_texts(raw)):
        raw = msgspec.json.encode(raw.decode())
    flat.setdefault(name, raw)


def _is_texts(raw: bytes) -> bool:
    try:
        msgspec.json.decode(raw, type=list[str])
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True
