"""The filter language: each operator's meaning, and that no field value breaks a filter."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.domain.automations.filters.evaluation import Facts, Verdict, evaluate
from headrace.domain.automations.filters.model import (
    CONDITION_FILTER,
    EXIT_FILTER,
    TRIGGER_FILTER,
    WAIT_FILTER,
    Place,
    parse_filter,
)
from headrace.domain.automations.filters.paths import Path, Root, Subject, follow
from headrace.domain.automations.filters.values import MISSING, Value
from headrace.domain.automations.problems import Problems
from headrace.domain.json_text import Number, parse_object

DAY_US = 86_400_000_000
#: 2026-06-08T00:00:00Z
NOW_US = 1_780_876_800_000_000


def facts(payload: str, members: frozenset[str] = frozenset()) -> Facts:
    """An event with that payload, about a contact of these audiences and topics."""
    parsed = parse_object(payload)

    def look_up(path: Path) -> Value:
        if path.root is Root.PAYLOAD:
            return follow(parsed, path.rest)
        return MISSING

    def is_member(_: Subject, name: str) -> bool:
        return name in members

    return Facts(look_up=look_up, is_member=is_member, now_us=NOW_US)


def verdict(
    filters: str, payload: str, place: Place = TRIGGER_FILTER, *, members: tuple[str, ...] = ()
) -> Verdict:
    problems = Problems()
    read = parse_filter(parse_object(filters), place, "filters", problems)
    assert not problems.found
    return evaluate(read, facts(payload, frozenset(members)))


def problem_of(filters: str, place: Place = TRIGGER_FILTER) -> tuple[str, str, str]:
    problems = Problems()
    parse_filter(parse_object(filters), place, "filters", problems)
    (found,) = problems.found
    return found.code, found.field, found.message


@pytest.mark.parametrize(
    ("filters", "payload", "holds"),
    [
        ("{}", "{}", True),
        ('{"x": 1}', '{"x": 1}', True),
        ('{"x": 1}', '{"x": 1.0}', True),
        ('{"x": 1}', '{"x": 1e0}', True),
        ('{"x": 1}', '{"x": "1"}', False),
        ('{"x": "1"}', '{"x": 1}', False),
        ('{"x": 1}', '{"x": true}', False),
        ('{"x": true}', '{"x": 1}', False),
        ('{"x": true}', '{"x": true}', True),
        ('{"x": 0.1}', '{"x": 0.1000000000000000055511151231257827}', False),
        ('{"x": 9007199254740993}', '{"x": 9007199254740992}', False),
        ('{"x": 1e400}', '{"x": 1e400}', True),
        ('{"x": 1}', "{}", False),
        ('{"x": 1}', '{"x": null}', False),
        ('{"x": 1}', '{"x": [1]}', False),
        ('{"x": "Größe"}', '{"x": "größe"}', False),
        ('{"x_ne": 1}', '{"x": 2}', True),
        ('{"x_ne": 1}', '{"x": "1"}', True),
        ('{"x_ne": 1}', '{"x": 1.0}', False),
        ('{"x_ne": 1}', "{}", True),
        ('{"x_gt": 10}', '{"x": 9}', False),
        ('{"x_gt": 10}', '{"x": 10.0000000000000000001}', True),
        ('{"x_gte": 1000}', '{"x": 1000}', True),
        ('{"x_gte": 1000}', '{"x": "2000"}', False),
        ('{"x_gte": 1000}', '{"x": {}}', False),
        ('{"x_lt": 0}', '{"x": -1e400}', True),
        ('{"x_lte": 5}', '{"x": 5}', True),
        ('{"x_lt": "b"}', '{"x": "a"}', True),
        ('{"x_lt": "a"}', '{"x": "B"}', True),
        ('{"x_in": [1, "a"]}', '{"x": 1.0}', True),
        ('{"x_in": [1, "a"]}', '{"x": "1"}', False),
        ('{"x_in": [1]}', "{}", False),
        ('{"x_not_in": [1]}', "{}", True),
        ('{"x_not_in": [1]}', '{"x": 1}', False),
        ('{"x_not_in": [1]}', '{"x": [1]}', True),
        ('{"x_contains": "b"}', '{"x": "abc"}', True),
        ('{"x_contains": "b"}', '{"x": ["a", "b"]}', True),
        ('{"x_contains": "b"}', '{"x": ["abc"]}', False),
        ('{"x_contains": 2}', '{"x": [1, 2.0]}', True),
        ('{"x_contains": 2}', '{"x": "123"}', False),
        ('{"x_contains": "2"}', '{"x": 123}', False),
        ('{"x_not_contains": "b"}', '{"x": "ac"}', True),
        ('{"x_not_contains": "b"}', '{"x": "abc"}', False),
        ('{"x_not_contains": "b"}', "{}", True),
        ('{"x_not_contains": "b"}', '{"x": 5}', False),
        ('{"x_starts_with": "ab"}', '{"x": "abc"}', True),
        ('{"x_ends_with": "bc"}', '{"x": "abc"}', True),
        ('{"x_starts_with": "1"}', '{"x": 12}', False),
        ('{"x_exists": true}', '{"x": false}', True),
        ('{"x_exists": true}', '{"x": null}', False),
        ('{"x_exists": false}', "{}", True),
        ('{"x_empty": true}', "{}", True),
        ('{"x_empty": true}', '{"x": ""}', True),
        ('{"x_empty": true}', '{"x": []}', True),
        ('{"x_empty": true}', '{"x": {}}', True),
        ('{"x_empty": true}', '{"x": 0}', False),
        ('{"x_empty": false}', '{"x": 0}', True),
        ('{"x_empty": false}', "{}", False),
        ('{"x_before": "2026-06-08"}', '{"x": "2026-06-07T23:59:59.999Z"}', True),
        ('{"x_before": "2026-06-08"}', '{"x": "2026-06-08"}', False),
        ('{"x_after": "2026-06-08T00:00:00+02:00"}', '{"x": "2026-06-08"}', True),
        ('{"x_after": "2026-06-08"}', '{"x": 1780876800}', False),
        ('{"x_after": "2026-06-08"}', '{"x": "2026-06-09T00:00:00"}', False),
        ('{"x_after": "2028-02-28"}', '{"x": "2028-02-29"}', True),
        ('{"x_after": "2027-02-27"}', '{"x": "2027-02-29"}', False),
        ('{"x_within_seconds": 60}', '{"x": "2026-06-08T00:01:00Z"}', True),
        ('{"x_within_seconds": 60}', '{"x": "2026-06-07T23:58:59Z"}', False),
        ('{"x_older_than_seconds": 60}', '{"x": "2026-06-07T23:58:59Z"}', True),
        ('{"x_older_than_seconds": 60}', '{"x": "2026-06-07T23:59:00Z"}', False),
        ('{"payload.a.b[1].c": 3}', '{"a": {"b": [0, {"c": 3}]}}', True),
        ('{"a.b[2]_exists": false}', '{"a": {"b": [0]}}', True),
        ('{"a.b": 1}', '{"a": [{"b": 1}]}', False),
        ('{"any": [{"x": 1}, {"y": 2}]}', '{"y": 2}', True),
        ('{"any": [{"x": 1}, {"y": 2}]}', "{}", False),
        ('{"all": [{"x": 1}, {"y": 2}]}', '{"x": 1}', False),
        ('{"not": {"x": 1}}', "{}", True),
        ('{"not": {"x": 1}}', '{"x": 1}', False),
        ('{"not": {}}', "{}", False),
        ('{"field": "payload.amount_gte", "op": "eq", "value": 3}', '{"amount_gte": 3}', True),
        (
            '{"all": [{"field": "checked_in", "op": "eq", "value": "x"}]}',
            '{"checked_in": "x"}',
            True,
        ),
        ('{"field": "lost"}', '{"field": "lost"}', True),
        ('{"payload.all": 1, "payload.field": 2}', '{"all": 1, "field": 2}', True),
        ('{"_in": 1}', '{"_in": 1}', True),
        ('{"x_not_starts_with": "a"}', '{"x_not": "ab"}', True),
    ],
)
def test_operators(filters: str, payload: str, holds: bool) -> None:
    assert verdict(filters, payload).holds is holds


@pytest.mark.parametrize(
    ("filters", "code", "field", "part"),
    [
        ('{"x": null}', "invalid_value", ".x", "exists"),
        ('{"x": {}}', "invalid_value", ".x", "needs a string, a number or a boolean"),
        ('{"x_in": 1}', "invalid_value", ".x_in", '{"field": "x_in", "op": "eq"'),
        ('{"x_in": []}', "invalid_value", ".x_in", "1 to 100"),
        ('{"x_gt": true}', "invalid_value", ".x_gt", "needs a number or a string"),
        ('{"x_contains": null}', "invalid_value", ".x_contains", "exists"),
        ('{"x_starts_with": 1}', "invalid_value", ".x_starts_with", "needs a string"),
        ('{"x_exists": 1}', "invalid_value", ".x_exists", "true or false"),
        ('{"x_before": "tomorrow"}', "invalid_value", ".x_before", "needs a time"),
        ('{"x_within_seconds": -1}', "invalid_value", ".x_within_seconds", "whole number"),
        ('{"x_within_seconds": 1e9}', "invalid_value", ".x_within_seconds", "whole number"),
        ('{"any": []}', "invalid_filter", ".any", "at least one"),
        ('{"any": {}}', "wrong_type", ".any", "an array"),
        ('{"all": [1]}', "wrong_type", ".all[0]", "an object"),
        ('{"not": []}', "wrong_type", ".not", "an object"),
        ('{"field": "x", "op": "like", "value": 1}', "invalid_value", ".op", "must be one of eq"),
        ('{"field": "x", "value": 1}', "invalid_filter", ".op", "required"),
        ('{"field": 1, "op": "eq", "value": 1}', "wrong_type", ".field", "a string"),
        ('{"field": "x", "op": "eq", "value": 1, "y": 2}', "unknown_member", ".y", "field, op"),
        ('{"x..y": 1}', "invalid_path", ".x..y", "a field's name"),
        ('{"x[a]": 1}', "invalid_path", ".x[a]", "a field's name"),
        ('{"steps.a.status": 1}', "invalid_path", ".steps.a.status", "allowed are payload"),
        ('{"contact.phone": 1}', "invalid_path", ".contact.phone", "contact.properties.<name>"),
        ('{"event.id": 1}', "invalid_path", ".event.id", "event.name"),
        ('{"contact.in_audience_gt": "a"}', "invalid_value", ".contact.in_audience_gt", "eq, ne"),
        ('{"contact.in_audience": 5}', "invalid_value", ".contact.in_audience", "id or name"),
    ],
)
def test_filter_problems_are_named(filters: str, code: str, field: str, part: str) -> None:
    found = problem_of(filters)
    assert found[:2] == (code, f"filters{field}")
    assert part in found[2]


def test_long_texts_numbers_and_paths_are_rejected() -> None:
    assert problem_of('{"x": "%s"}' % ("a" * 1001))[0] == "invalid_value"
    assert problem_of('{"x": %s}' % ("9" * 1001))[0] == "invalid_value"
    assert problem_of('{"%s": 1}' % ("a" * 501))[0] == "invalid_path"
    assert problem_of('{"%s": 1}' % ".".join("a" * 21))[0] == "invalid_path"  # noqa: UP031


def test_each_place_sees_its_own_paths() -> None:
    for place, path, allowed in (
        (CONDITION_FILTER, "x", False),
        (CONDITION_FILTER, "payload.x", True),
        (CONDITION_FILTER, "steps.a.branch", True),
        (WAIT_FILTER, "x", True),
        (WAIT_FILTER, "steps.a.event.payload.x", True),
        (EXIT_FILTER, "trigger.payload.x", True),
        (EXIT_FILTER, "steps.a.branch", False),
        (TRIGGER_FILTER, "trigger.payload.x", False),
    ):
        problems = Problems()
        parse_filter({path: Number("1")}, place, "filters", problems)
        assert (not problems.found) is allowed, (place, path)


def test_membership_is_queried_by_id() -> None:
    for filters, holds in (
        ('{"contact.in_audience": "a"}', True),
        ('{"contact.in_audience_ne": "a"}', False),
        ('{"contact.in_audience_in": ["x", "a"]}', True),
        ('{"contact.subscribed_to_not_in": ["x"]}', True),
    ):
        assert verdict(filters, "{}", members=("a",)).holds is holds


def test_deciding_comparison_is_reported() -> None:
    found = verdict(
        '{"currency": "EUR", "amount_gte": 1000, "x": 1}', '{"currency": "EUR", "amount": 400}'
    )
    assert found.evidence is not None
    assert (found.evidence.path, found.evidence.operator) == ("amount", "gte")
    assert (found.evidence.needs, found.evidence.found, found.evidence.found_type) == (
        *("1000", "400"),
        "number",
    )
    assert found.evidence.sentence == "amount gte 1000 does not hold, the field is a number"
    missing = verdict('{"any": [{"x": 1}, {"y": 2}]}', "{}").evidence
    assert missing is not None
    assert (missing.path, missing.found_type, missing.found) == ("y", "missing", None)


def test_evidence_repeats_no_long_value_and_no_control() -> None:
    found = verdict('{"x": "a"}', json.dumps({"x": "\u202e" + "z" * 5000})).evidence
    assert found is not None
    assert found.found is not None
    assert len(found.found) <= 64
    assert found.found.isascii()


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.5, 1.0, "", "a", "ab", "1", "2026-06-08", "2026-06-08T00:00:00Z"])
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.sampled_from("ab"), SCALARS)
OPERATORS = (
    *("eq", "ne", "gt", "gte", "lt", "lte", "in", "not_in", "contains", "not_contains"),
    *("starts_with", "ends_with", "exists", "empty"),
)


def equal(left: Any, right: Any) -> bool:
    """Equality of JSON scalars."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, str) or isinstance(right, str):
        return isinstance(left, str) and left == right
    return is_number(left) and is_number(right) and left == right


def is_number(value: Any) -> bool:
    return type(value) in {int, float}


def naive(operator: str, found: Any, value: Any) -> bool:
    """The documented rules, on ordinary Python values."""
    texts = isinstance(found, str) and isinstance(value, str)
    ordered = texts or (is_number(found) and is_number(value))
    rules: dict[str, Callable[[], bool]] = {
        "eq": lambda: equal(found, value),
        "ne": lambda: not equal(found, value),
        "in": lambda: any(equal(found, each) for each in value),
        "not_in": lambda: all(not equal(found, each) for each in value),
        "gt": lambda: ordered and found > value,
        "gte": lambda: ordered and found >= value,
        "lt": lambda: ordered and found < value,
        "lte": lambda: ordered and found <= value,
        "contains": lambda: naive_contains(found, value) is True,
        "not_contains": lambda: found is None or naive_contains(found, value) is False,
        "starts_with": lambda: texts and found.startswith(value),
        "ends_with": lambda: texts and found.endswith(value),
        "exists": lambda: (found is not None) is value,
        "empty": lambda: (found is None or found in ("", [], {})) is value,
    }
    return rules[operator]()


def naive_contains(found: Any, value: Any) -> bool | None:
    """None for values that cannot contain anything."""
    if isinstance(found, list):
        return any(equal(each, value) for each in found)
    return isinstance(value, str) and value in found if isinstance(found, str) else None


@st.composite
def comparisons(draw: st.DrawFn) -> tuple[str, Any]:
    operator = draw(st.sampled_from(OPERATORS))
    if operator in {"exists", "empty"}:
        return operator, draw(st.booleans())
    some = SCALARS.filter(lambda value: value is not None)
    if operator in {"gt", "gte", "lt", "lte"}:
        some = some.filter(lambda value: not isinstance(value, bool))
    if operator in {"starts_with", "ends_with"}:
        some = some.filter(lambda value: isinstance(value, str))
    if operator in {"in", "not_in"}:
        return operator, draw(st.lists(some, min_size=1, max_size=3))
    return operator, draw(some)


@given(comparisons(), VALUES)
def test_comparison_matches_the_rules(comparison: tuple[str, Any], found: Any) -> None:
    operator, value = comparison
    filters = json.dumps({f"x_{operator}": value})
    assert verdict(filters, json.dumps({"x": found})).holds is naive(operator, found, value)


TREES = st.recursive(
    comparisons().map(lambda each: {f"x_{each[0]}": each[1]}),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"all": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"any": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=6,
)


def naive_tree(filters: dict[str, Any], found: Any) -> bool:
    ((name, value),) = filters.items()
    if name == "all":
        return all(naive_tree(each, found) for each in value)
    if name == "any":
        return any(naive_tree(each, found) for each in value)
    if name == "not":
        return not naive_tree(value, found)
    return naive(name.removeprefix("x_"), found, value)


@settings(max_examples=60)
@given(TREES, VALUES)
def test_groups_match_the_rules(filters: dict[str, Any], found: Any) -> None:
    problems = Problems()
    read = parse_filter(parse_object(json.dumps(filters)), TRIGGER_FILTER, "", problems)
    if not problems.found:
        payload = json.dumps({"x": found})
        assert evaluate(read, facts(payload)).holds is naive_tree(filters, found)


@given(
    st.decimals(allow_nan=False, allow_infinity=False),
    st.decimals(allow_nan=False, allow_infinity=False),
)
def test_numbers_compare_exactly(left: Decimal, right: Decimal) -> None:
    payload = json.dumps({"x": 0}).replace("0", f"{left:E}".replace("E+", "E"))
    for operator, holds in (("lt", left < right), ("eq", left == right), ("gt", left > right)):
        filters = json.dumps({f"x_{operator}": 0}).replace(" 0}", f" {right:E}}}")
        assert verdict(filters, payload).holds is holds


@pytest.mark.parametrize("number", ["9" * 100_000, "1e" + "9" * 30, "-1e-" + "9" * 30])
def test_absurd_numbers_compare_with_nothing(number: str) -> None:
    payload = '{"x": %s}' % number  # noqa: UP031
    for operator in ("eq", "gt", "lt", "gte", "lte"):
        assert not verdict('{"x_%s": 1}' % operator, payload).holds  # noqa: UP031
    assert verdict('{"x_ne": 1}', payload).holds


def test_evaluation_of_lists_of_any_length_is_bounded() -> None:
    def work(elements: int) -> int:
        ready = facts(json.dumps({"x": [1] * elements}))
        problems = Problems()
        read = parse_filter(parse_object('{"x_contains": 2}'), TRIGGER_FILTER, "", problems)
        count = 0

        def on_event(_frame: object, event: str, _argument: object) -> None:
            nonlocal count
            count += event in {"call", "c_call"}

        sys.setprofile(on_event)
        try:
            assert not evaluate(read, ready).holds
        finally:
            sys.setprofile(None)
        return count

    assert work(20_000) == work(1000)
