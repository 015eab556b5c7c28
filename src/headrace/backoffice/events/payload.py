"""Payloads as text: indented, and with likely personal data masked."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from headrace.backoffice.shell.masking import masked
from headrace.domain.catalog.personal_data import (
    INTEGER,
    PERSONAL,
    look_of_integer,
    look_of_key,
    look_of_text,
)


class _Number(str):
    """A number with the digits of the original text."""

    __slots__ = ()


class _Members(list[tuple[str, Any]]):
    """Members of an object in order, repeated names included."""


#: Name of the member, name of its parent, a scalar -> the scalar to show.
_Shown = Callable[[str, str, Any], Any]


def pretty(payload: str) -> str:
    """The payload, indented; numbers and repeated members stay as sent."""
    try:
        return _indented(_parse(payload), lambda _name, _around, value: value)
    except (ValueError, RecursionError):
        return payload


def pretty_masked(payload: str) -> str:
    """The same with likely personal data masked; empty when the payload cannot be parsed."""
    try:
        return _indented(_parse(payload), _mask)
    except (ValueError, RecursionError):
        return ""


def _parse(payload: str) -> Any:
    return json.loads(
        payload,
        object_pairs_hook=_Members,
        parse_int=_Number,
        parse_float=_Number,
        parse_constant=_Number,
    )


def _mask(name: str, around: str, value: Any) -> Any:
    if isinstance(value, _Number):
        digits = value.removeprefix("-")
        looks = look_of_integer(int(digits)) if digits.isdigit() and len(digits) < 20 else INTEGER
        if (looks | look_of_key(name, around)) & PERSONAL:
            return masked(value)
        return value
    if not isinstance(value, str):
        return value
    return masked(value) if (look_of_text(value) | look_of_key(name, around)) & PERSONAL else value


def _indented(value: Any, shown: _Shown, name: str = "", around: str = "", depth: int = 0) -> str:
    inner, outer = "  " * (depth + 1), "  " * depth
    if isinstance(value, _Members) and value:
        members = (
            f"{inner}{_quoted(key)}: {_indented(item, shown, key, name, depth + 1)}"
            for key, item in value
        )
        return "{\n" + ",\n".join(members) + f"\n{outer}}}"
    if isinstance(value, _Members):
        return "{}"
    if isinstance(value, list):
        # Items are judged by the name of their list.
        items = (f"{inner}{_indented(item, shown, name, around, depth + 1)}" for item in value)
        return "[\n" + ",\n".join(items) + f"\n{outer}]" if value else "[]"
    scalar = shown(name, around, value)
    return str(scalar) if isinstance(scalar, _Number) else _quoted(scalar)


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
