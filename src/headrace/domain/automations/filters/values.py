"""Values as filters compare them: numbers exactly, nothing converted."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeGuard

from headrace.domain import timestamps
from headrace.domain.automations.limits import NUMBER_CHARACTERS_MAX, TIME_CHARACTERS_MAX
from headrace.domain.json_text import Number

#: Text, number, boolean, list or object, as `json_text.parse_object` gives them; or MISSING.
Value = Any
#: Values that compare for equality.
Scalar = str | bool | Decimal


class Missing:
    """Marks a field that is absent or null."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def is_missing(value: Value) -> TypeGuard[Missing]:
    """Whether the value is missing."""
    return value is MISSING


def scalar(value: Value) -> Scalar | None:
    """The value in comparable form; None for lists, objects and oversized numbers."""
    match value:
        case bool():
            return value
        case Number():
            return number(value)
        case str():
            return value
        case int() | float():
            # Properties of a contact are decoded; a float's shortest text is the text that was
            # sent.
            return number(Number(repr(value)))
    return None


def number(text: str) -> Decimal | None:
    """Read the text of a JSON number exactly; None when it has too many digits to compute with."""
    if len(text) > NUMBER_CHARACTERS_MAX:
        return None
    try:
        return Decimal(str(text))
    except InvalidOperation:
        return None


def same(left: Scalar | None, right: Scalar | None) -> bool:
    """Whether two values are equal: `1` is `1.0`, a number is never a text, `true` is no number."""
    if left is None or right is None or isinstance(left, bool) != isinstance(right, bool):
        return False
    return isinstance(left, str) == isinstance(right, str) and left == right


def moment(value: Value) -> int | None:
    """Microseconds since 1970 of a text that is a time or a date (its midnight in UTC)."""
    if type(value) is not str or len(value) > TIME_CHARACTERS_MAX:
        return None
    try:
        if _DATE.fullmatch(value):
            day = datetime.fromisoformat(value).replace(tzinfo=UTC)
            return round(day.timestamp()) * 1_000_000
        return timestamps.parse(value)
    except ValueError:
        return None


def kind(value: Value) -> str:
    """The JSON type of a value, for evidence."""
    match value:
        case Missing():
            return "missing"
        case bool():
            return "boolean"
        case Number() | int() | float() | Decimal():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"


def json_of(value: Value, *, in_order: bool = False) -> str:
    """Compact JSON of a value, every number with its original digits.

    Args:
        value: nests no deeper than a payload may.
        in_order: sort the members of objects by name.
    """
    match value:
        case Number():
            return str(value)
        case dict():
            items = sorted(value.items()) if in_order else value.items()
            inside = (f"{_quoted(name)}:{json_of(each, in_order=in_order)}" for name, each in items)
            return "{" + ",".join(inside) + "}"
        case list():
            return "[" + ",".join(json_of(item, in_order=in_order) for item in value) + "]"
        case str():
            return _quoted(value)
    return json.dumps(value)


# `json.dumps` with an argument would make an encoder for each text.
_quoted = json.JSONEncoder(ensure_ascii=False).encode
