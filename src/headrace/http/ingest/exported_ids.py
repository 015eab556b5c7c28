"""Ids of events in batches of `headrace import`.

A line of an export names the event that it was. An export that comes back to its store stores
nothing twice, whether its events had idempotency keys or not. The id is sent as a further member,
`id`, or inside the key that `headrace export --importable` gives to events without one.
"""

from __future__ import annotations

import uuid

import msgspec

from headrace.domain.ids import UUID_TEXT

#: Prefix of a key that holds the id of an event without a key of its own.
EXPORT_KEY = "export:"


class _Named(msgspec.Struct):
    """What identifies the event of a line."""

    id: str | None = None
    idempotency_key: str | None = None


_decode = msgspec.json.Decoder(_Named).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def take_ids(texts: list[bytes]) -> dict[int, bytes]:
    """Remove the member `id` of each text; returns the ids by the index of their text."""
    found: dict[int, bytes] = {}
    for index, text in enumerate(texts):
        event_id, texts[index] = _take_id(text)
        if event_id is not None:
            found[index] = event_id
    return found


def _take_id(text: bytes) -> tuple[bytes | None, bytes]:
    """The id of a text, and the text without it; all else is left to the checks of every event."""
    try:
        named = _decode(text)
        members = {} if named.id is None else _decode_members(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None, text
    if named.id is not None:
        if UUID_TEXT.fullmatch(named.id) is None:
            return None, text
        del members["id"]
        return uuid.UUID(named.id).bytes, msgspec.json.encode(members)
    prefix, _, rest = (named.idempotency_key or "").partition(EXPORT_KEY)
    if prefix or UUID_TEXT.fullmatch(rest) is None:
        return None, text
    return uuid.UUID(rest).bytes, text
