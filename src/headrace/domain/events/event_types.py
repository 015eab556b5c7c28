"""Types of an incoming event before it is stored."""

from __future__ import annotations

import msgspec

from headrace.domain.events.identity import IdentityType
from headrace.domain.events.placeholders import BUILT_IN, Placeholders


class EventInput(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Body of `POST /events`: the one definition that decodes requests and describes them."""

    event: str
    contact_id: str | None = None
    external_id: str | None = None
    email: str | None = None
    #: Left as the bytes that were sent; empty when the member is absent.
    payload: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    occurred_at: str | None = None
    idempotency_key: str | None = None


class DraftLimits(msgspec.Struct, frozen=True, gc=False):
    """What a check depends on besides the body."""

    payload_bytes_max: int
    now_us: int
    #: Value of the `Idempotency-Key` header.
    header_key: str | None = None
    #: Identifiers that stand for nobody, and keys that stand for no event.
    placeholders: Placeholders = BUILT_IN


class Draft(msgspec.Struct, frozen=True, gc=False):
    """A checked event without id, project and origin."""

    event: str
    contact_id: str | None
    external_id: str | None
    #: Normalized.
    email: str | None
    #: As sent, where that differs.
    email_original: str | None
    payload: str
    occurred_us: int
    idempotency_key: str | None
    identity_type: IdentityType
    identity_value: str
