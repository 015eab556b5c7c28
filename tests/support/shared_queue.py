"""Workers that share one queue, each with its own lanes, as separate processes would."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from headrace.store.contract.processing import Claimed, Planner
from headrace.store.postgres import PostgresStore
from tests.support.queue import LEADERSHIP_US, Queue, mark_only, postgres_processing, sequences


class SharingWorker:
    """One worker, driven step by step."""

    def __init__(
        self, queue: Queue, name: str, monotonic_s: Callable[[], float] = lambda: 0.0
    ) -> None:
        store = queue.session.store
        assert isinstance(store, PostgresStore)
        self.name = name
        self.queue = queue
        self.store = postgres_processing(store, queue.clock, queue.dead, monotonic_s)
        self.epoch: int | None = None
        self.hands: Sequence[Claimed] = ()

    async def renew(self) -> int | None:
        """As the loop does: a worker that gains lanes rescues the claims of their dead owner."""
        epoch = await self.store.acquire_leadership("processing", self.name, LEADERSHIP_US)
        if epoch is not None and epoch != self.epoch:
            self.hands = ()
            await self.store.rescue(self.name, 1000)
        self.epoch = epoch
        return epoch

    async def claim(self, limit: int = 256) -> list[int]:
        self.hands = await self.store.claim(self.name, limit)
        return sequences(self.hands)

    async def process(self, plan: Planner = mark_only, claim_next: int = 0) -> int:
        done, self.hands = await self.store.process(
            self.name, self.hands, plan, claim_next, subscribers_version=0
        )
        return done

    async def stop(self) -> int:
        return await self.store.release(self.name)

    def lanes(self) -> set[int]:
        """The lanes that it believes to hold."""
        return {*self.store._lanes.held(self.name)}


def owners_of_lanes(queue: Queue) -> dict[str | None, int]:
    """Number of lanes of each worker, from the database."""
    return Counter(row[0] for row in queue.sql("SELECT owner FROM lanes"))


class Ledger:
    """Order in which the events of each identity were processed."""

    def __init__(self) -> None:
        self.done: dict[str, list[int]] = defaultdict(list)

    def note(self, batch: Sequence[Claimed]) -> None:
        for event in batch:
            assert event.external_id is not None
            self.done[event.external_id].append(event.sequence)
