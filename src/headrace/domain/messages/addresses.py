"""Addresses as in a header: `Shop <news@example.org>`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from headrace.domain.email import EMAIL_CHARACTERS_MAX, normalize_email

NAME_CHARACTERS_MAX = 200

_MAILBOX = re.compile(r"\s*(?P<name>[^<>]*?)\s*<(?P<address>[^<>]*)>\s*", re.DOTALL)
#: Control characters, line and paragraph separators, and marks that reorder text.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One address with its display name."""

    #: Normalized, domain in ASCII.
    address: str
    #: Empty: none.
    name: str = ""
    #: Local part as authored: the case of it belongs to the receiving host.
    original_local: str | None = None

    @property
    def domain(self) -> str:
        """Lower-case ASCII."""
        return self.address.rpartition("@")[2]

    @property
    def wire_address(self) -> str:
        """Address for the envelope and the header: local part as authored, domain in ASCII."""
        if self.original_local is None:
            return self.address
        return f"{self.original_local}@{self.domain}"


def parse_mailbox(text: str) -> Mailbox:
    """Read an address with or without a name before it.

    Raises:
        ValueError: with a sentence for the caller.
    """
    if len(text) > NAME_CHARACTERS_MAX + 2 * EMAIL_CHARACTERS_MAX:
        message = f"must be at most {NAME_CHARACTERS_MAX + EMAIL_CHARACTERS_MAX} characters"
        raise ValueError(message)
    if _FORBIDDEN.search(text):
        raise ValueError("must not contain control characters or marks that reorder text")
    match = _MAILBOX.fullmatch(text)
    if match is None:
        return _mailbox(text, "")
    name = match["name"]
    if _QUOTED.fullmatch(name):
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    if len(name) > NAME_CHARACTERS_MAX:
        message = f"must have a name of at most {NAME_CHARACTERS_MAX} characters"
        raise ValueError(message)
    return _mailbox(match["address"], name)


def _mailbox(address: str, name: str) -> Mailbox:
    normalized = normalize_email(address)
    local, _, _ = address.strip(" \t").rpartition("@")
    # The normalizer writes a quoted local part in its shortest form; that form is kept.
    differs = local != normalized.rpartition("@")[0] and local.isascii() and '"' not in local
    return Mailbox(normalized, name, local if differs else None)
