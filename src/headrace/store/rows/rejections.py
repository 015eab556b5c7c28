"""Rejections from their columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.store.contract import Rejection

COLUMNS = (
    "project_id, at_us, status, code, message, details, route, api_key_id, request_id, "
    "body_shape, body_bytes"
)
_NAMES = ("id", *(name.strip() for name in COLUMNS.split(",")))


def rejection_values(rejection: Rejection) -> tuple[Any, ...]:
    """Values of `COLUMNS`."""
    values = msgspec.structs.asdict(rejection)
    for name in ("details", "body_shape"):
        values[name] = msgspec.json.encode(values[name]).decode()
    return tuple(values[name] for name in _NAMES[1:])


def rejection(row: Sequence[Any]) -> Rejection:
    """A rejection from its id and `COLUMNS`."""
    values = dict(zip(_NAMES, row, strict=True))
    for name in ("details", "body_shape"):
        values[name] = msgspec.json.decode(values[name])
    return msgspec.convert(values, Rejection)
