"""Processors over the test's own queue; their store records calls and fails on demand."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from headrace.domain.access.policies import Policies
from headrace.pipeline.processing.plan import BatchPlanner, Rules
from headrace.pipeline.processing.processor import Processor
from headrace.pipeline.processing.rules_cache import RulesCache
from headrace.store.contract.errors import StoreError
from headrace.store.contract.processing import (
    BatchPlan,
    Claimed,
    FindContact,
    Planner,
    ProcessingFailure,
    SubscriberRule,
    WorkStats,
)
from tests.support.queue import Queue

WAIT_SECONDS_MAX = 20.0


class WatchedProcessing:
    """The real queue of either store; it records calls, and `until` waits for them."""

    def __init__(self, queue: Queue) -> None:
        self._real = queue.store
        # No test waits for a clock.
        self.pace = msgspec.structs.replace(self._real.pace, poll_seconds=0.0)
        #: `(verb, owner)` of every completed call.
        self.calls: list[tuple[str, str]] = []
        #: Raised by the next calls of `process`, one each.
        self.process_errors: list[StoreError] = []
        self._changed = asyncio.Event()

    def _ended(self, verb: str, owner: str) -> None:
        self.calls.append((verb, owner))
        self._changed.set()

    async def acquire_leadership(self, name: str, owner: str, lease_us: int) -> int | None:
        try:
            return await self._real.acquire_leadership(name, owner, lease_us)
        finally:
            self._ended("acquire_leadership", owner)

    async def claim(self, owner: str, limit: int) -> Sequence[Claimed]:
        try:
            return await self._real.claim(owner, limit)
        finally:
            self._ended("claim", owner)

    async def process(
        self,
        owner: str,
        batch: Sequence[Claimed],
        plan: Planner,
        claim_next: int,
        *,
        subscribers_version: int,
    ) -> tuple[int, Sequence[Claimed]]:
        try:
            if self.process_errors:
                raise self.process_errors.pop(0)
            return await self._real.process(
                owner, batch, plan, claim_next, subscribers_version=subscribers_version
            )
        finally:
            self._ended("process", owner)

    async def fail(self, owner: str, claimed: Claimed, failure: ProcessingFailure) -> bool:
        return await self._real.fail(owner, claimed, failure)

    async def release(self, owner: str) -> int:
        return await self._real.release(owner)

    async def rescue(self, owner: str, limit: int) -> int:
        return await self._real.rescue(owner, limit)

    async def subscriber_rules(self) -> tuple[int, Sequence[SubscriberRule]]:
        return await self._real.subscriber_rules()

    def lock_waits(self) -> int:
        return self._real.lock_waits()

    async def stats(self) -> WorkStats:
        return await self._real.stats()

    async def until(self, found: Callable[[], bool]) -> None:
        """Wait for a condition; it is checked after every call."""
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while not found():
                self._changed.clear()
                await self._changed.wait()

    async def until_asked(self, verb: str, owner: str, times: int = 1) -> None:
        """Wait for this many further calls."""
        goal = self.calls.count((verb, owner)) + times
        await self.until(lambda: self.calls.count((verb, owner)) >= goal)


class Bench:
    """State shared by the processors of one test."""

    def __init__(self, queue: Queue, policies: Policies | None = None) -> None:
        self.queue = queue
        self.store = WatchedProcessing(queue)
        self.rules = RulesCache(queue.session.store.projects, self.store)
        self.rules.rules = Rules({1: policies or Policies()}, ())
        self.rules._versions = (0, 0)
        self.nudged = asyncio.Event()
        self.monotonic_s = 0.0

    def processor(self, owner: str = "a") -> Processor:
        return Processor(
            self.store,
            self.rules,
            owner=owner,
            nudged=self.nudged,
            clock_us=self.queue.clock,
            rng=random.Random(7),
            monotonic_s=lambda: self.monotonic_s,
        )

    @asynccontextmanager
    async def running(self, owner: str = "a") -> AsyncIterator[Processor]:
        """A running processor, cancelled and stopped at the end of the block."""
        processor = self.processor(owner)
        task = asyncio.create_task(processor.run())
        try:
            yield processor
            assert not task.done()
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await processor.stop()

    async def settle(self, processor: Processor) -> None:
        """Step until nothing is due."""
        assert await processor._is_leader()
        while await processor.run_once():
            pass


class GuiltyPlanner(BatchPlanner):
    """Raises for events named `guilty`, and plans the rest normally."""

    error: Callable[[], Exception] = ValueError

    def __call__(self, batch: Sequence[Claimed], find: FindContact) -> BatchPlan:
        if any(claimed.event == "guilty" for claimed in batch):
            raise type(self).error()
        return super().__call__(batch, find)


class RefusedPlanner(BatchPlanner):
    """Returns a plan for events named `guilty` that no store can write."""

    def __call__(self, batch: Sequence[Claimed], find: FindContact) -> BatchPlan:
        plan = super().__call__(batch, find)
        for number, claimed in enumerate(batch):
            if claimed.event == "guilty":
                done: Any = plan.done[number]
                plan.done[number] = type(done)(
                    done.sequence, done.project_id, done.attempt, None, "\ud800", done.lane
                )
        return plan
