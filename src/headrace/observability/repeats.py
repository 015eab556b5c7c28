"""Keeps the log short while one thing goes wrong again and again."""

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

#: While the store is away every loop meets the same error several times a second, and a caller who
#: has found a request that fails can send it as often.
LIMITED = frozenset(
    {STORE_UNAVAILABLE, REJECTIONS_DROPPED, LIBRARY_WARNED, REQUEST_FAILED, CATALOG_FAILED}
)
EVERY_SECONDS = 10.0
#: Kinds of lines remembered; past it the oldest is forgotten and may be told too early.
KINDS_MAX = 50


class Repeats:
    """A processor of structlog: one line of each kind in 10 s, with how many were left out.

    A kind is the name of the line and its error up to the first colon: what follows are details.
    It stands before the processor that formats traces, so that a line left out costs little.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        #: Kind -> when it was last told, and how many lines of it were left out since.
        self._told: dict[tuple[str, str], tuple[float, int]] = {}

    def __call__(self, _: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """The line; raises `structlog.DropEvent` for one that is left out."""
        name = line["event"]
        if name not in LIMITED:
            return line
        kind = (name, str(line.get("error", "")).partition(":")[0])
        now = self._monotonic_s()
        with self._lock:
            told_at, left_out = self._told.pop(kind, (-EVERY_SECONDS, 0))
            if now - told_at < EVERY_SECONDS:
                self._told[kind] = (told_at, left_out + 1)
                raise structlog.DropEvent
            while len(self._told) >= KINDS_MAX:
                del self._told[next(iter(self._told))]
            self._told[kind] = (now, 0)
        if left_out:
            line["left_out"] = left_out
        return line
