"""Rules on the text of JSON, checked without changing a byte of it."""

from __future__ import annotations

import json
import re
from array import array
from itertools import accumulate
from typing import Any, NoReturn

#: Deepest nesting of a payload: `{}` has depth 1.
DEPTH_MAX = 32
#: Nesting past which a text is rejected as malformed instead of being analysed further.
DEPTH_ABSURD = 200

_NOT_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))
# In well-formed JSON the kind of a bracket does not matter for depth.
_ONE_KIND = bytes.maketrans(b"{}[]", b"()()")
#: Rounds of removing pairs that cost less than counting every bracket.
_ROUNDS_MAX = 8
#: A step down or up, as signed bytes.
_STEPS = bytes.maketrans(b"()", b"\x01\xff")
_UNICODE_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)


def deeper_than(text: bytes, limit: int) -> bool:
    """Whether brackets outside strings nest deeper than `limit`; for well-formed JSON.

    Works by whole-text operations in C: strings are cut out at their quotes, everything but
    brackets is dropped, and each round removes one level of innermost pairs. So a megabyte costs
    milliseconds, while a loop over characters would stall all other requests. What remains after
    some rounds is nested so deeply that counting its brackets costs less than more rounds.
    """
    if text.count(b"{") + text.count(b"[") <= limit:
        return False
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = b"".join(text.split(b'"')[::2]).translate(_ONE_KIND, _NOT_BRACKETS)
    too_deep = b"(" * (limit + 1)
    for level in range(limit):
        # Detected at once, without all the rounds on a text that never gets much shorter.
        if too_deep in brackets:
            return True
        if level == _ROUNDS_MAX:
            steps = array("b", brackets.translate(_STEPS))
            return max(accumulate(steps), default=0) > limit - level
        shorter = brackets.replace(b"()", b"")
        if len(shorter) == len(brackets):
            break
        brackets = shorter
    return bool(brackets)


def forbidden_escape(text: bytes) -> str | None:
    r"""Name what PostgreSQL and UTF-8 cannot store: `\u0000` or an unpaired surrogate.

    Returns None when there is none.
    """
    if b"\\u" not in text:
        return None
    high_end = -1
    for match in _UNICODE_ESCAPE.finditer(text):
        code = int(match[1], 16) if match[1] else -1
        pending = high_end
        high_end = -1
        if pending >= 0 and not (0xDC00 <= code <= 0xDFFF and match.start() == pending):
            return "a lone surrogate"
        if code == 0:
            return "the character NUL"
        if 0xD800 <= code <= 0xDBFF:
            high_end = match.end()
        elif 0xDC00 <= code <= 0xDFFF and pending < 0:
            return "a lone surrogate"
    return "a lone surrogate" if high_end >= 0 else None


class DuplicateMemberError(ValueError):
    """An object has a duplicate member where that is not allowed; `args[0]` is the member."""


def _no_constant(name: str) -> NoReturn:
    message = f"{name} is not JSON"
    raise ValueError(message)


def parse_object(text: str) -> dict[str, Any]:
    """Parse one JSON object strictly, numbers left as their text.

    Duplicate members of the outermost object are rejected; inside, the last one wins.

    Raises:
        DuplicateMemberError: the outermost object has a duplicate member.
        TypeError: well-formed, but not an object.
        ValueError: not JSON.
    """
    duplicates: list[str] = []

    def keep_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # The outermost object is completed last, so what remains here is about it.
        result = dict(pairs)
        duplicates.clear()
        if len(result) != len(pairs):
            seen: set[str] = set()
            duplicates.extend(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        return result

    value = json.loads(
        text,
        object_pairs_hook=keep_duplicates,
        parse_constant=_no_constant,
        parse_int=Number,
        parse_float=Number,
    )
    if not isinstance(value, dict):
        raise TypeError
    if duplicates:
        raise DuplicateMemberError(duplicates[0])
    return value


class Number(str):
    """The text of a JSON number, so that no digit is lost and conversion costs no time."""

    __slots__ = ()
