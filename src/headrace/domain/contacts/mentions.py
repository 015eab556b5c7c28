"""Finds and masks identifiers of a person inside texts of others.

A name is found in any notation: in another case for addresses, with escapes of JSON, in another
Unicode form, percent-encoded in a link, inside JSON that is a string of other JSON. It must be a
whole word: a longer word that begins or ends like it is another name.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from urllib.parse import quote, unquote_plus

import msgspec

MASK = "[erased]"
#: A shorter name would be ambiguous.
CHARACTERS_MIN = 4
#: Places that are reported for one text.
PLACES_MAX = 10
PLACE_CHARACTERS_MAX = 120

# Boundaries of a name; an escape sequence of JSON inside a string ends where the name begins.
_BEFORE = r"(?:(?<![\w+-])(?<!\w\.)|(?<=\\[nrtbf])|(?<=\\u[0-9a-fA-F]{4}))"
_AFTER = r"(?![\w-])(?!\.\w)"
_NO_LETTER_BEFORE, _NO_LETTER_AFTER = r"(?<![^\W_])", r"(?![^\W_])"
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*|[{}\[\],:]', re.DOTALL)


class MaskedText(msgspec.Struct, frozen=True):
    """A JSON text without the names; the rest is unchanged, byte for byte."""

    text: str
    #: Where names occurred, such as `friends[0].email`; empty when there were none.
    places: tuple[str, ...]


class NameFinder:
    """Finds the names of one person.

    Args:
        names: external ids and addresses. Those with an @ match in any case, others exactly; digits
            alone only as a whole value.
    """

    def __init__(self, names: Iterable[str]) -> None:
        wanted = {name for name in names if len(name) >= CHARACTERS_MIN}
        self._numbers = {name for name in wanted if name.isdigit()}
        texts = wanted - self._numbers
        addresses = _alternatives(name for name in texts if "@" in name)
        others = _alternatives(name for name in texts if "@" not in name)
        parts = [f"(?i:{addresses})" if addresses else "", others]
        either = "|".join(part for part in parts if part)
        self._texts = re.compile(f"{_BEFORE}(?:{either}){_AFTER}") if either else None
        self._parts = re.compile(f"{_NO_LETTER_BEFORE}(?:{either}){_NO_LETTER_AFTER}")
        self._nothing = not either
        numbers = "|".join(sorted(self._numbers))
        self._digits = re.compile(rf"(?<!\d)(?:{numbers})(?!\d)") if numbers else None

    def masked(self, text: str) -> str:
        """A text with the mask in place of each name."""
        if text in self._numbers:
            return MASK
        if self._texts is None:
            return text
        masked = self._texts.sub(MASK, text)
        if masked == text and "%" in text and self._texts.search(unquote_plus(text)):
            # Encoded in an unknown way: the name inside cannot be located.
            return MASK
        return masked

    def masked_key(self, key: str) -> str:
        """An idempotency key with the mask in place of each name.

        Programs compose keys: a name may also be between hyphens and dots.
        """
        if key in self._numbers:
            return MASK
        return key if self._nothing else self._parts.sub(MASK, key)

    def masked_json(self, text: str) -> MaskedText:
        """A JSON text with the mask in place of each name, in keys and values."""
        if not self._may_be_in(text):
            return MaskedText(text, ())
        return _Masking(self).through(text)

    def is_number(self, text: str) -> bool:
        """Whether a number of a JSON text is a name."""
        return text in self._numbers

    def _may_be_in(self, text: str) -> bool:
        # Escapes and percent signs hide a name from a plain search.
        if self._texts is not None and ("\\" in text or "%" in text or self._texts.search(text)):
            return True
        return self._digits is not None and self._digits.search(text) is not None


class _Masking:
    """One pass over a JSON text, token by token."""

    def __init__(self, finder: NameFinder) -> None:
        self._finder = finder
        #: The current key of each enclosing object, the current index of each array.
        self._around: list[str | int] = []
        self._key_next = False
        self._masked_keys = 0
        self._places: dict[str, None] = {}

    def through(self, text: str) -> MaskedText:
        parts: list[str] = []
        end = 0
        for found in _TOKEN.finditer(text):
            replaced = self._token(found[0])
            if replaced is not None:
                parts += (text[end : found.start()], replaced)
                end = found.end()
        parts.append(text[end:])
        return MaskedText("".join(parts), tuple(self._places)[:PLACES_MAX])

    def _token(self, token: str) -> str | None:
        """Take a token; returns its replacement, None for no change."""
        first = token[0]
        if first == '"':
            return self._string(token)
        if first == "{":
            self._around.append("")
            self._key_next = True
        elif first == "[":
            self._around.append(0)
        elif first in "}]":
            self._around.pop()
        elif first == ",":
            self._next()
        elif first == ":":
            self._key_next = False
        elif self._finder.is_number(token):
            self._note()
            return f'"{MASK}"'
        return None

    def _next(self) -> None:
        last = self._around[-1]
        if isinstance(last, int):
            self._around[-1] = last + 1
        else:
            self._key_next = True

    def _string(self, token: str) -> str | None:
        text = json.loads(token, strict=False)
        masked = self._finder.masked(text)
        is_key = self._key_next and bool(self._around) and isinstance(self._around[-1], str)
        if is_key:
            if masked != text and self._masked_keys:
                # No two members of an object may have one name.
                masked = f"{masked} {self._masked_keys + 1}"
            self._around[-1] = masked
        if masked == text:
            return None
        self._masked_keys += is_key
        self._note()
        return json.dumps(masked, ensure_ascii=False)

    def _note(self) -> None:
        if len(self._places) < PLACES_MAX:
            self._places[place_text(self._around)] = None


def place_text(steps: Iterable[str | int]) -> str:
    """A place in a JSON text, such as `friends[0].email`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return text.removeprefix(".")[:PLACE_CHARACTERS_MAX]


def _alternatives(names: Iterable[str]) -> str:
    """A pattern for all notations of names, the longest first."""
    forms: set[str] = set()
    for name in names:
        for form in (*(unicodedata.normalize(kind, name) for kind in ("NFC", "NFD")), name):
            forms |= {form, quote(form, safe=""), quote(form, safe="@"), json.dumps(form)[1:-1]}
        local, at, domain = name.partition("@")
        if at and "xn--" in domain:
            forms.add(f"{local}@{_unicode(domain)}")
    return "|".join(re.escape(form) for form in sorted(forms, key=lambda each: (-len(each), each)))


def _unicode(domain: str) -> str:
    try:
        return domain.encode("ascii").decode("idna")
    except UnicodeError:
        return domain
