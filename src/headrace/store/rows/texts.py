"""Text of others made fit for every store."""

from __future__ import annotations

_REPLACEMENT = "\ufffd"


def storable(text: str) -> str:
    """The text without what a store refuses: NUL and surrogates that stand alone."""
    if "\0" in text:
        text = text.replace("\0", _REPLACEMENT)
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join(_REPLACEMENT if "\ud800" <= c <= "\udfff" else c for c in text)
    return text
