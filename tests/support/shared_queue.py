"""Workers that share one queue, each as a process of its own would: with lanes of its own."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from headrace.store.contract.processing import Claimed, Planner
from headrace.store.postgres import PostgresStore
from tests.support.queue import LEADERSHIP_US, Queue, mark_only, postgres_processing, sequences


class SharingWorker:
    """One worker; the test says when it does what."""

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
        """As the loop does it: whoever gained lanes frees what the last owner died with."""
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
        """What it believes to hold."""
        return {*self.store._lanes.held(self.name)}


def owners_of_lanes(queue: Queue) -> dict[str | None, int]:
    """How many lanes each worker has, by the database."""
    return Counter(row[0] for row in queue.sql("SELECT owner FROM lanes"))


class Ledger:
    """In which order the events of each identity were processed."""

    def __init__(self) -> None:
        self.done: dict[str, list[int]] = defaultdict(list)

    def note(self, batch: Sequence[Claimed]) -> None:
        for event in batch:
            assert event.external_id is not None
            self.done[event.external_id].append(event.sequence)
