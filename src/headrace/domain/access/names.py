"""What projects and keys may be called."""

from __future__ import annotations

NAME_CHARACTERS_MAX = 100


def name_problem(text: str) -> str:
    """Why lists could not show this name, as the rest of a sentence; empty when they can."""
    if not 1 <= len(text) <= NAME_CHARACTERS_MAX:
        return f"must be 1 to {NAME_CHARACTERS_MAX} characters, got {len(text)}"
    if not text.isprintable() or text != text.strip():
        return "must be printable characters without blanks around them"
    return ""
