"""A search looks for exactly the texts that begin with it, in the order of characters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.contacts.search import check_search, search_of

TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\U0010ffff"), min_size=1
)


@given(TEXTS, TEXTS, st.booleans())
def test_a_range_holds_what_begins_with_it(sought: str, other: str, joined: bool) -> None:
    held = sought + other if joined else other
    found = search_of(sought).external_id
    assert (found.low <= held < found.high) is held.startswith(sought)
    # Bytes of UTF-8, by which both stores compare, are in the same order.
    low, high, text = (each.encode() for each in (found.low, found.high, held))
    assert (low <= text < high) is held.startswith(sought)


@pytest.mark.parametrize("text", ["", " ", "\x00", "a\n", "x" * 256, "\U0010ffff"])
def test_what_cannot_be_looked_for(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        check_search(text)
