"""The rule of each field of an event, each a function that raises ValueError with a sentence."""

from __future__ import annotations

import difflib
import re

from headrace.domain import timestamps
from headrace.domain.errors import ApiError, ErrorCode, echo
from headrace.domain.events.placeholders import BUILT_IN, Placeholders
from headrace.domain.ids import UUID_TEXT
from headrace.domain.json_text import DEPTH_MAX, deeper_than, forbidden_escape

EVENT_NAME_CHARACTERS_MAX = 200
EXTERNAL_ID_CHARACTERS_MAX = 255
IDEMPOTENCY_KEY_CHARACTERS_MAX = 255
#: How far ahead of the clock `occurred_at` may be, in microseconds.
FUTURE_MAX_US = 24 * 3600 * 1_000_000

MEMBERS = (
    "event",
    "contact_id",
    "external_id",
    "email",
    "payload",
    "occurred_at",
    "idempotency_key",
)

_NAME = re.compile(r"[a-z0-9_]+(?:\.[a-z0-9_]+)*")
_NIL_UUID = "00000000-0000-0000-0000-000000000000"
#: C0, DEL and C1; the Unicode category Cc.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PRINTABLE_ASCII = re.compile(r"[\x20-\x7e]+")


def is_event_name(name: str) -> bool:
    """Whether it is a valid event name, for callers or the system."""
    return len(name) <= EVENT_NAME_CHARACTERS_MAX and _NAME.fullmatch(name) is not None


def is_reserved(name: str) -> bool:
    """Whether the name is that of a system event."""
    return name == "sendrealm" or name.startswith("sendrealm.")


def check_event_name(name: str) -> str:
    """Check everything except the reserved namespace, which has an error code of its own."""
    if len(name) > EVENT_NAME_CHARACTERS_MAX:
        message = f"must be at most {EVENT_NAME_CHARACTERS_MAX} characters, got {len(name)}"
        raise ValueError(message)
    if _NAME.fullmatch(name) is None:
        message = (
            "must be lower-case words of a-z, 0-9 and _ joined by single dots, "
            "such as order.completed"
        )
        raise ValueError(message)
    return name


def check_contact_id(text: str) -> str:
    """Return the canonical lower-case form of a UUID in its 8-4-4-4-12 form."""
    if UUID_TEXT.fullmatch(text) is None:
        message = "must be a UUID such as c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"
        raise ValueError(message)
    lowered = text.lower()
    if lowered == _NIL_UUID:
        message = "is the nil UUID, which identifies nobody"
        raise ValueError(message)
    return lowered


def check_external_id(text: str) -> str:
    """Return the text unchanged."""
    if not 1 <= len(text) <= EXTERNAL_ID_CHARACTERS_MAX:
        message = f"must be 1 to {EXTERNAL_ID_CHARACTERS_MAX} characters, got {len(text)}"
        raise ValueError(message)
    if _CONTROL.search(text):
        message = "must not contain control characters"
        raise ValueError(message)
    if not text.strip():
        message = "must not be only blanks"
        raise ValueError(message)
    return text


def check_idempotency_key(text: str, placeholders: Placeholders = BUILT_IN) -> str:
    """Return the text unchanged: keys are compared byte for byte.

    A key that every event of a program has by mistake would make all but the first duplicates.
    """
    if not 1 <= len(text) <= IDEMPOTENCY_KEY_CHARACTERS_MAX:
        message = f"must be 1 to {IDEMPOTENCY_KEY_CHARACTERS_MAX} characters, got {len(text)}"
        raise ValueError(message)
    if _PRINTABLE_ASCII.fullmatch(text) is None:
        message = "must be printable ASCII characters"
        raise ValueError(message)
    if placeholders.is_unset_key(text):
        message = f"looks like an unset variable, got {echo(text)!r}; omit it or send a unique key"
        raise ValueError(message)
    return text


def check_occurred_at(text: str, now_us: int) -> int:
    """Return microseconds since 1970."""
    at_us = timestamps.parse(text)
    if at_us > now_us + FUTURE_MAX_US:
        message = "is more than 24 hours ahead of the server's clock"
        raise ValueError(message)
    return at_us


def check_payload(payload: bytes, bytes_max: int) -> str:
    """Return the payload's text.

    Raises:
        ApiError: 413 when it is larger than the project allows.
        ValueError: with a sentence for the caller.
    """
    if not payload:
        return "{}"
    if payload[0] != 0x7B:
        message = "must be an object"
        raise ValueError(message)
    if len(payload) > bytes_max:
        message = f"payload: is {len(payload)} bytes, the limit of this project is {bytes_max}"
        raise ApiError(ErrorCode.PAYLOAD_TOO_LARGE, message)
    found = forbidden_escape(payload)
    if found is not None:
        message = f"must not contain {found}"
        raise ValueError(message)
    if deeper_than(payload, DEPTH_MAX):
        message = f"must not nest deeper than {DEPTH_MAX} levels"
        raise ValueError(message)
    return payload.decode()


def unknown_hint(name: str, nearest: str | None, others_in: str | None) -> str:
    """The end of the message about an unknown member: the likely intended one."""
    if nearest is not None:
        return f"; did you mean {nearest}?"
    if others_in is None:
        return ""
    return f"; did you mean {others_in}.{echo(name)}? put your own data into {others_in}"


def nearest_member(name: str, known: tuple[str, ...] = MEMBERS) -> str | None:
    """The known member a caller most likely meant, for the message about an unknown one."""
    snake = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name[:64]).replace("-", "_").lower()
    aliases = {"id": "contact_id", "name": "event", "type": "event", "properties": "payload"}
    aliases |= {"data": "payload", "timestamp": "occurred_at", "user_id": "external_id"}
    if aliases.get(snake) in known:
        return aliases[snake]
    close = difflib.get_close_matches(snake, known, n=1, cutoff=0.5)
    return close[0] if close else None
