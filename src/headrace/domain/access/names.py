"""Names of projects and keys."""

from __future__ import annotations

NAME_CHARACTERS_MAX = 100


def name_problem(text: str) -> str:
    """Why a name is invalid, as the rest of a sentence; empty when it is valid."""
    if not 1 <= len(text) <= NAME_CHARACTERS_MAX:
        return f"must be 1 to {NAME_CHARACTERS_MAX} characters, got {len(text)}"
    if not text.isprintable() or text != text.strip():
        return "must be printable characters without surrounding whitespace"
    return ""
