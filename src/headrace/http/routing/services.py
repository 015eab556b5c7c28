"""What the router and the hot routes work with."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from headrace.http.server.rejections import Rejections
from headrace.pipeline.intake.accept import Acceptor


class IngestServices(msgspec.Struct, frozen=True):
    """The services that accept events."""

    acceptor: Acceptor
    refusals: Rejections
    clock_us: Callable[[], int]
