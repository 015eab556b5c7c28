"""The filter language, parsed strictly."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from headrace.domain.automations.filters.paths import MEMBERSHIPS, Path, Root, Subject, parse_path
from headrace.domain.automations.filters.values import Scalar, kind, moment, scalar
from headrace.domain.automations.limits import (
    COMPARISONS_MAX,
    FILTER_DEPTH_MAX,
    ITEMS_MAX,
    SECONDS_MAX,
    TEXT_CHARACTERS_MAX,
)
from headrace.domain.automations.problems import Code, Problems
from headrace.domain.errors import echo
from headrace.domain.json_fields import kind_of, text_problem
from headrace.domain.json_text import Number

#: 100 years, older than any time in an event.
_AGE_SECONDS_MAX = 100 * SECONDS_MAX


class Operator(StrEnum):
    """How the value of a field is compared with that of the filter."""

    EQ = "eq"
    NE = "ne"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    IN = "in"
    NOT_IN = "not_in"
    CONTAINS = "contains"
    NOT_CONTAINS = "not_contains"
    STARTS_WITH = "starts_with"
    ENDS_WITH = "ends_with"
    EXISTS = "exists"
    EMPTY = "empty"
    BEFORE = "before"
    AFTER = "after"
    WITHIN_SECONDS = "within_seconds"
    OLDER_THAN_SECONDS = "older_than_seconds"


#: Longest first: `_not_in` also ends in `_in`.
_SUFFIXES = tuple(sorted(((f"_{op}", op) for op in Operator), key=lambda each: -len(each[0])))
_MEMBERSHIP_OPERATORS = frozenset({Operator.EQ, Operator.NE, Operator.IN, Operator.NOT_IN})
_FOR_TEXTS = frozenset({Operator.STARTS_WITH, Operator.ENDS_WITH})
_FOR_ORDER = frozenset({Operator.GT, Operator.GTE, Operator.LT, Operator.LTE})
_GROUPS = ("all", "any", "not")


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison of a field with a value of the filter.

    `value` is a scalar; a tuple of them for `in` and `not_in`; microseconds since 1970 for
    `before` and `after`; seconds for `within_seconds` and `older_than_seconds`.
    """

    path: Path
    operator: Operator
    value: Scalar | int | tuple[Scalar, ...]
    #: The value as written, for evidence.
    written: str


class All(msgspec.Struct, frozen=True):
    """Holds when each part holds; without parts it always does."""

    parts: tuple[Filter, ...] = ()


class AnyOf(msgspec.Struct, frozen=True):
    """Holds when one part holds."""

    parts: tuple[Filter, ...]


class Not(msgspec.Struct, frozen=True):
    """Holds when its part does not."""

    part: Filter


Filter = Comparison | All | AnyOf | Not

#: An empty filter always holds.
ALWAYS = All()


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """The position of a filter, which decides what it can read."""

    roots: frozenset[Root]
    #: Whether a path without a root is a field of the event's payload.
    bare: bool


TRIGGER_FILTER = Place(roots=frozenset({Root.PAYLOAD, Root.EVENT, Root.CONTACT}), bare=True)
CONDITION_FILTER = Place(roots=frozenset(Root), bare=False)
WAIT_FILTER = Place(roots=frozenset(Root), bare=True)
EXIT_FILTER = Place(
    roots=frozenset({Root.PAYLOAD, Root.EVENT, Root.CONTACT, Root.TRIGGER}), bare=True
)


def parse_filter(value: Any, place: Place, field: str, problems: Problems) -> Filter:
    """Read a filter from parsed JSON; problems are added under `field`.

    Returns:
        The filter; an arbitrary one if it is invalid.
    """
    return _Reader(place, problems).object(value, field, 1)


def comparisons(filters: Filter) -> list[Comparison]:
    """All comparisons of a filter, in the order written."""
    match filters:
        case Comparison():
            return [filters]
        case Not(part):
            return comparisons(part)
        case All(parts) | AnyOf(parts):
            return [each for part in parts for each in comparisons(part)]


class _Reader:
    def __init__(self, place: Place, problems: Problems) -> None:
        self._place = place
        self._problems = problems
        #: Comparisons and groups so far.
        self._count = 0

    def object(self, value: Any, field: str, depth: int) -> Filter:
        if not isinstance(value, dict):
            self._bad(Code.WRONG_TYPE, field, f"must be an object, got {kind_of(value)}")
            return ALWAYS
        if depth > FILTER_DEPTH_MAX:
            message = f"must not nest all, any and not deeper than {FILTER_DEPTH_MAX} levels"
            self._bad(Code.TOO_DEEP, field, message)
            return ALWAYS
        if "field" in value and ("op" in value or "value" in value):
            return self._long_form(value, field)
        parts: list[Filter] = []
        for name, member in value.items():
            if not self._counted(field):
                break
            part = self._member(name, member, field, depth)
            if part is not None:
                parts.append(part)
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _counted(self, field: str) -> bool:
        """Whether one more fits; the first that does not adds a problem."""
        self._count += 1
        if self._count == COMPARISONS_MAX + 1:
            message = f"must have at most {COMPARISONS_MAX} comparisons and groups"
            self._bad(Code.TOO_MANY, field, message)
        return self._count <= COMPARISONS_MAX

    def _member(self, name: str, value: Any, field: str, depth: int) -> Filter | None:
        where = f"{field}.{echo(name)}"
        if name not in _GROUPS:
            return self._short_form(name, value, where)
        if name == "not":
            return Not(self.object(value, where, depth + 1))
        if not isinstance(value, list):
            self._bad(Code.WRONG_TYPE, where, f"must be an array, got {kind_of(value)}")
            return None
        if not value:
            self._bad(Code.INVALID_FILTER, where, "must have at least one filter")
            return None
        parts: list[Filter] = []
        for index, item in enumerate(value):
            if not self._counted(where):
                break
            parts.append(self.object(item, f"{where}[{index}]", depth + 1))
        return All(tuple(parts)) if name == "all" else AnyOf(tuple(parts))

    def _short_form(self, name: str, value: Any, field: str) -> Filter | None:
        for suffix, operator in _SUFFIXES:
            path = name.removesuffix(suffix)
            if path not in {"", name}:
                hint = (
                    f" (or, if the field is called '{echo(name)}': "
                    f'{{"field": "{echo(name)}", "op": "eq", "value": ...}})'
                )
                return self._comparison(path, operator, value, field, hint)
        return self._comparison(name, Operator.EQ, value, field)

    def _long_form(self, value: dict[str, Any], field: str) -> Filter:
        self._counted(field)
        for name in value:
            if name not in {"field", "op", "value"}:
                message = "is not a field of a comparison; allowed are field, op, value"
                self._bad(Code.UNKNOWN_MEMBER, f"{field}.{echo(name)}", message)
        missing = [name for name in ("field", "op", "value") if name not in value]
        for name in missing:
            self._bad(Code.INVALID_FILTER, f"{field}.{name}", "is required")
        if missing:
            return ALWAYS
        path, op = value["field"], value["op"]
        if type(path) is not str:
            self._bad(Code.WRONG_TYPE, f"{field}.field", f"must be a string, got {kind_of(path)}")
            return ALWAYS
        if type(op) is not str or op not in tuple(Operator):
            message = f"must be one of {', '.join(Operator)}"
            self._bad(Code.INVALID_VALUE, f"{field}.op", message)
            return ALWAYS
        read = self._comparison(path, Operator(op), value["value"], f"{field}.value")
        return ALWAYS if read is None else read

    def _comparison(
        self, text: str, operator: Operator, value: Any, field: str, hint: str = ""
    ) -> Comparison | None:
        try:
            path = parse_path(text, self._place.roots, bare=self._place.bare)
        except ValueError as error:
            self._bad(Code.INVALID_PATH, field, f"{error}{hint}")
            return None
        try:
            if path.subject in MEMBERSHIPS:
                _check_membership(path, operator, value)
            read = _read_value(operator, value)
        except ValueError as error:
            self._bad(Code.INVALID_VALUE, field, f"{operator} {error}{hint}")
            return None
        return Comparison(path=path, operator=operator, value=read, written=_written(value))

    def _bad(self, code: Code, field: str, message: str) -> None:
        self._problems.add(code, field, message)


def _check_membership(path: Path, operator: Operator, value: Any) -> None:
    if operator not in _MEMBERSHIP_OPERATORS:
        message = f"does not work on {path.text}; allowed are eq, ne, in and not_in"
        raise ValueError(message)
    for item in value if isinstance(value, list) else [value]:
        if type(item) is not str:
            what = "an audience" if path.subject is Subject.IN_AUDIENCE else "a topic"
            message = f"must have the id or name of {what}, got {kind_of(item)}"
            raise ValueError(message)


def _read_value(operator: Operator, value: Any) -> Scalar | int | tuple[Scalar, ...]:
    match operator:
        case Operator.IN | Operator.NOT_IN:
            return _read_several(value)
        case Operator.EXISTS | Operator.EMPTY:
            return _read_flag(value)
        case Operator.BEFORE | Operator.AFTER:
            return _read_moment(value)
        case Operator.WITHIN_SECONDS | Operator.OLDER_THAN_SECONDS:
            return _read_seconds(value)
    if operator in _FOR_TEXTS and type(value) is not str:
        message = f"needs a string, got {kind_of(value)}"
        raise ValueError(message)
    if operator in _FOR_ORDER and isinstance(value, bool):
        message = "needs a number or a string, got a boolean"
        raise ValueError(message)
    return _read_scalar(value)


def _read_several(value: Any) -> tuple[Scalar, ...]:
    if isinstance(value, list) and 1 <= len(value) <= ITEMS_MAX:
        return tuple(map(_read_scalar, value))
    message = f"needs an array of 1 to {ITEMS_MAX} strings, numbers or booleans"
    raise ValueError(message)


def _read_flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    message = f"needs true or false, got {kind_of(value)}"
    raise ValueError(message)


def _read_moment(value: Any) -> int:
    at_us = moment(value)
    if at_us is None:
        message = "needs a time such as 2026-06-08T14:15:00Z or a date such as 2026-06-08"
        raise ValueError(message)
    return at_us


def _read_seconds(value: Any) -> int:
    text = str(value) if isinstance(value, Number) else ""
    if not (text.isdigit() and len(text) <= 12 and int(text) <= _AGE_SECONDS_MAX):
        message = f"needs a whole number of seconds from 0 to {_AGE_SECONDS_MAX}"
        raise ValueError(message)
    return int(text)


def _read_scalar(value: Any) -> Scalar:
    if value is None:
        message = 'cannot compare with null; ask whether a field is there with "exists"'
        raise ValueError(message)
    if type(value) is str:
        problem = text_problem(value)
        if problem is not None:
            raise ValueError(problem)
        if len(value) > TEXT_CHARACTERS_MAX:
            message = f"must have at most {TEXT_CHARACTERS_MAX} characters, got {len(value)}"
            raise ValueError(message)
    read = scalar(value)
    if read is None:
        message = f"needs a string, a number or a boolean, got {kind_of(value)}"
        if kind(value) == "number":
            message = "needs a number with fewer digits and a smaller exponent"
        raise ValueError(message)
    return read


def _written(value: Any) -> str:
    """The value of the filter for a sentence."""
    match value:
        case bool():
            return "true" if value else "false"
        case Number():
            return echo(value)
        case list():
            return echo(", ".join(map(_written, value[:10])))
    return f"'{echo(str(value))}'"
