"""Evaluates filters and reports which comparison decided. Never fails, whatever a field contains.

The cost is bounded: at most 100 comparisons, each of which reads one value once, at most 1,000
elements of a list, and no number or time past a maximum length.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import msgspec

from headrace.domain.automations.filters.model import All, AnyOf, Comparison, Filter, Not, Operator
from headrace.domain.automations.filters.paths import MEMBERSHIPS, Path, Subject
from headrace.domain.automations.filters.values import (
    Scalar,
    Value,
    is_missing,
    json_of,
    kind,
    moment,
    same,
    scalar,
)
from headrace.domain.automations.limits import EVIDENCE_CHARACTERS_MAX, LIST_ELEMENTS_MAX
from headrace.domain.errors import echo

_SECOND_US = 1_000_000
#: `found_type` of a comparison with an audience or a topic, which has no value of its own.
MEMBERSHIP = "membership"
_FOUND = {
    "missing": ", the field is missing",
    "string": ", the field is a string",
    "number": ", the field is a number",
    "boolean": ", the field is a boolean",
    "array": ", the field is an array",
    "object": ", the field is an object",
}


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a filter is evaluated against.

    `now_us` is the moment the filter is about, which for a late worker is not the wall clock.
    """

    #: The value a path leads to, MISSING when there is none.
    look_up: Callable[[Path], Value]
    #: Whether the contact is in an audience, or subscribed to a topic, by id.
    is_member: Callable[[Subject, str], bool]
    now_us: int


class Evidence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The deciding comparison and the value it found.

    `found` is the beginning of the value as JSON: personal data, shown only to readers who may
    see payloads. The rest may be shown to anybody who may see the automation.
    """

    path: str
    operator: str
    needs: str
    found_type: str
    holds: bool
    found: str | None = None

    @property
    def sentence(self) -> str:
        """A sentence without the value: `amount gte 1000 does not hold, the field is a number`."""
        verdict = "holds" if self.holds else "does not hold"
        sentence = f"{echo(self.path)} {self.operator} {self.needs} {verdict}"
        return sentence + _FOUND.get(self.found_type, "")


class Verdict(msgspec.Struct, frozen=True):
    """Whether a filter holds; without comparisons there is no evidence."""

    holds: bool
    evidence: Evidence | None = None


def evaluate(filters: Filter, facts: Facts) -> Verdict:
    """Evaluate a filter; the parts of a group in the order written, until one decides."""
    match filters:
        case Comparison():
            return _compare(filters, facts)
        case Not(part):
            verdict = evaluate(part, facts)
            return Verdict(not verdict.holds, verdict.evidence)
        case All(parts):
            return _until(parts, facts, decisive=False)
        case AnyOf(parts):
            return _until(parts, facts, decisive=True)


def _until(parts: tuple[Filter, ...], facts: Facts, *, decisive: bool) -> Verdict:
    verdict = Verdict(not decisive)
    for part in parts:
        verdict = evaluate(part, facts)
        if verdict.holds is decisive:
            break
    return verdict


def _compare(comparison: Comparison, facts: Facts) -> Verdict:
    if comparison.path.subject in MEMBERSHIPS:
        return _membership(comparison, facts)
    found = facts.look_up(comparison.path)
    holds = compare(comparison, found, facts.now_us)
    return Verdict(holds, _evidence(comparison, kind(found), _as_text(found), holds=holds))


def _membership(comparison: Comparison, facts: Facts) -> Verdict:
    value = comparison.value
    ids = value if isinstance(value, tuple) else (value,)
    member = any(facts.is_member(comparison.path.subject, str(each)) for each in ids)
    holds = member is (comparison.operator in {Operator.EQ, Operator.IN})
    return Verdict(holds, _evidence(comparison, MEMBERSHIP, json_of(member), holds=holds))


def _evidence(
    comparison: Comparison, found_type: str, found: str | None, *, holds: bool
) -> Evidence:
    return Evidence(
        path=comparison.path.text,
        operator=comparison.operator,
        needs=comparison.written,
        found_type=found_type,
        holds=holds,
        found=found,
    )


def _as_text(found: Value) -> str | None:
    if is_missing(found):
        return None
    if isinstance(found, str):
        found = type(found)(found[: EVIDENCE_CHARACTERS_MAX + 1])
    if isinstance(found, list | dict):
        return f"{kind(found)} of {len(found)}"
    return echo(json_of(found))


def compare(comparison: Comparison, found: Value, now_us: int) -> bool:
    """Whether one comparison holds for a value; a wrong type is false."""
    value, operator = comparison.value, comparison.operator
    if operator is Operator.EXISTS:
        return value is not is_missing(found)
    if operator is Operator.EMPTY:
        return value is _is_empty(found)
    negation = _NEGATIONS.get(operator)
    if negation is not None:
        return is_missing(found) or negation(found, value)
    if is_missing(found):
        return False
    times = _TIMES.get(operator)
    if times is not None:
        at_us = moment(found)
        return at_us is not None and isinstance(value, int) and times(at_us, value, now_us)
    return _TESTS[operator](found, value)


def _is_empty(found: Value) -> bool:
    # The parser represents a number as text, which is never empty.
    return is_missing(found) or (isinstance(found, str | list | dict) and not found)


def _equals(found: Value, value: object) -> bool:
    return same(scalar(found), _one(value))


def _is_in(found: Value, value: object) -> bool:
    one = scalar(found)
    return isinstance(value, tuple) and any(same(one, each) for each in value)


def _contains(found: Value, value: object) -> bool:
    one = _one(value)
    if isinstance(found, list):
        return any(same(scalar(item), one) for item in found[:LIST_ELEMENTS_MAX])
    return type(found) is str and isinstance(one, str) and one in found


def _contains_not(found: Value, value: object) -> bool:
    return isinstance(found, list) or type(found) is str if not _contains(found, value) else False


def _starts(found: Value, value: object) -> bool:
    return type(found) is str and isinstance(value, str) and found.startswith(value)


def _ends(found: Value, value: object) -> bool:
    return type(found) is str and isinstance(value, str) and found.endswith(value)


def _ordered(test: Callable[[int], bool]) -> Callable[[Value, object], bool]:
    """An operator on the order of two numbers or two texts (-1, 0, 1)."""

    def holds(found: Value, value: object) -> bool:
        left, right = scalar(found), _one(value)
        if isinstance(left, Decimal) and isinstance(right, Decimal):
            return test((left > right) - (left < right))
        if isinstance(left, str) and isinstance(right, str):
            return test((left > right) - (left < right))
        return False

    return holds


def _one(value: object) -> Scalar | None:
    return value if isinstance(value, str | bool | Decimal) else None


_TESTS: dict[Operator, Callable[[Value, object], bool]] = {
    Operator.EQ: _equals,
    Operator.GT: _ordered(lambda order: order > 0),
    Operator.GTE: _ordered(lambda order: order >= 0),
    Operator.LT: _ordered(lambda order: order < 0),
    Operator.LTE: _ordered(lambda order: order <= 0),
    Operator.IN: _is_in,
    Operator.CONTAINS: _contains,
    Operator.STARTS_WITH: _starts,
    Operator.ENDS_WITH: _ends,
}
#: Operators that also hold for a missing value.
_NEGATIONS: dict[Operator, Callable[[Value, object], bool]] = {
    Operator.NE: lambda found, value: not _equals(found, value),
    Operator.NOT_IN: lambda found, value: not _is_in(found, value),
    Operator.NOT_CONTAINS: _contains_not,
}
#: `(time found, value of the filter, now)`.
_TIMES: dict[Operator, Callable[[int, int, int], bool]] = {
    Operator.BEFORE: lambda at_us, value, _: at_us < value,
    Operator.AFTER: lambda at_us, value, _: at_us > value,
    Operator.WITHIN_SECONDS: lambda at_us, value, now: abs(now - at_us) <= value * _SECOND_US,
    Operator.OLDER_THAN_SECONDS: lambda at_us, value, now: now - at_us > value * _SECOND_US,
}
