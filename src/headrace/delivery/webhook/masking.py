"""Masks the own headers of a webhook where its response repeats them.

An endpoint may echo the request, in an error page or while it is debugged. What is stored of a
response is shown to everyone who can read the project, so the values must not be in it.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable

from headrace.domain.deliveries.own_headers import MASK

#: A shorter value is no secret, and masking it would only garble the response.
SECRET_CHARACTERS_MIN = 6


def secrets_of(values: Iterable[str]) -> tuple[str, ...]:
    """What to mask: each value, and its words (the token of `Bearer token`), the longest first."""
    found: set[str] = set()
    for value in values:
        for text in (value, *value.split()):
            if len(text) >= SECRET_CHARACTERS_MIN:
                escaped = json.dumps(text)[1:-1]
                found |= {text, escaped, escaped.replace("/", "\\/"), html.escape(text)}
    return tuple(sorted(found, key=len, reverse=True))


def masked(text: str, secrets: Iterable[str], *, cut: bool = False) -> str:
    """The text without the secrets; `cut`: it may end inside of one."""
    for secret in secrets:
        text = text.replace(secret, MASK)
        if cut:
            text = _without_start(text, secret)
    return text


def _without_start(text: str, secret: str) -> str:
    for length in range(min(len(secret) - 1, len(text)), SECRET_CHARACTERS_MIN - 1, -1):
        if text.endswith(secret[:length]):
            return text[:-length] + MASK
    return text
