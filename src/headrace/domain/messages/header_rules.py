"""Rules for headers that a caller may set in a mail."""

from __future__ import annotations

import re

NAME_CHARACTERS_MAX = 76
#: RFC 5322 2.1.1: a line has at most 998 characters; a value stays far below after encoding.
VALUE_CHARACTERS_MAX = 998
HEADERS_MAX = 50

#: Headers that Headrace writes, or that a relay or receiver trusts; in lower case.
RESERVED = frozenset(
    {
        *("auto-submitted", "bcc", "cc", "date", "dkim-signature", "feedback-id", "from"),
        *("list-id", "list-unsubscribe", "list-unsubscribe-post", "message-id", "mime-version"),
        *("received", "reply-to", "return-path", "sender", "subject", "to", "x-headrace-attempt"),
        *("authentication-results", "delivered-to", "domainkey-signature", "received-spf"),
        *("original-recipient", "disposition-notification-to", "return-receipt-to"),
        "x-pm-metadata-headrace",
    }
)
_RESERVED_PREFIXES = ("content-", "resent-", "arc-", "x-headrace-")
#: RFC 5322 3.6.8 allows more; these are what every relay passes on.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def check_header(name: str, value: str) -> None:
    """Check one authored header.

    Raises:
        ValueError: with a sentence for the caller.
    """
    check_header_name(name)
    check_header_value(value)


def check_header_name(name: str) -> None:
    """Check the name of an authored header.

    Raises:
        ValueError: with a sentence for the caller.
    """
    if len(name) > NAME_CHARACTERS_MAX or _NAME.fullmatch(name) is None:
        message = f"has a name that must be 1 to {NAME_CHARACTERS_MAX} letters, digits, - and _"
        raise ValueError(message)
    lowered = name.lower()
    if lowered in RESERVED or lowered.startswith(_RESERVED_PREFIXES):
        raise ValueError("is a header that Headrace writes itself")


def check_header_value(value: str) -> str:
    """Return a header's value unchanged.

    Raises:
        ValueError: with a sentence for the caller.
    """
    if not value.strip() or len(value) > VALUE_CHARACTERS_MAX:
        message = f"must be 1 to {VALUE_CHARACTERS_MAX} characters, not only blanks"
        raise ValueError(message)
    if _FORBIDDEN.search(value):
        raise ValueError("must not contain line breaks or other control characters")
    return value
