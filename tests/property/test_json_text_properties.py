"""Rules on JSON text against slow and obvious implementations."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.domain.events.canonical import same_content
from headrace.domain.events.event_types import Draft
from headrace.domain.events.identity import IdentityType
from headrace.domain.json_text import (
    DuplicateMemberError,
    deeper_than,
    forbidden_escape,
    parse_object,
)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='ab"\\{}[]é\n', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(alphabet='a"\\{[', max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max((depth_of(inner) for inner in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((depth_of(inner) for inner in value), default=0)
    return 0


@settings(max_examples=400)
@given(JSON_VALUES, st.integers(0, 6), st.booleans())
def test_depth_is_that_of_the_parsed_value(value: Any, limit: int, plain: bool) -> None:
    text = json.dumps(value, ensure_ascii=plain).encode()
    assert deeper_than(text, limit) == (depth_of(value) > limit)


@pytest.mark.parametrize("depth", [1, 31, 32, 33, 1000, 500_000])
def test_depth_of_deep_texts(depth: int) -> None:
    assert deeper_than(b'{"a":' * depth + b"1" + b"}" * depth, 32) == (depth > 32)
    assert deeper_than(b"[" * depth, 32) == (depth > 32)


@settings(max_examples=200)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=20), st.integers(0, 60))
def test_depth_of_several_deep_values(depths: list[int], limit: int) -> None:
    """Deeper than the rounds that most texts need."""
    text = "[" + ",".join("[" * (depth - 1) + "]" * (depth - 1) for depth in depths) + "]"
    text = text.replace("[,", "[0,").replace(",,", ",0,").replace(",,", ",0,").replace(",]", ",0]")
    assert deeper_than(text.encode(), limit) == (depth_of(json.loads(text)) > limit)


def escape_problem(text: str) -> str | None:
    """Character by character."""
    at, high = 0, False
    while at < len(text):
        if text[at] != "\\":
            if high:
                return "a lone surrogate"
            at += 1
            continue
        found = re.match(r"\\u([0-9a-fA-F]{4})", text[at:])
        code = int(found[1], 16) if found else -1
        if high and not 0xDC00 <= code <= 0xDFFF:
            return "a lone surrogate"
        if code == 0:
            return "the character NUL"
        if not high and 0xDC00 <= code <= 0xDFFF:
            return "a lone surrogate"
        high = 0xD800 <= code <= 0xDBFF
        at += 6 if found else 2
    return "a lone surrogate" if high else None


ESCAPED = st.lists(
    st.sampled_from(
        (
            *(r"\u0000", r"\ud800", r"\udbff", r"\udc00", r"\udfff", r"\u0041", r"\uD83D\uDE00"),
            *("\\\\", r"\"", r"\n", "u0000", "ud800", "a", "é"),
        )
    ),
    max_size=8,
).map("".join)


@settings(max_examples=600)
@given(ESCAPED)
def test_forbidden_escapes_are_found_as_character_by_character(text: str) -> None:
    assert forbidden_escape(text.encode()) == escape_problem(text)


@settings(max_examples=300)
@given(ESCAPED)
def test_accepted_text_can_be_encoded_and_has_no_nul(text: str) -> None:
    if forbidden_escape(text.encode()) is None and '"' not in text.replace(r"\"", ""):
        value = json.loads(f'"{text}"')
        assert "\0" not in value
        value.encode()


@given(st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=5))
def test_objects_are_parsed_as_by_the_library(value: dict[str, Any]) -> None:
    parsed = parse_object(json.dumps(value))
    assert list(parsed) == list(value)
    assert json.loads(json.dumps(parsed, default=str)) is not None


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=5))
def test_duplicate_member_is_rejected_only_in_the_outermost_object(names: list[str]) -> None:
    inner = "{" + ",".join(f'"{name}":1' for name in names) + "}"
    assert parse_object(f'{{"outer":{inner},"list":[{inner}]}}')
    if len(set(names)) == len(names):
        assert list(parse_object(inner)) == names
    else:
        with pytest.raises(DuplicateMemberError):
            parse_object(inner)


def draft(payload: str) -> Draft:
    return Draft("a", None, "x", None, None, payload, 5, "k", IdentityType.EXTERNAL_ID, "x")


def same(one: str, other: str) -> bool:
    return same_content(draft(one), 5, ("a", None, "x", None, 5, 5, other))


@given(st.dictionaries(st.text(max_size=4), JSON_VALUES, max_size=4))
def test_notation_does_not_make_content_differ(value: dict[str, Any]) -> None:
    plain = json.dumps(value)
    assert same(plain, json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False))
    assert same(plain, json.dumps(dict(reversed(value.items()))))


@settings(max_examples=200)
@given(JSON_VALUES, JSON_VALUES)
def test_other_values_make_content_differ(one: Any, other: Any) -> None:
    texts = json.dumps({"v": one}), json.dumps({"v": other})
    # True equals 1 in Python, but not in JSON: the sorted text distinguishes them.
    wanted = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert same(*texts) == wanted


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("1", "1.0", True),
        ("1e2", "100", True),
        ("0", "-0", True),
        ("1e400", "1e401", False),
        ("9007199254740993", "9007199254740992", False),
        ("0.1", "0.10000000000000001", False),
        ("true", "1", False),
        ("null", "0", False),
        ('"1"', "1", False),
        ("1e999999999999999999999", "1", False),
        ("9" * 5000, "9" * 5000, True),
        ("9" * 5000, "9" * 4999 + "8", False),
        (r'"\u00e9"', '"é"', True),
        ("[1,2]", "[2,1]", False),
    ],
)
def test_numbers_are_compared_by_value(one: str, other: str, equal: bool) -> None:
    assert same(f'{{"v":{one}}}', f'{{"v":{other}}}') == equal
