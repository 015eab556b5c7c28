"""Paths, types and examples of any payload that can be accepted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.catalog.example import CHARACTERS_MAX, redacted_example
from headrace.domain.catalog.paths import (
    NEW_MAX,
    NODES_MAX,
    PATH_CHARACTERS_MAX,
    PathBook,
    is_data,
)
from headrace.domain.catalog.personal_data import kinds_of
from headrace.domain.catalog.shapes import (
    LOOKS_SHIFT,
    TYPES_MASK,
    VALUES_MAX,
    Shape,
    personal_bits,
    shape_of,
)
from headrace.domain.catalog.value_types import TYPES, type_names

KEYS = st.text(max_size=90) | st.sampled_from(["a", "b.c", "*", "$", "x[]", "mike@x.example", "7"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=30,
)
PAYLOADS = st.dictionaries(KEYS, VALUES, max_size=6)


def shape(payload: Any) -> Shape:
    text = payload if isinstance(payload, str) else json.dumps(payload)
    return shape_of(text, PathBook())


def types(payload: Any) -> dict[str, list[str]]:
    return {
        place.path: type_names(bits & TYPES_MASK) for place, bits in shape(payload).places.items()
    }


def test_paths_name_members_and_elements() -> None:
    assert types({"a": {"b": 1}, "c": [{"d": "x"}, {"d": None}, [True]], "e": []}) == {
        "a": ["object"],
        "a.b": ["number"],
        "c": ["array"],
        "c[]": ["object", "array"],
        "c[].d": ["string", "null"],
        "c[][]": ["boolean"],
        "e": ["array"],
    }


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("plain", "plain"),
        ("größe", "größe"),
        ("$set", "$set"),
        ("with-dash", "with-dash"),
        ("a.b", '["a.b"]'),
        ("a b", '["a b"]'),
        ('say "x"', '["say \\"x\\""]'),
        ("", '[""]'),
        ("mike@x.example", "*"),
        ("12345", "*"),
        ("c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10", "*"),
        ("a1b2c3d4e5f60718", "*"),
        ("user_12345", "*"),
        ("\u202egnp", "*"),
        ("\n", "*"),
        ("x" * 200, "*"),
        ("*", "*"),
    ],
)
def test_keys_become_steps(key: str, path: str) -> None:
    assert list(types({key: 1})) == [path]
    assert list(types({"top": {key: 1}})) == [
        "top" + (path if path.startswith("[") else f".{path}"),
        "top",
    ]


def test_key_that_is_an_address_marks_only_its_own_path() -> None:
    book = PathBook()
    first = shape_of('{"by":{"mike@x.example":{"a":1}}}', book)
    second = shape_of('{"by":{"12345":{"a":1}}}', book)
    kinds = [
        {place.path: kinds_of(personal_bits(bits)) for place, bits in each.places.items()}
        for each in (first, second)
    ]
    assert kinds == [
        {"by": [], "by.*": ["email"], "by.*.a": []},
        {"by": [], "by.*": [], "by.*.a": []},
    ]


@pytest.mark.parametrize(
    "number", ["1e400", "-1e400", "9" * 5000, "9007199254740993", "-0", "1E+2", str(2**63)]
)
def test_every_number_is_a_number(number: str) -> None:
    assert types(f'{{"n":{number}}}') == {"n": ["number"]}
    assert json.loads(redacted_example(f'{{"n":{number}}}'))["n"] in (0, 0.5)


def test_a_duplicate_member_counts_once() -> None:
    assert types('{"a":1,"a":"x"}') == {"a": ["string"]}


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"a":}'])
def test_payload_that_is_no_object_is_reported(text: str) -> None:
    with pytest.raises(ValueError, match=r"object|JSON|char"):
        shape(text)


@given(PAYLOADS)
def test_any_payload_has_a_shape(payload: dict[str, Any]) -> None:
    found = shape(payload)
    paths = [place.path for place in found.places]
    assert len(set(paths)) == len(paths)
    assert bool(paths) == bool(payload)
    for place, bits in found.places.items():
        assert bits & TYPES_MASK or place.path.endswith("[]")
        assert bits >> LOOKS_SHIFT >= 0
        assert len(place.path) <= PATH_CHARACTERS_MAX
        assert place.path.isprintable()


@given(PAYLOADS)
def test_the_same_shape_twice_makes_nothing_new(payload: dict[str, Any]) -> None:
    book, text = PathBook(), json.dumps(payload)
    first, second = shape_of(text, book), shape_of(text, book)
    assert first.places == second.places


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [s for member in value.values() for s in _strings(member)]
    if isinstance(value, list):
        return [s for item in value for s in _strings(item)]
    return [value] if isinstance(value, str) else []


@given(PAYLOADS)
def test_an_example_holds_no_value(payload: dict[str, Any]) -> None:
    text = redacted_example(json.dumps(payload))
    assert len(text) <= CHARACTERS_MAX
    assert all(s.startswith("<") and s.endswith(">") for s in _strings(json.loads(text)))


def test_an_example_of_something_large_is_cut() -> None:
    payload = {f"key_{chr(97 + n % 26)}_{'x' * (n % 50)}": "v" * 100 for n in range(5000)}
    assert 2 < len(redacted_example(json.dumps(payload))) <= CHARACTERS_MAX


def test_excess_is_counted() -> None:
    wide = shape(
        {f"k{chr(97 + n // 676)}{chr(97 + n // 26 % 26)}{chr(97 + n % 26)}": 1 for n in range(5000)}
    )
    assert len(wide.places) == NEW_MAX
    assert wide.over == 5000 - NEW_MAX
    deep: Any = 1
    for _ in range(31):
        deep = {"k" * 79: deep}
    found = shape(deep)
    assert found.over == 1
    assert len(found.places) == 3
    many = shape({"a": [{"b": 1}] * 200_000})
    assert [place.path for place in many.places] == ["a[].b", "a[]", "a"]
    flat = shape({"a": {"b": [[1] * 50] * 50}, "c": [[2] * 50] * 50, "d": [[3] * 50] * 50})
    assert flat.over > 0
    assert sum(TYPES.values()) == TYPES_MASK
    assert VALUES_MAX == 5_000


def test_full_book_is_cleared_between_batches() -> None:
    book = PathBook()
    for n in range(NODES_MAX // NEW_MAX + 2):
        prefix = "".join(chr(97 + int(digit)) for digit in str(n))
        members = {f"{prefix}_{chr(97 + m // 26)}{chr(97 + m % 26)}": 1 for m in range(NEW_MAX)}
        shape_of(json.dumps(members), book)
    assert shape_of('{"fresh":1}', book).over == 1
    book.reset_if_full()
    assert shape_of('{"fresh":1}', book).over == 0


def test_short_words_are_not_data() -> None:
    assert [is_data(key) for key in ("sha256", "line_1", "utf8", "iso8601", "x12345")] == [
        *(False, False, False, False),
        True,
    ]
