"""Makes foreign text (responses, exception messages) safe to store and show."""

from __future__ import annotations

import unicodedata

#: Longest excerpt, in bytes of UTF-8.
EXCERPT_BYTES_MAX = 1024

_REPLACEMENT = "\ufffd"
#: Controls, formats (bidirectional overrides, zero width), surrogates, private use, unassigned.
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_HARMLESS_CONTROLS = frozenset("\n\t")
#: Combining marks in a row that occur in real writing.
_MARKS_MAX = 4


def safe_excerpt(raw: bytes) -> str:
    """The beginning of a body as text, for any bytes."""
    return safe_text(raw[:EXCERPT_BYTES_MAX].decode("utf-8", errors="replace"))


def safe_text(text: str) -> str:
    """Replace what is unsafe in a terminal, a page or a database, and cut to the limit."""
    kept: list[str] = []
    marks = 0
    for character in text[:EXCERPT_BYTES_MAX].replace("\r\n", "\n"):
        category = unicodedata.category(character)
        marks = marks + 1 if category[0] == "M" else 0
        if marks > _MARKS_MAX:
            continue
        unsafe = category in _UNSAFE_CATEGORIES and character not in _HARMLESS_CONTROLS
        kept.append(_REPLACEMENT if unsafe else character)
    # A multi-byte character that is cut is dropped.
    return "".join(kept).encode()[:EXCERPT_BYTES_MAX].decode("utf-8", errors="ignore")
