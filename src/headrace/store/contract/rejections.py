"""Records of rejected requests and events."""

from __future__ import annotations

import msgspec


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """A rejected request or event, without its values."""

    id: int = 0
    project_id: int
    at_us: int
    status: int
    code: str
    message: str
    #: `(field, message)` of each problem.
    details: list[tuple[str, str]]
    route: str
    api_key_id: str | None
    request_id: str | None
    #: Shape of what was sent: member name -> type and size, never a value.
    body_shape: dict[str, str]
    body_bytes: int
