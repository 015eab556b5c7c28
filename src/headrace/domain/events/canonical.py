"""Compares two requests with the same idempotency key.

They are compared as JSON values, not as bytes: order of members, white space and notation of
escapes do not count; numbers are compared by value, so `1.0` equals `1` and digits past the
precision of a double still count.
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any

from headrace.domain.events.event import RESENT_WITH_OTHER_TIME, NewEvent
from headrace.domain.events.event_types import Draft


def same_content(
    event: NewEvent | Draft,
    received_us: int,
    first: tuple[str, str | None, str | None, str | None, int, int, str],
) -> bool:
    """Compare an event with the stored first copy.

    Args:
        event: the later one, received at `received_us`.
        first: event, contact_id, external_id, email, occurred_us, received_us and payload of the
            first. An omitted time is the time of receipt, and equals another omitted one. Of
            sources in `RESENT_WITH_OTHER_TIME`, times are not compared.
    """
    name, contact_id, external_id, email, occurred_us, first_received_us, payload = first
    if (event.event, event.contact_id, event.external_id, event.email) != (
        name,
        contact_id,
        external_id,
        email,
    ):
        return False
    both_left_out = event.occurred_us == received_us and occurred_us == first_received_us
    has_own_time = isinstance(event, Draft) or event.source not in RESENT_WITH_OTHER_TIME
    if has_own_time and event.occurred_us != occurred_us and not both_left_out:
        return False
    return event.payload == payload or _canonical(event.payload) == _canonical(payload)


def _canonical(text: str) -> Any:
    return json.loads(text, parse_int=_number, parse_float=_number)


def _number(text: str) -> tuple[str, Decimal | str]:
    """A number as a value of its own kind, so that `1` never equals `true`.

    Decimals are compared exactly and 1e400 does not become infinity. An overlong number is compared
    by its text, which is cheap.
    """
    try:
        return ("number", Decimal(text) if len(text) <= 64 else text)
    except InvalidOperation:
        return ("number", text)
