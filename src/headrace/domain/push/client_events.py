"""Events that clients report, and what becomes of them.

What a client reports about a notification is counted with the notification. Everything else becomes
an event of the contact: under its own name when that is a valid one, else as `client.<slug>` with
the original in the payload.
"""

from __future__ import annotations

import re
import unicodedata
from hashlib import sha256

import msgspec

from headrace.domain.events.fields import (
    EVENT_NAME_CHARACTERS_MAX,
    IDEMPOTENCY_KEY_CHARACTERS_MAX,
    is_event_name,
    is_reserved,
)

OPEN, CLICK, ACTION, DISMISS, DELIVERY = (
    "open",
    "click",
    "notification_action",
    "dismiss",
    "delivery",
)
#: What clients report by themselves about a notification.
REPORTS = frozenset(
    {OPEN, CLICK, ACTION, DISMISS, DELIVERY, "foreground_display"}
    | {"background_notification_received"}
)
PREFIX = "client."
#: Member of the payload with the name that the client gave, where it is not that of the event.
ORIGINAL = "client_event"
#: An open and a click are one tap when they come within this time.
TAP_US = 2_000_000
#: Of a name that is kept.
NAME_CHARACTERS_MAX = 500

_NOT_SLUG = re.compile(r"[^a-z0-9]+")
_KEY = re.compile(r"[\x20-\x7e]+")


def event_name_of(name: str) -> tuple[str, bool]:
    """Name of the event that a client's event becomes, and whether it is another one.

    >>> event_name_of("checkout.started")
    ('checkout.started', False)
    >>> event_name_of("Checkout Started!")
    ('client.checkout_started', True)
    """
    if is_event_name(name) and not is_reserved(name):
        return name, False
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = _NOT_SLUG.sub("_", plain).strip("_")
    if not slug:
        # Names in other scripts must not become one.
        slug = f"event_{sha256(name.encode()).hexdigest()[:8]}"
    return f"{PREFIX}{slug}"[:EVENT_NAME_CHARACTERS_MAX].rstrip("_"), True


def payload_with_name(payload: str, name: str) -> str:
    """The payload with the original name as its last member.

    Args:
        payload: JSON text of an object.
    """
    inner = payload.strip()[1:-1].rstrip()
    comma = "," if inner else ""
    shown = msgspec.json.encode(name[:NAME_CHARACTERS_MAX]).decode()
    return f'{{{inner}{comma}"{ORIGINAL}":{shown}}}'


def event_key(app_id: str, device_id: str, key: str) -> str:
    """Idempotency key of the event: a client's keys are its own, whatever others use."""
    start = f"push/{app_id}/{device_id}/"
    if _KEY.fullmatch(key) and len(start) + len(key) <= IDEMPOTENCY_KEY_CHARACTERS_MAX:
        return start + key
    return f"{start}sha256-{sha256(key.encode()).hexdigest()[:40]}"
