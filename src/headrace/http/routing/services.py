"""What the router and the hot routes work with."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from headrace.http.server.rejection_recorder import RejectionRecorder
from headrace.pipeline.intake.accept import Acceptor


class IngestServices(msgspec.Struct, frozen=True):
    """The services that accept events."""

    acceptor: Acceptor
    rejections: RejectionRecorder
    clock_us: Callable[[], int]
