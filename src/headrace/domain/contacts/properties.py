"""Properties of a contact: strings, numbers, booleans, dates and lists of strings by name.

A value keeps its type. A date is a JSON string and stays the string that was sent. A number is
stored as a double, and accepted only if the double written with as many digits is the same number,
so none is changed silently; longer ones are sent as strings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from headrace.domain.errors import echo
from headrace.domain.json_fields import FieldReader, kind_of, text_problem
from headrace.domain.json_text import Number

PropertyValue = str | int | float | bool | list[str]

PROPERTIES_MAX = 200
#: UTF-8 bytes of all properties as compact JSON.
PROPERTIES_BYTES_MAX = 16 * 1024
NAME_CHARACTERS_MAX = 100
#: Characters of a number; the longest double in plain notation has fewer.
_NUMBER_CHARACTERS_MAX = 400
#: Significant digits that name one double; C, PHP and .NET write so many (`%.17g`).
_DIGITS_MAX = 17
#: Past it, neighbouring whole numbers are the same double.
_INTEGER_MAX = 2**53 - 1

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def check_properties(value: Any, check: FieldReader) -> dict[str, PropertyValue | None]:
    """Check what a caller sent as `properties`; null means removal.

    Problems are added to `check`, each under the name of its property.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        check.add("properties", f"must be an object, got {kind_of(value)}")
        return {}
    if len(value) > PROPERTIES_MAX:
        check.add("properties", f"must have at most {PROPERTIES_MAX} keys, got {len(value)}")
        return {}
    checked: dict[str, PropertyValue | None] = {}
    for name, sent in value.items():
        field = f"properties.{echo(name)}"
        problem = name_problem(name)
        if problem is not None:
            check.add(field, problem)
            continue
        try:
            checked[name] = None if sent is None else check_value(sent)
        except ValueError as error:
            check.add(field, str(error))
    return checked


def name_problem(name: str) -> str | None:
    """Why a property cannot have this name, None when it can."""
    problem = text_problem(name)
    if problem is not None:
        return f"has a name that {problem}"
    if not 1 <= len(name) <= NAME_CHARACTERS_MAX:
        return f"has a name that must be 1 to {NAME_CHARACTERS_MAX} characters, got {len(name)}"
    if _CONTROL.search(name) or not name.strip():
        return "has a name with control characters or only blanks"
    return None


def check_value(sent: Any) -> PropertyValue:
    """Return a value in its stored type.

    Raises:
        ValueError: with a sentence for the caller.
    """
    match sent:
        case Number():
            return read_number(sent)
        case bool():
            return sent
        case str():
            problem = text_problem(sent)
            if problem is not None:
                raise ValueError(problem)
            return sent
        case list():
            for item in sent:
                problem = text_problem(item)
                if problem is not None:
                    message = f"is a list in which each item {problem}"
                    raise ValueError(message)
            return sent
    message = f"must be a string, a number, a boolean or a list of strings, got {kind_of(sent)}"
    raise ValueError(message)


def read_number(text: str) -> int | float:
    """Read a JSON number that a double holds to its last digit.

    `49.899999999999999` is 49.9: other languages write 17 digits of that double.

    Raises:
        ValueError: it would be changed.
    """
    message = "has more digits or a larger exponent than a double can store; send it as a string"
    if len(text) > _NUMBER_CHARACTERS_MAX:
        raise ValueError(message)
    number = float(text)
    exact = Decimal(str(text))
    digits = len("".join(map(str, exact.as_tuple().digits)).strip("0")) or 1
    if not math.isfinite(number) or digits > _DIGITS_MAX:
        raise ValueError(message)
    # `repr` is the shortest text of this double and has up to 17 digits as well, of which the
    # last one can differ from that of the correctly rounded text.
    if exact not in {Decimal(repr(number)), Decimal(f"{number:.{digits}g}")}:
        raise ValueError(message)
    if text.lstrip("-").isdigit():
        if abs(number) > _INTEGER_MAX:
            raise ValueError(message)
        return int(text)
    return number


def same_value(left: PropertyValue | None, right: PropertyValue | None) -> bool:
    """Whether two values are equal in JSON: `1` is `1.0`, and neither is `true`."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return left == right


def size_problem(properties: Mapping[str, PropertyValue]) -> str | None:
    """Why these are too much for one contact, None when they are not."""
    if len(properties) > PROPERTIES_MAX:
        return f"would be {len(properties)} on this contact; at most {PROPERTIES_MAX} are kept"
    size = len(msgspec.json.encode(properties))
    if size > PROPERTIES_BYTES_MAX:
        return f"would be {size} bytes of JSON; at most {PROPERTIES_BYTES_MAX} are kept"
    return None
