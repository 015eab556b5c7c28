"""Breakers and rates of push services; kept in memory by each worker.

A service that fails several times in a row is not called for a while, which doubles with each
further failure. One that asks for a slower pace is not called for as long as it says.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from headrace.domain.push.outcomes import PushResult

#: Services remembered; past it, the least recently used is evicted.
SERVICES_MAX = 1000
#: Failures in a row before a service is not called.
FAILURES_MAX = 5
FIRST_PAUSE_US = 1_000_000
PAUSE_MAX_US = 300_000_000
#: Pause after a response that asks for one without saying how long.
THROTTLED_US = 5_000_000


@dataclass(slots=True)
class _Service:
    failures: int = 0
    free_us: int = 0


class ServicePacing:
    """Breakers of one worker, by host and port."""

    def __init__(self) -> None:
        self._services: OrderedDict[str, _Service] = OrderedDict()

    def free_us(self, service: str) -> int:
        """When a service may be called; 0 or past: now."""
        held = self._services.get(service)
        return 0 if held is None else held.free_us

    def ended(
        self, service: str, result: PushResult, retry_after_s: float | None, now_us: int
    ) -> bool:
        """Learn from an attempt; whether the service has just been closed for failing."""
        slower = result is PushResult.THROTTLED or (
            result is PushResult.SERVICE_UNAVAILABLE and retry_after_s is not None
        )
        held = self._services.get(service)
        if held is None:
            if not (slower or result.service_down):
                return False
            held = self._services[service] = _Service()
            if len(self._services) > SERVICES_MAX:
                self._services.popitem(last=False)
        self._services.move_to_end(service)
        if slower:
            wait_us = round((retry_after_s or 0.0) * 1_000_000) or THROTTLED_US
            held.free_us = max(held.free_us, now_us + min(wait_us, PAUSE_MAX_US))
        if not result.service_down:
            held.failures = 0
            return False
        if now_us < held.free_us:
            # An attempt that began before the service was closed.
            return False
        held.failures += 1
        over = held.failures - FAILURES_MAX
        if over < 0:
            return False
        held.free_us = now_us + min(FIRST_PAUSE_US << min(over, 20), PAUSE_MAX_US)
        return over == 0
