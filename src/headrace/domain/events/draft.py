"""Decodes and checks an event that a caller sent, before it gets its id.

Two paths lead to the same result. `decode_draft` is the fast one: typed decoding in C and only
cheap checks. Input that it does not recognise at once as valid (a `null`, a doubtful member,
anything invalid) goes to `headrace.domain.events.problems`, which knows every rule and reports
every problem.
"""

from __future__ import annotations

import msgspec

from headrace.domain.email import normalize_email
from headrace.domain.errors import ApiError
from headrace.domain.events.event_types import Draft, DraftLimits, EventInput
from headrace.domain.events.fields import (
    check_contact_id,
    check_external_id,
    check_idempotency_key,
    check_occurred_at,
    check_payload,
    is_event_name,
    is_reserved,
)
from headrace.domain.events.identity import IdentityType
from headrace.domain.events.problems import draft_or_problems

_decode = msgspec.json.Decoder(EventInput).decode

# The same few hundred names are checked millions of times. The cap limits the cache for a caller
# who invents names.
_known_names: set[str] = set()
_KNOWN_NAMES_MAX = 4096


def decode_draft(body: bytes, limits: DraftLimits) -> Draft:
    """Decode and check one event.

    Args:
        body: JSON text of the event object.
        limits: what depends on the project, the moment and the request's headers.

    Raises:
        ApiError: with every problem listed.
    """
    try:
        sent = _decode(body)
        return _check(sent, body, limits)
    except (ApiError, ValueError, msgspec.MsgspecError, RecursionError):
        return draft_or_problems(body, limits)


def _check(sent: EventInput, body: bytes, limits: DraftLimits) -> Draft:
    payload = bytes(sent.payload)
    if not _members_certain(sent, body, payload):
        raise ValueError
    name = sent.event
    if name not in _known_names:
        if not is_event_name(name) or is_reserved(name):
            raise ValueError
        if len(_known_names) < _KNOWN_NAMES_MAX:
            _known_names.add(name)
    key = _key(sent.idempotency_key, limits)
    contact_id = None if sent.contact_id is None else check_contact_id(sent.contact_id)
    external_id = None if sent.external_id is None else check_external_id(sent.external_id)
    email = None if sent.email is None else normalize_email(sent.email)
    if contact_id is not None:
        kind, value = IdentityType.CONTACT_ID, contact_id
    elif external_id is not None:
        kind, value = IdentityType.EXTERNAL_ID, external_id
    elif email is not None:
        kind, value = IdentityType.EMAIL, email
    else:
        raise ValueError
    return Draft(
        name,
        contact_id,
        external_id,
        email,
        None if sent.email == email else sent.email,
        check_payload(payload, limits.payload_bytes_max),
        limits.now_us
        if sent.occurred_at is None
        else check_occurred_at(sent.occurred_at, limits.now_us),
        key,
        kind,
        value,
    )


def _key(key: str | None, limits: DraftLimits) -> str | None:
    header_key = limits.header_key
    if header_key is not None:
        if key is not None and key != header_key:
            raise ValueError
        key = header_key
    return None if key is None else check_idempotency_key(key, limits.placeholders)


def _members_certain(sent: EventInput, body: bytes, payload: bytes) -> bool:
    """Whether no member can be a duplicate, derived from the number of quotes.

    A member that was sent adds two quotes for its name, two more when its value is a string. If
    that accounts for every quote outside the payload and nothing there is escaped, then there is no
    duplicate. (A `null` does not add up either; it takes the slow path.)
    """
    expected = 6 if payload else 4
    if sent.contact_id is not None:
        expected += 4
    if sent.external_id is not None:
        expected += 4
    if sent.email is not None:
        expected += 4
    if sent.occurred_at is not None:
        expected += 4
    if sent.idempotency_key is not None:
        expected += 4
    if body.count(b'"') - payload.count(b'"') != expected:
        return False
    return b"\\" not in body or body.count(b"\\") == payload.count(b"\\")
