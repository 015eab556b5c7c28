"""Sending rates by relay and group of receivers; kept in memory by each worker.

When a receiver throttles, the interval of its mails doubles; it shrinks step by step once the
receiver accepts mail. A failing relay is paused for a while.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from headrace.domain.messages.settlement import SENDER_REJECTIONS_MAX, Settlement

#: Limit of groups remembered; past it, the least recently used is evicted.
GROUPS_MAX = 10_000
FIRST_INTERVAL_US = 1_000_000
INTERVAL_MAX_US = 600_000_000
#: Subtracted from the interval for every accepted mail.
RECOVERY_US = 100_000
RELAY_FIRST_US = 1_000_000
RELAY_MAX_US = 60_000_000


@dataclass(slots=True)
class _Group:
    interval_us: int = 0
    free_us: int = 0
    #: In a row, by sending domain; only for the log: the store holds back the mail.
    rejected: int = 0


class Pacing:
    """Rates of one worker, and its breaker of the relay."""

    def __init__(self) -> None:
        self._groups: OrderedDict[tuple[str, str], _Group] = OrderedDict()
        self._relay_failures = 0
        #: When the relay may be tried again.
        self.relay_free_us = 0

    @property
    def relay_fails(self) -> bool:
        """Whether the last attempts failed at the relay itself."""
        return self._relay_failures > 1

    def receiver_free_us(self, domain: str, group: str) -> int:
        """When a receiver may get the next mail of a sending domain."""
        held = self._groups.get((domain, group))
        return 0 if held is None else held.free_us

    def began(self, domain: str, group: str, now_us: int) -> None:
        """Note that a mail is being sent there."""
        held = self._groups.get((domain, group))
        if held is not None and held.interval_us:
            held.free_us = now_us + held.interval_us

    def ended(self, domain: str, group: str, settlement: Settlement, now_us: int) -> bool:
        """Learn from an attempt; whether the group has now rejected the sender repeatedly."""
        self._relay(settlement, now_us)
        held = self._groups.get((domain, group))
        if held is None:
            if not (settlement.slow_down or settlement.sender_rejected):
                return False
            held = self._groups[(domain, group)] = _Group()
            if len(self._groups) > GROUPS_MAX:
                self._groups.popitem(last=False)
        self._groups.move_to_end((domain, group))
        if settlement.slow_down:
            doubled = max(FIRST_INTERVAL_US, 2 * held.interval_us)
            held.interval_us = min(doubled, INTERVAL_MAX_US)
            held.free_us = now_us + held.interval_us
        elif not settlement.relay_down:
            held.interval_us = max(0, held.interval_us - RECOVERY_US)
        if not settlement.sender_rejected:
            held.rejected = 0
            return False
        held.rejected += 1
        return held.rejected % SENDER_REJECTIONS_MAX == 0

    def _relay(self, settlement: Settlement, now_us: int) -> None:
        if settlement.hold_relay:
            self._relay_failures += 1
            self.relay_free_us = now_us + RELAY_MAX_US
        elif settlement.relay_down:
            self._relay_failures += 1
            # Single failures between successes are not the relay's; a run of them is.
            wait_us = RELAY_FIRST_US << min(self._relay_failures, 6)
            if self._relay_failures > 1:
                self.relay_free_us = now_us + min(wait_us, RELAY_MAX_US)
        else:
            self._relay_failures = 0
            self.relay_free_us = 0
