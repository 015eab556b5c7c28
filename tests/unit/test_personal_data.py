"""What is detected as personal data, and what is not."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.catalog.personal_data import (
    DATE,
    LOOKED_AT_MAX,
    TEXT,
    URL,
    UUID,
    is_card_number,
    kinds_of,
    look_of_integer,
    look_of_key,
    look_of_text,
)


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("mike@x.example", ["email"]),
        ("Mike <mike.o'hara+x@mail.x.example>, later", ["email"]),
        ("a@b", []),
        ("@handle", []),
        ("4242 4242 4242 4242", ["card_number"]),
        ("card 4242-4242-4242-4242.", ["card_number"]),
        ("4242424242424241", []),
        ("1242424242424242", []),
        ("ord_4242424242424242x", []),
        ("+49 170 1234567", ["phone"]),
        ("(030) 901820-0", ["phone"]),
        ("call 0049-170-1234567 now", ["phone"]),
        ("2024-00012345", []),
        ("12345678", []),
        ("192.0.2.7", ["ip_address"]),
        ("from 2001:db8::1", ["ip_address"]),
        ("from 2001:db8::1.", ["ip_address"]),
        ("[2001:db8:0:1:2:3:4:5]:80", ["ip_address"]),
        ("::ffff:192.0.2.7", ["ip_address"]),
        ("::1, ::2", ["ip_address"]),
        ("a::b::c", []),
        ("12345::1", []),
        ("1.2.3", []),
        ("999.1.1.1", []),
        ("12:30:15", []),
        ("::", []),
        ("", []),
    ],
)
def test_texts(text: str, kinds: list[str]) -> None:
    assert kinds_of(look_of_text(text)) == kinds


@pytest.mark.parametrize(
    ("text", "look"),
    [
        ("2026-06-08", DATE),
        ("2026-06-08T14:15:00.000Z", DATE),
        ("2026-06-08 14:15:00+02:00", DATE),
        ("c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10", UUID),
        ("https://x.example/a", URL),
        ("hello", TEXT),
        ("A-100", TEXT),
    ],
)
def test_formats(text: str, look: int) -> None:
    assert look_of_text(text) == look


@pytest.mark.parametrize(
    ("key", "parent", "kinds"),
    [
        ("first_name", "", ["name"]),
        ("lastName", "", ["name"]),
        ("FULLNAME", "", ["name"]),
        ("name", "", ["name"]),
        ("name", "customer", ["name"]),
        ("name", "line_items", []),
        ("name", "Product", []),
        ("event_name", "", []),
        ("date-of-birth", "", ["name"]),
        ("billingEmail", "", ["email"]),
        ("mobile_phone", "", ["phone"]),
        ("ip", "", ["ip_address"]),
        ("description", "", []),
        ("total", "", []),
        ("", "", []),
    ],
)
def test_keys(key: str, parent: str, kinds: list[str]) -> None:
    assert kinds_of(look_of_key(key, parent)) == kinds


def test_a_card_may_be_a_number() -> None:
    assert kinds_of(look_of_integer(4242424242424242)) == ["card_number"]
    assert kinds_of(look_of_integer(4242424242424241)) == []
    assert kinds_of(look_of_integer(-4242424242424242)) == []
    assert kinds_of(look_of_integer(10**400)) == []


@given(st.integers(10**11, 10**17 - 1))
def test_wrong_check_digit_is_no_card(front: int) -> None:
    """Exactly one of ten check digits is right."""
    text = f"4{front}"
    right = sum(is_card_number(f"{text}{digit}") for digit in range(10))
    assert right == 1


@given(st.text(max_size=3000), st.text(max_size=300))
def test_any_text_and_key_is_classified(text: str, parent: str) -> None:
    assert look_of_text(text) > 0
    assert look_of_key(text, parent) >= 0


def cost_of_doubling(work: Callable[[str], object], start: str, unit: str, end: str) -> float:
    """Ratio of processor time to that of a text half as long; about 2 when linear."""
    sizes = (LOOKED_AT_MAX // 2, LOOKED_AT_MAX)
    texts = [start + unit * ((n - len(start + end)) // len(unit)) + end for n in sizes]
    best = [math.inf, math.inf]
    # The minimum of several: load on the machine can only make a run slower.
    for _ in range(15):
        for which, text in enumerate(texts):
            began = time.thread_time_ns()
            for _ in range(30):
                work(text)
            best[which] = min(best[which], time.thread_time_ns() - began)
    return best[1] / best[0]


#: Between 2, the ratio for a linear cost, and 4, the ratio for a quadratic one.
LINEAR_MAX = 3.0


@pytest.mark.parametrize(
    ("start", "unit", "end"),
    [
        *(("", unit, "") for unit in ("@", "a@", "1 ", "1.", ":", "a:", "+", "(1 ")),
        # An ending that prevents a match makes a regular expression try every alternative.
        *(("", unit, "g") for unit in (":", "a:", ":" * 99 + "g ")),
        *(("", unit, "a") for unit in ("1", "1-", "1.")),
        *(("1", ":", "g"), ("a@", "b.", ""), ("@", "a1", ""), ("", "a1", "@")),
    ],
)
def test_cost_of_hostile_text_is_linear(start: str, unit: str, end: str) -> None:
    assert cost_of_doubling(look_of_text, start, unit, end) < LINEAR_MAX


def test_quadratic_pattern_is_found() -> None:
    """A control: from each colon on, this pattern reads to the end and does not match."""
    quadratic = re.compile(r"[:]*g")
    assert cost_of_doubling(quadratic.search, "", ":", "") > LINEAR_MAX
