"""What the router and the hot routes work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from headrace.domain.events.event import FirstCopy
from headrace.http.server.rejection_recorder import RejectionRecorder
from headrace.pipeline.intake.accept import Acceptor


class IngestServices(msgspec.Struct, frozen=True):
    """The services that accept events."""

    acceptor: Acceptor
    rejections: RejectionRecorder
    clock_us: Callable[[], int]
    #: Events of a project that are stored, by those of some ids.
    first_copies: Callable[[int, Sequence[bytes]], Awaitable[Mapping[bytes, FirstCopy]]]
