"""Headers that the owner of a webhook adds to its requests, such as `Authorization`.

Values are secrets: they are stored sealed and shown as `MASK`. Sending the mask back keeps the
stored value, so that a client can change what it has read and send all of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from headrace.domain.errors import echo
from headrace.domain.json_fields import kind_of, text_problem

#: Shown instead of a value.
MASK: Final = "***"
HEADERS_MAX = 20
NAME_CHARACTERS_MAX = 100
VALUE_CHARACTERS_MAX = 4096
#: Names and values of one webhook.
CHARACTERS_MAX = 8192

# Without a byte that ends a line or a header; RFC 9110 5.1, and 5.5 without other than ASCII.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[!-~](?:[ \t!-~]*[!-~])?")
#: What describes the message or the connection (RFC 9110 7.6.1), which Headrace decides.
_RESERVED = frozenset(
    {
        *("host", "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
        *("http2-settings", "expect", "accept-encoding"),
    }
)
_RESERVED_PREFIXES = ("content-", "proxy-", "webhook-")

#: Names and values in their order.
Headers = tuple[tuple[str, str], ...]
#: The same as requested; None: the value that is stored under this name.
WantedHeaders = tuple[tuple[str, str | None], ...]


class UnknownHeaderError(Exception):
    """The mask was sent for a header that is not stored; `args[0]` is its name."""


def check_name(name: str) -> str:
    """Return the name unchanged.

    Raises:
        ValueError: with a sentence for the caller.
    """
    if len(name) > NAME_CHARACTERS_MAX or _NAME.fullmatch(name) is None:
        message = (
            f"has an invalid name; a name has 1 to {NAME_CHARACTERS_MAX} letters, digits or hyphens"
        )
        raise ValueError(message)
    lower = name.lower()
    if lower in _RESERVED or lower.startswith(_RESERVED_PREFIXES):
        message = "cannot be set; it describes the message, the connection or the signature"
        raise ValueError(message)
    return name


def check_value(value: str) -> str:
    """Return the value unchanged.

    Raises:
        ValueError: with a sentence for the caller that does not repeat the value.
    """
    if not value:
        message = "must not be empty"
        raise ValueError(message)
    if len(value) > VALUE_CHARACTERS_MAX:
        message = f"must have at most {VALUE_CHARACTERS_MAX} characters, got {len(value)}"
        raise ValueError(message)
    if _VALUE.fullmatch(value) is None:
        message = "must be printable ASCII without line breaks and without blanks at its ends"
        raise ValueError(message)
    return value


def check_headers(
    members: Mapping[str, Any], add: Callable[[str, str], None], *, stored: bool
) -> WantedHeaders:
    """Check headers by name; what is wrong is left out of the result.

    Args:
        add: takes a field and what is wrong with it.
        stored: whether the mask may stand for a value that is stored.
    """
    if len(members) > HEADERS_MAX:
        add("headers", f"must have at most {HEADERS_MAX} headers, got {len(members)}")
        return ()
    found: dict[str, tuple[str, str | None]] = {}
    for name, value in members.items():
        problem = _problem(name, value, stored=stored)
        if problem is None and name.lower() in found:
            problem = "is there twice; names are compared without case"
        if problem is None:
            found[name.lower()] = (name, None if value == MASK else value)
        else:
            add(f"headers.{echo(name)}", problem)
    if sum(len(name) + len(value or "") for name, value in found.values()) > CHARACTERS_MAX:
        add("headers", f"must have at most {CHARACTERS_MAX} characters in all")
    return tuple(found.values())


def _problem(name: str, value: Any, *, stored: bool) -> str | None:
    if value is None:
        return f"must be a string, got {kind_of(value)}"
    problem = text_problem(value)
    if problem is not None:
        return problem
    try:
        check_name(name)
        check_value(value)
    except ValueError as error:
        return str(error)
    if value == MASK and not stored:
        return "is the mask of a stored value; send the value itself"
    return None


def parse_lines(text: str) -> tuple[dict[str, str], list[str]]:
    """Read `Name: value`, a line each.

    Returns:
        Values by name, and problems; a line without a colon is one.
    """
    members: dict[str, str] = {}
    problems: list[str] = []
    for line in filter(None, (line.strip() for line in text.split("\n"))):
        name, colon, value = line.partition(":")
        if not colon:
            # The line may be a value, so it is not repeated.
            problems.append("each line must be a name, a colon and a value")
        elif name.strip() in members:
            problems.append(f"{echo(name.strip())} is there twice")
        else:
            members[name.strip()] = value.strip()
    return members, problems


def merged(wanted: WantedHeaders, held: Headers) -> Headers:
    """What is to be stored.

    Raises:
        UnknownHeaderError: a value is to be kept that is not held.
    """
    values = {name.lower(): value for name, value in held}
    found = []
    for name, value in wanted:
        kept = values.get(name.lower()) if value is None else value
        if kept is None:
            raise UnknownHeaderError(name)
        found.append((name, kept))
    return tuple(found)


def encode(texts: Sequence[str]) -> str:
    """Names or values as they are stored; values are sealed then."""
    return msgspec.json.encode(texts).decode()


def decode(text: str | None) -> tuple[str, ...]:
    """Names or opened values from their text; none for None."""
    return () if text is None else msgspec.json.decode(text, type=tuple[str, ...])
