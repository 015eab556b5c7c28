"""Search for contacts by the beginning of an identifier."""

from __future__ import annotations

import re
import unicodedata

import msgspec

SEARCH_CHARACTERS_MAX = 255
#: A search that no more contacts than this match is answered from the indexes of identifiers alone.
#: For a wider one the newest contacts are looked at one by one: that finds plenty of them soon.
MATCHES_MAX = 5_000

#: Control characters, and the last character of Unicode, which none follows.
_REFUSED = re.compile("[\x00-\x1f\x7f-\x9f\U0010ffff]")


class Range(msgspec.Struct, frozen=True):
    """Texts from `low` on and before `high`, in the order of their characters."""

    low: str
    high: str


class Search(msgspec.Struct, frozen=True):
    """Who is looked for: one of the identifiers lies in its range."""

    external_id: Range
    #: Of the normalized address.
    email: Range


def check_search(text: str) -> str:
    """Return the text unchanged.

    Raises:
        ValueError: with a sentence for the caller.
    """
    if not 1 <= len(text) <= SEARCH_CHARACTERS_MAX:
        message = f"must be 1 to {SEARCH_CHARACTERS_MAX} characters, got {len(text)}"
        raise ValueError(message)
    if _REFUSED.search(text) or not text.strip():
        message = "must not be only blanks or contain control characters"
        raise ValueError(message)
    return text


def search_of(text: str) -> Search:
    """What a checked text looks for. Addresses are compared as they are kept."""
    address = unicodedata.normalize("NFC", text.strip()).lower()
    return Search(_beginning_with(text), _beginning_with(address))


def _beginning_with(text: str) -> Range:
    following = ord(text[-1]) + 1
    # Surrogates are no characters: no text holds one.
    if following == 0xD800:
        following = 0xE000
    return Range(text, text[:-1] + chr(following))
