"""Claims due deliveries and starts their attempts."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.delivery.contract import HandlerTarget, Isolation
from headrace.domain.deliveries.breaker import Permit
from headrace.pipeline.delivering.fair_scheduler import Candidate
from headrace.pipeline.delivering.state import DelivererState
from headrace.store.contract.deliveries import (
    BreakerChange,
    ClaimedDelivery,
    ClaimRequest,
    SubscriberQueue,
)
from headrace.store.deliveries.deliveries import Deliveries


class Claimer:
    """Scans a page of the queues at a time, and assigns the free slots to them.

    Args:
        owner: name of this process, see `headrace.process_names`.
        queues_max: scanned in one step; the others follow in the next.
        due_max: deliveries of one queue that are counted.
    """

    def __init__(
        self,
        store: Deliveries,
        state: DelivererState,
        *,
        owner: str,
        queues_max: int,
        due_max: int,
    ) -> None:
        self._store = store
        self._state = state
        self._owner = owner
        self._queues_max = queues_max
        self._due_max = due_max
        self._after: tuple[str, int] | None = None
        #: Handlers of this process; other workers claim the rest.
        self.handler_ids: frozenset[str] = frozenset()

    @property
    def more(self) -> bool:
        """Whether there are queues that the last step did not scan."""
        return self._after is not None

    async def begin(self) -> int:
        """Claim due deliveries and start their attempts; returns how many.

        Raises:
            StoreError: the store is unavailable.
        """
        state = self._state
        if state.scheduler.free < 1:
            self._after = None
            return 0
        page = await self._store.due_queues(
            after=self._after,
            handlers=self.handler_ids,
            limit=self._queues_max,
            due_max=self._due_max,
        )
        self._after = page.next_after
        permits: dict[str, Permit] = {}
        requests = self._requests(page.queues, permits)
        if not requests:
            return 0
        claimed = await self._store.claim(self._owner, requests, state.scheduler.free)
        state.breakers.remember(request.breaker for request in requests)
        for one in claimed:
            given_up = state.in_flight.begin(one, permits[one.subscriber_id], self._isolation(one))
            if given_up is not None:
                state.leave(given_up)
            state.scheduler.began(one.subscriber_id, one.project_id)
        state.breakers.keep({claim.subscriber_id for claim in state.in_flight.claims()})
        return len(claimed)

    def _isolation(self, claimed: ClaimedDelivery) -> Isolation:
        if isinstance(claimed.target, HandlerTarget):
            return self._state.suspects.isolation(claimed)
        return Isolation.NONE

    def _requests(
        self, queues: Sequence[SubscriberQueue], permits: dict[str, Permit]
    ) -> list[ClaimRequest]:
        """Assign the free slots to queues whose breakers admit a delivery."""
        changes: dict[str, BreakerChange] = {}
        candidates = []
        for queue in queues:
            change, permit = self._state.breakers.request(queue)
            if permit is None or (permit.probe and queue.subscriber_id in permits):
                continue
            changes[queue.subscriber_id], permits[queue.subscriber_id] = change, permit
            candidates.append(
                Candidate(queue.subscriber_id, queue.project_id, queue.due, permit.probe)
            )
        return [
            ClaimRequest(one.subscriber_id, one.project_id, count, changes[one.subscriber_id])
            for one, count in self._state.scheduler.assign(candidates)
        ]
