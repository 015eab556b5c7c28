"""Settings of a project, each with unit, default and bounds, changed only by an operator."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from headrace.domain.compat.times import ClockCorrection
from headrace.domain.events.placeholders import check_words


class IdempotencyConflict(StrEnum):
    """The response to a repeated key with different content."""

    RETURN_EXISTING = "return_existing"
    REJECT = "reject"


class LinkIdentifiers(StrEnum):
    """How an unknown external_id affects the contact of the e-mail address sent with it."""

    #: The contact gets it, if it has none.
    FILL = "fill"
    #: It belongs to another contact, and the address is in conflict.
    CONFLICT = "conflict"


class Policies(msgspec.Struct, frozen=True, kw_only=True):
    """All policies of one project; the defaults are those of a new project."""

    event_retention_days: int = 90
    dead_letter_retention_days: int = 30
    event_payload_limit_bytes: int = 65536
    #: None: no limit.
    event_ingest_limit_per_second: int | None = None
    create_contacts: bool = True
    link_identifiers: LinkIdentifiers = LinkIdentifiers.FILL
    #: Whether an anonymous contact is merged into the one that it signs in as.
    merge_anonymous: bool = True
    #: See `headrace.domain.events.placeholders`.
    placeholder_identifiers: str = ""
    idempotency_conflict: IdempotencyConflict = IdempotencyConflict.RETURN_EXISTING
    #: Of times that client libraries of other services send.
    clock_correction: ClockCorrection = ClockCorrection.BROWSER
    delivery_max_attempts: int = 14
    processing_max_attempts: int = 10
    retry_base_seconds: float = 5
    retry_factor: float = 4
    retry_cap_seconds: float = 43200


#: Inclusive bounds of the numeric policies.
BOUNDS: dict[str, tuple[float, float]] = {
    "event_retention_days": (1, 3650),
    "dead_letter_retention_days": (1, 3650),
    "event_payload_limit_bytes": (256, 1_048_576),
    "event_ingest_limit_per_second": (1, 1_000_000),
    "delivery_max_attempts": (1, 30),
    "processing_max_attempts": (1, 30),
    "retry_base_seconds": (0.1, 3600),
    "retry_factor": (1, 10),
    "retry_cap_seconds": (1, 86400),
}

UNITS: dict[str, str] = {
    "event_retention_days": "days",
    "dead_letter_retention_days": "days",
    "event_payload_limit_bytes": "bytes",
    "event_ingest_limit_per_second": "events per second",
    "create_contacts": "true or false",
    "link_identifiers": "fill or conflict",
    "merge_anonymous": "true or false",
    "placeholder_identifiers": "words separated by commas",
    "idempotency_conflict": "return_existing or reject",
    "clock_correction": "browser, always or never",
    "delivery_max_attempts": "attempts",
    "processing_max_attempts": "attempts",
    "retry_base_seconds": "seconds",
    "retry_factor": "times",
    "retry_cap_seconds": "seconds",
}

NAMES = tuple(field.name for field in msgspec.structs.fields(Policies))
DEFAULTS = Policies()


def check_policy(name: str, value: Any) -> Any:
    """Return `value` in the type of policy `name`.

    Raises:
        KeyError: there is no policy of that name.
        ValueError: wrong type or out of bounds, with a sentence for the operator.
    """
    field = next((f for f in msgspec.structs.fields(Policies) if f.name == name), None)
    if field is None:
        raise KeyError(name)
    try:
        converted = msgspec.convert(value, field.type, strict=not isinstance(value, str))
    except msgspec.ValidationError:
        message = f"must be {_allowed(name)}"
        raise ValueError(message) from None
    low, high = BOUNDS.get(name, (0, 0))
    if name in BOUNDS and converted is not None and not low <= converted <= high:
        message = f"must be {_allowed(name)}"
        raise ValueError(message)
    return check_words(converted) if name == "placeholder_identifiers" else converted


def _allowed(name: str) -> str:
    if name not in BOUNDS:
        return UNITS[name]
    low, high = BOUNDS[name]
    none = " or null for no limit" if getattr(DEFAULTS, name) is None else ""
    return f"a number from {low:g} to {high:.10g} ({UNITS[name]}){none}"
