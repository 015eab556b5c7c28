"""Limits repeated log lines about the same error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

from headrace.observability.events import (
    CATALOG_FAILED,
    LIBRARY_WARNED,
    REJECTIONS_DROPPED,
    REQUEST_FAILED,
    STORE_UNAVAILABLE,
)

#: While the store is unavailable every loop logs the same error several times a second, and a
#: caller with a failing request can send it as often.
LIMITED = frozenset(
    {STORE_UNAVAILABLE, REJECTIONS_DROPPED, LIBRARY_WARNED, REQUEST_FAILED, CATALOG_FAILED}
)
EVERY_SECONDS = 10.0
#: Kinds of lines kept; past it the oldest is dropped and may be emitted early.
KINDS_MAX = 50


class Repeats:
    """A processor of structlog: one line of each kind in 10 s, with how many were left out.

    A kind is the event name and its error up to the first colon, which separates details. It runs
    before the processor that formats stack traces, so that a dropped line is cheap.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        #: Kind -> when it was last emitted, and how many lines of it were dropped since.
        self._emitted: dict[tuple[str, str], tuple[float, int]] = {}

    def __call__(self, _: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """The line; raises `structlog.DropEvent` for one to drop."""
        name = line["event"]
        if name not in LIMITED:
            return line
        kind = (name, str(line.get("error", "")).partition(":")[0])
        now = self._monotonic_s()
        with self._lock:
            emitted_at, left_out = self._emitted.pop(kind, (-EVERY_SECONDS, 0))
            if now - emitted_at < EVERY_SECONDS:
                self._emitted[kind] = (emitted_at, left_out + 1)
                raise structlog.DropEvent
            while len(self._emitted) >= KINDS_MAX:
                del self._emitted[next(iter(self._emitted))]
            self._emitted[kind] = (now, 0)
        if left_out:
            line["left_out"] = left_out
        return line
