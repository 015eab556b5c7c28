"""E-mail addresses: a normalized form for comparison, with the original kept."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

#: RFC 5321 4.5.3.1.3 with RFC 3696 erratum 1690.
EMAIL_CHARACTERS_MAX = 254

# The form of nearly all addresses: ASCII, no quoting, a dotted domain of plain labels. Others go to
# the library, which knows the rest of RFC 5321, 6531 and IDNA.
_PLAIN = re.compile(
    r"[a-z0-9_+-]{1,32}(?:\.[a-z0-9_+-]{1,31}){0,1}"
    r"@(?:[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?\.){1,4}[a-z]{2,24}"
)


@lru_cache(maxsize=8192)
def normalize_email(original: str) -> str:
    """Return the normalized form: trimmed, NFC, lower-cased, domain in IDNA (ASCII) form.

    Dots and plus parts of the local part are kept: only the receiving host knows their meaning.

    Raises:
        ValueError: with a sentence for the caller.
    """
    if len(original) > EMAIL_CHARACTERS_MAX * 2:
        message = f"must be at most {EMAIL_CHARACTERS_MAX} characters"
        raise ValueError(message)
    trimmed = original.strip(" \t")
    lowered = trimmed.lower()
    if lowered.isascii() and "--" not in lowered and _PLAIN.fullmatch(lowered):
        return lowered
    local, domain = _parse(unicodedata.normalize("NFC", trimmed))
    local = unicodedata.normalize("NFC", local.lower())
    normalized = f"{local}@{domain.lower()}"
    if len(normalized) > EMAIL_CHARACTERS_MAX:
        message = f"must be at most {EMAIL_CHARACTERS_MAX} characters"
        raise ValueError(message)
    return normalized


def _parse(address: str) -> tuple[str, str]:
    """Local part, and domain in ASCII."""
    # Loaded at the first address that is not plain, to keep the start of commands fast.
    import email_validator  # noqa: PLC0415

    # Addresses at reserved domains (`.test`, `.invalid`, `.local`) are syntactically fine, and
    # staging systems send them all day.
    email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()
    try:
        parts = email_validator.validate_email(
            address, check_deliverability=False, allow_smtputf8=True
        )
    except email_validator.EmailNotValidError as error:
        message = f"is not a valid e-mail address: {_plain_ascii(str(error))}"
        raise ValueError(message) from None
    return parts.local_part, parts.ascii_domain


def _plain_ascii(text: str) -> str:
    # The library quotes single characters of the input, which may be bidi controls.
    return text.encode("ascii", "backslashreplace").decode("ascii")[:160]
