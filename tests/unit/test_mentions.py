"""A person's names in payloads of others: every spelling, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.domain.contacts.mentions import MASK, NameFinder

EMAIL = "ada@b.example"
FINDER = NameFinder([EMAIL, "user-77", "12345", "ab", "jürgen@münchen.example"])

FOUND = [
    f'"{EMAIL}"',
    f'"{EMAIL.upper()}"',
    r'"\u0061da@b.example"',
    f'"Write to <{EMAIL}>, or call."',
    f'"mailto:{EMAIL}?subject=x"',
    '"https://x.example/?to=ada%40b.example&n=1"',
    '"https://x.example/?to=%61da%40b.example"',
    f'"{EMAIL}."',
    json.dumps(json.dumps({"to": EMAIL, "note": f"hi\n{EMAIL}"})),
    '"J\\u00dcRGEN@m\\u00fcnchen.example"',
    '"ju\u0308rgen@mu\u0308nchen.example"',
    '"user-77"',
    '"/users/user-77/cart"',
    '"12345"',
    "12345",
]
OTHERS = [
    f'"x{EMAIL}"',
    f'"max.{EMAIL}"',
    f'"max+{EMAIL}"',
    f'"{EMAIL}.org"',
    f'"{EMAIL}-2"',
    '"user-77-2"',
    '"USER-77"',
    '"user-770"',
    '"order 12345"',
    "123456",
    "12345.5",
    '"ab"',
    '"a 100% sure \\"thing\\""',
]


@pytest.mark.parametrize("value", FOUND)
def test_a_name_is_found_however_it_is_written(value: str) -> None:
    masked = FINDER.masked_json(f'{{"a": [1, {{"b":{value}}}],"z":1.50}}')
    assert masked.places == ("a[1].b",)
    shown = json.loads(masked.text)["a"][1]["b"]
    assert MASK in shown
    assert "example" not in shown.replace("x.example", "") or "@" not in shown
    # Everything else is unchanged, byte for byte.
    assert masked.text.startswith('{"a": [1, {"b":"')
    assert masked.text.endswith('}],"z":1.50}')


@pytest.mark.parametrize("value", OTHERS)
def test_lookalikes_are_unchanged(value: str) -> None:
    text = f'{{"a":{value}}}'
    masked = FINDER.masked_json(text)
    assert (masked.text, masked.places) == (text, ())


def test_keys_are_masked_too_and_stay_apart() -> None:
    text = f'{{"{EMAIL}":{{"n":1,"ref":"user-77"}},"user-77":2,"k":"v"}}'
    masked = FINDER.masked_json(text)
    assert json.loads(masked.text) == {
        MASK: {"n": 1, "ref": MASK},
        f"{MASK} 2": 2,
        "k": "v",
    }
    assert not any("ada" in place or "77" in place for place in masked.places)


@pytest.mark.parametrize(
    ("key", "masked"),
    [
        (f"invite-{EMAIL}", f"invite-{MASK}"),
        (f"{EMAIL.upper()}:welcome", f"{MASK}:welcome"),
        ("cart_user-77_2", f"cart_{MASK}_2"),
        ("12345", MASK),
        ("order-12345", "order-12345"),
        ("superuser-77", "superuser-77"),
        ("", ""),
    ],
)
def test_a_name_is_a_part_of_a_key(key: str, masked: str) -> None:
    assert FINDER.masked_key(key) == masked


def test_no_names_find_nothing() -> None:
    finder = NameFinder(["", "ab"])
    text = '{"a":"","b":"ab","c":"%20\\n"}'
    assert finder.masked_json(text).text == text
    assert finder.masked("ab") == "ab"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
_NEVER = NameFinder(["somebody@never.example", "987654321987"])


@settings(max_examples=50)
@given(value=st.dictionaries(st.text(), _JSON), escaped=st.booleans())
def test_other_payloads_keep_every_byte(value: dict[str, Any], escaped: bool) -> None:
    text = json.dumps(value, ensure_ascii=escaped)
    masked = _NEVER.masked_json(text)
    assert (masked.text, masked.places) == (text, ())
    # The tokens are those of JSON, whatever strings contain.
    named = _NEVER.masked_json(
        json.dumps({"a": value, "b": "somebody@never.example"}, ensure_ascii=escaped)
    )
    assert json.loads(named.text) == {"a": json.loads(text), "b": MASK}
