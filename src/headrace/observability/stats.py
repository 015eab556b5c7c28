"""Counters that the hot path keeps as plain numbers."""

from __future__ import annotations

import msgspec

from headrace.domain.errors import ErrorCode


class AcceptStats(msgspec.Struct):
    """Counters since start; written on the event loop only."""

    accepted: int = 0
    deduplicated: int = 0
    mismatched: int = 0
    #: By error code.
    rejected: dict[str, int] = msgspec.field(default_factory=dict)

    def reject(self, code: ErrorCode) -> None:
        """Count a rejection."""
        self.rejected[code] = self.rejected.get(code, 0) + 1
