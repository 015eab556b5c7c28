"""Names and descriptions of topics, audiences and webhooks."""

from __future__ import annotations

import unicodedata

NAME_CHARACTERS_MAX = 100
DESCRIPTION_CHARACTERS_MAX = 500


def check_name(text: str) -> str:
    """Return the name as stored and compared: trimmed, in one Unicode form.

    Raises:
        ValueError: with a sentence for the caller.
    """
    name = unicodedata.normalize("NFC", text.strip())
    if not 1 <= len(name) <= NAME_CHARACTERS_MAX:
        message = f"must be 1 to {NAME_CHARACTERS_MAX} characters, not only blanks"
        raise ValueError(message)
    _reject_control(name)
    return name


def check_description(text: str) -> str:
    """Return the text unchanged; line ends are allowed.

    Raises:
        ValueError: with a sentence for the caller.
    """
    if len(text) > DESCRIPTION_CHARACTERS_MAX:
        message = f"must be at most {DESCRIPTION_CHARACTERS_MAX} characters"
        raise ValueError(message)
    _reject_control(text.replace("\n", ""))
    return text


def _reject_control(text: str) -> None:
    if any(unicodedata.category(character) == "Cc" for character in text):
        message = "must not contain control characters"
        raise ValueError(message)
