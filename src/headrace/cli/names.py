"""What projects and keys may be called."""

from __future__ import annotations

from headrace.cli.failure import usage

NAME_CHARACTERS_MAX = 100


def check_name(text: str, what: str) -> str:
    """Return a name that lists can show.

    Raises:
        CommandFailed: empty, too long, or with characters that cannot be seen.
    """
    if not 1 <= len(text) <= NAME_CHARACTERS_MAX:
        raise usage(f"{what} must be 1 to {NAME_CHARACTERS_MAX} characters, got {len(text)}")
    if not text.isprintable() or text != text.strip():
        raise usage(f"{what} must be printable characters without blanks around them")
    return text
