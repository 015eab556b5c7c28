"""What one worker knows of attempts in flight and of their subscribers."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.pipeline.delivering.breaker_memory import BreakerMemory
from headrace.pipeline.delivering.fair_scheduler import FairScheduler
from headrace.pipeline.delivering.in_flight import InFlight
from headrace.pipeline.delivering.suspects import Suspects
from headrace.store.contract.deliveries import ClaimedDelivery


@dataclass(frozen=True, kw_only=True, slots=True)
class DelivererState:
    """Shared by claiming, recording and upkeep; all on one event loop."""

    in_flight: InFlight
    scheduler: FairScheduler
    breakers: BreakerMemory
    suspects: Suspects

    def leave(self, claimed: ClaimedDelivery) -> None:
        """Free the slot of a claim that has ended, with any outcome."""
        self.scheduler.ended(claimed.subscriber_id, claimed.project_id)
