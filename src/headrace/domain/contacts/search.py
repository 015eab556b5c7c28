"""Search for contacts by the beginning of an identifier."""

from __future__ import annotations

import re
import unicodedata

import msgspec

SEARCH_CHARACTERS_MAX = 255
#: A search with at most this many matches uses only the indexes of identifiers. A wider one
#: examines the newest contacts one by one, which finds enough matches soon.
MATCHES_MAX = 5_000

#: Control characters, and the last character of Unicode, which none follows.
_INVALID = re.compile("[\x00-\x1f\x7f-\x9f\U0010ffff]")


class Range(msgspec.Struct, frozen=True):
    """Texts from `low` to before `high`, in the order of code points."""

    low: str
    high: str


class Search(msgspec.Struct, frozen=True):
    """A search: one of the identifiers is in its range."""

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
    if _INVALID.search(text) or not text.strip():
        message = "must not be only blanks or contain control characters"
        raise ValueError(message)
    return text


def search_of(text: str) -> Search:
    """The search for a checked text. Addresses are compared in normalized form."""
    address = unicodedata.normalize("NFC", text.strip()).lower()
    return Search(_beginning_with(text), _beginning_with(address))


def _beginning_with(text: str) -> Range:
    following = ord(text[-1]) + 1
    # Surrogates are not characters: no text has one.
    if following == 0xD800:
        following = 0xE000
    return Range(text, text[:-1] + chr(following))
