"""A search finds exactly the texts that begin with it, in the order of code points."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.contacts.search import check_search, search_of

TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\U0010ffff"), min_size=1
)


@given(TEXTS, TEXTS, st.booleans())
def test_range_has_exactly_the_texts_with_the_prefix(sought: str, other: str, joined: bool) -> None:
    held = sought + other if joined else other
    found = search_of(sought).external_id
    assert (found.low <= held < found.high) is held.startswith(sought)
    # UTF-8 bytes, by which both stores compare, have the same order.
    low, high, text = (each.encode() for each in (found.low, found.high, held))
    assert (low <= text < high) is held.startswith(sought)


@pytest.mark.parametrize("text", ["", " ", "\x00", "a\n", "x" * 256, "\U0010ffff"])
def test_invalid_searches_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        check_search(text)
