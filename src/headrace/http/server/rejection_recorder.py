"""Records rejected requests of a known project: the shape of the body, never its values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from headrace.domain.errors import ApiError, echo
from headrace.http.server.head import Head
from headrace.pipeline.access.keys import Principal
from headrace.pipeline.intake.rejections import RejectionLog
from headrace.store.contract.rejections import Rejection

#: Larger bodies are recorded without their shape, to bound the cost.
SHAPE_BYTES_MAX = 64 * 1024
SHAPE_MEMBERS_MAX = 20


class RejectionRecorder:
    """The HTTP edge's access to the rejection log."""

    def __init__(self, log: RejectionLog, clock_us: Callable[[], int]) -> None:
        self._log = log
        self._clock_us = clock_us

    def note(
        self, error: ApiError, head: Head, principal: Principal, request_id: bytes, body: bytes
    ) -> None:
        """Record a rejection. Overload and rate limits are only counted, to add no load."""
        if error.status in (429, 503):
            return
        self._log.add(
            Rejection(
                project_id=principal.project.id,
                at_us=self._clock_us(),
                status=error.status,
                code=error.code.value,
                message=error.message,
                details=[(problem.field, problem.message) for problem in error.details],
                route=f"{head.method.decode('ascii')} {echo(head.shown_path.decode('latin-1'))}",
                api_key_id=principal.key_id,
                request_id=request_id.decode("ascii"),
                body_shape=body_shape(body),
                body_bytes=len(body),
            )
        )


def body_shape(body: bytes) -> dict[str, str]:
    """Member -> type and size; empty when it is not a JSON object."""
    if len(body) > SHAPE_BYTES_MAX:
        return {}
    try:
        members = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    shown = list(members.items())[:SHAPE_MEMBERS_MAX]
    return {echo(name): _shape_of(value) for name, value in shown}


def _shape_of(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case str():
            return f"string of {len(value)}"
        case dict():
            return f"object of {len(value)}"
        case list():
            return f"array of {len(value)}"
        case None:
            return "null"
    return "number"
