"""Reads members of a provider's JSON, of which nothing is certain."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.domain import timestamps
from headrace.domain.email import EMAIL_CHARACTERS_MAX
from headrace.domain.messages.feedback.form import RECIPIENTS_MAX
from headrace.domain.messages.feedback.origin import address_of, message_id_of, read_addresses
from headrace.domain.messages.tokens import TOKEN_HEADER, BounceAddresses

#: Bytes of a webhook's body; SNS sends at most 256 KiB.
BODY_BYTES_MAX = 512 * 1024
#: Name of the metadata (Postmark) or tag (Resend) that carries the token of a message.
TOKEN_NAME = "headrace"  # noqa: S105 - a name, no secret
TEXT_CHARACTERS_MAX = 2000
_HEADERS_MAX = 200


def read_json(body: bytes | str) -> dict[str, Any]:
    """The members of an object; empty for anything else."""
    if len(body) > BODY_BYTES_MAX:
        return {}
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return {}
    return found if isinstance(found, dict) else {}


def text(members: dict[str, Any], *names: str) -> str:
    """The first member that is a text; empty without one."""
    found = next((members[name] for name in names if isinstance(members.get(name), str)), "")
    return found[:TEXT_CHARACTERS_MAX].replace("\x00", "")


def inside(members: dict[str, Any], name: str) -> dict[str, Any]:
    """A member that is an object; empty without one."""
    found = members.get(name)
    return found if isinstance(found, dict) else {}


def objects(members: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects in a member that is an array."""
    found = members.get(name)
    items = found[:_HEADERS_MAX] if isinstance(found, list) else []
    return [item for item in items if isinstance(item, dict)]


def addresses(members: dict[str, Any], name: str) -> list[str]:
    """The addresses in a member that is an array of texts, or one text."""
    found = members.get(name)
    items = found[:RECIPIENTS_MAX] if isinstance(found, list) else [found]
    read = (address(item) for item in items if isinstance(item, str))
    return [item for item in read if item is not None]


def address(value: str) -> str | None:
    """The address in a text such as `Ann <ann@example.org>`."""
    return address_of(value[: EMAIL_CHARACTERS_MAX * 2])


def message_id_header(headers: list[dict[str, Any]]) -> str | None:
    """`Message-ID` of a list of objects with `name` and `value`."""
    values = (text(one, "value") for one in headers if text(one, "name").lower() == "message-id")
    return message_id_of(next(values, ""))


def token_header(headers: list[dict[str, Any]]) -> str:
    """The token in a list of objects with `name` and `value`; empty without one."""
    wanted = TOKEN_HEADER.lower()
    found = (text(one, "value") for one in headers if text(one, "name").lower() == wanted)
    return next(found, "").strip()


def time_of(value: str) -> int | None:
    """Microseconds since 1970 of an ISO 8601 time, None when it is none."""
    try:
        return timestamps.parse(value)
    except ValueError:
        return None


def signed_message_id(
    known: BounceAddresses | None, *, sender: str = "", token: str = ""
) -> str | None:
    """The message of an envelope sender or of a token, verified.

    Args:
        known: the store's bounce addresses; None: nothing is believed.
        sender: envelope sender as the provider reports it.
        token: token of an envelope sender, as metadata or tag.
    """
    if known is None:
        return None
    found = read_addresses(known, (sender,))
    return found if isinstance(found, str) else known.keys.read_verp(token)
