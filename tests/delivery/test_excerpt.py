"""Foreign text is stored short and harmless."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from headrace.delivery.excerpt import EXCERPT_BYTES_MAX, safe_excerpt, safe_text


@given(st.binary(max_size=5000))
def test_any_bytes_become_short_safe_text(raw: bytes) -> None:
    check(safe_excerpt(raw))


@given(st.text(max_size=3000))
def test_any_text_becomes_short_and_safe(text: str) -> None:
    check(safe_text(text))


def check(text: str) -> None:
    assert len(text.encode()) <= EXCERPT_BYTES_MAX
    for character in text:
        assert character in "\n\t" or unicodedata.category(character) not in {"Cc", "Cf", "Cs"}


def test_ordinary_text_is_kept() -> None:
    text = 'line one\r\n\t{"error": "caf\u00e9 \u2615 \U0001f600"}'
    assert safe_excerpt(text.encode()) == text.replace("\r\n", "\n")


def test_a_character_that_is_cut_is_dropped() -> None:
    assert safe_text("\u20ac" * 1000) == "\u20ac" * (EXCERPT_BYTES_MAX // 3)


def test_towers_of_combining_marks_are_cut() -> None:
    assert len(safe_text("a" + "\u0301" * 500 + "b")) < 10
