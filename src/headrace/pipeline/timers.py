"""Schedules the periodic parts of a loop."""

from __future__ import annotations

from collections.abc import Callable


class Timers:
    """A due time for each name; at first, all are due."""

    def __init__(self, clock_us: Callable[[], int]) -> None:
        self._clock_us = clock_us
        self._next_us: dict[str, int] = {}

    def is_due(self, name: str, every_s: float) -> bool:
        """Whether it is due; if so, it is due again in `every_s` seconds."""
        now_us = self._clock_us()
        if now_us < self._next_us.get(name, 0):
            return False
        self._next_us[name] = now_us + round(every_s * 1_000_000)
        return True

    def hurry(self, name: str) -> None:
        """Make it due at the next check."""
        self._next_us[name] = 0
