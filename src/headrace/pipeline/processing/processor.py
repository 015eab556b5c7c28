"""The loop that takes accepted events to `processed`."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence

import msgspec
import structlog

from headrace.domain.deliveries.retry import processing_retry, retry_at_us
from headrace.observability.events import EVENT_FAILED, LEADERSHIP_ACQUIRED
from headrace.pipeline.leadership import Leadership
from headrace.pipeline.loop import Loop, LoopOptions
from headrace.pipeline.processing.cataloguer import Cataloguer
from headrace.pipeline.processing.plan import BatchPlanner
from headrace.pipeline.processing.plan_contacts import MergeWanted
from headrace.pipeline.processing.rules_cache import RulesCache
from headrace.store.contract.errors import StoreError, StoreRowError, SubscribersChangedError
from headrace.store.contract.processing import (
    BatchPlan,
    Claimed,
    FindContact,
    ProcessingFailure,
    ProcessingStore,
)

#: Events of one transaction under contention: an accept may have to wait for its end.
SHARED_BATCH_MAX = 64
#: One worker at a time leads, and loses leadership when it does not renew it for so long.
LEADERSHIP = "processing"
LEADERSHIP_SECONDS = 15.0
#: Pause after a batch that was not full, so that the next one holds more than a few events.
GATHER_SECONDS = 0.01
#: The same while another worker leads.
STANDBY_SECONDS = 1.0
#: Age at which a backlog is no longer a burst.
OLD_BACKLOG_US = 30_000_000
ERROR_SECONDS = 0.5
RESCUED_MAX = 1000
#: Attempts of one batch while subscribers change concurrently.
RULES_READ_MAX = 5
#: Longest error text kept.
ERROR_CHARACTERS_MAX = 500

_log = structlog.get_logger()


class ProcessorStats(msgspec.Struct):
    """Counters since start."""

    processed: int = 0
    failed: int = 0
    batches: int = 0
    seconds: float = 0.0


class Processor:
    """Claims, plans, commits, repeats.

    Args:
        owner: name of this process, see `headrace.process_names`.
        nudged: set when events have arrived.
        rng: source of jitter.
        monotonic_s: measures how long leadership is held.
    """

    def __init__(
        self,
        store: ProcessingStore,
        rules: RulesCache,
        *,
        owner: str,
        nudged: asyncio.Event,
        clock_us: Callable[[], int],
        rng: random.Random,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stats = ProcessorStats()
        #: Called when a batch has made deliveries.
        self.on_deliveries: Callable[[], None] = lambda: None
        #: Called when a batch has events for automations.
        self.on_inbox: Callable[[], None] = lambda: None
        #: Called when a committed batch asks for merges of contacts.
        self.on_merges: Callable[[Sequence[MergeWanted]], None] = lambda _: None
        self._store = store
        self._rules = rules
        self._catalog = Cataloguer()
        self._owner = owner
        self._nudged = nudged
        self._clock_us = clock_us
        self._rng = rng
        self._leadership = Leadership(
            store.acquire_leadership,
            LEADERSHIP,
            owner=owner,
            lease_s=LEADERSHIP_SECONDS,
            clock_us=lambda: round(monotonic_s() * 1_000_000),
            renew_s=store.pace.renew_seconds,
        )
        #: The epoch whose claims are known.
        self._epoch: int | None = None
        self._batch: Sequence[Claimed] = ()
        #: Whether this process may hold claims that it does not know of.
        self._claims_unknown = False
        self._waits = 0
        self._batch_max = store.pace.batch_max
        #: When the oldest event of the last batch was received.
        self._received_us = 0

    async def run(self) -> None:
        """Process until cancelled; an error is logged and retried after a pause."""
        options = LoopOptions(
            name="processor",
            pause_s=self._store.pace.poll_seconds,
            idle_max_s=self._store.pace.poll_seconds_max,
            error_s=ERROR_SECONDS,
        )
        await Loop(self._step, options, wake=self._nudged).run()

    async def _step(self) -> float | None:
        try:
            if not await self._is_leader():
                return STANDBY_SECONDS
            return await self._pace(await self._timed_run())
        except StoreError:
            self._batch = ()
            self._claims_unknown = True
            self._leadership.doubt()
            raise

    async def _timed_run(self) -> tuple[int, float]:
        started = time.perf_counter()
        return await self.run_once(), time.perf_counter() - started

    async def _pace(self, last: tuple[int, float]) -> float | None:
        """Leave the store to others for a while; returns the seconds to wait, None when idle.

        Accepting comes first: an accept may have to wait for each transaction here. So single
        events are gathered for a moment. Under contention, a young backlog takes a ninth of the
        store's time, so that a burst is accepted at full speed; an old one takes half, so that a
        lasting load reaches a balance instead of piling up.
        """
        events, seconds = last
        waits, self._waits = self._waits, self._store.lock_waits()
        if not events:
            return None
        full = events >= self._batch_max
        contended = self._waits > waits
        self._batch_max = SHARED_BATCH_MAX if contended else self._store.pace.batch_max
        if self._batch and self._batch[0].crashes:
            # One of many events of a dead worker, processed one by one: nothing to gather.
            return 0.0
        if not full:
            await asyncio.sleep(GATHER_SECONDS)
        elif contended:
            old = self._clock_us() - self._received_us > OLD_BACKLOG_US
            await asyncio.sleep(seconds if old else 8 * seconds)
        return 0.0

    async def stop(self) -> None:
        """Release the claims so that another worker continues at once."""
        await self._store.release(self._owner)

    async def run_once(self) -> int:
        """Process one batch, claiming the next with it; how many events were done."""
        batch = self._batch or await self._store.claim(self._owner, self._batch_max)
        self._batch = ()
        if not batch:
            return 0
        self._received_us = batch[0].received_us
        started = time.perf_counter()
        try:
            done, self._batch = await self._process(batch, self._batch_max)
        except StoreRowError:
            done = await self._one_by_one(batch)
        except StoreError:
            raise
        except Exception:  # noqa: BLE001 - a bug must cost its own event only
            done = await self._one_by_one(batch)
        self.stats.batches += 1
        self.stats.processed += done
        self.stats.seconds += time.perf_counter() - started
        return len(batch)

    async def _process(
        self, batch: Sequence[Claimed], claim_next: int
    ) -> tuple[int, Sequence[Claimed]]:
        """Commit a batch with the newest rules; when they changed since, read them again."""
        backlog = len(batch) >= self._batch_max
        # Analyse payloads before the transaction, which others may wait for.
        seen = self._catalog.analyze(batch, backlog=backlog)
        for _ in range(RULES_READ_MAX):
            planner, version = BatchPlanner(self._rules.rules), self._rules.subscribers_version

            def plan(
                mine: Sequence[Claimed], find: FindContact, planner: BatchPlanner = planner
            ) -> BatchPlan:
                planned = planner(mine, find)
                everything = len(mine) == len(batch)
                planned.catalog = (
                    seen if everything else self._catalog.analyze(mine, backlog=backlog)
                )
                return planned

            try:
                result = await self._store.process(
                    self._owner, batch, plan, claim_next, subscribers_version=version
                )
            except SubscribersChangedError:
                await self._rules.refresh()
                continue
            if planner.deliveries:
                self.on_deliveries()
            if planner.inbox:
                self.on_inbox()
            if planner.merges:
                self.on_merges(planner.merges)
            return result
        raise SubscribersChangedError

    async def _one_by_one(self, batch: Sequence[Claimed]) -> int:
        """Find the failing event of a batch: each in a transaction of its own."""
        done = 0
        for claimed in batch:
            started = time.perf_counter()
            try:
                done += (await self._process([claimed], 0))[0]
            except StoreError as error:
                if not isinstance(error, StoreRowError):
                    raise
                await self._fail(claimed, error, time.perf_counter() - started)
            except Exception as error:  # noqa: BLE001 - recorded with the event
                await self._fail(claimed, error, time.perf_counter() - started)
        return done

    async def _fail(self, claimed: Claimed, error: Exception, seconds: float) -> None:
        policy = processing_retry(self._rules.rules.policies(claimed.project_id))
        permanent = bool(getattr(error, "permanent", False))
        now_us, jitter = self._clock_us(), self._rng.random()
        retry_us = None if permanent else retry_at_us(now_us, claimed.attempt, policy, jitter)
        cause = type(error).__name__
        failure = ProcessingFailure(cause, _text(error), int(seconds * 1_000_000), retry_us)
        self.stats.failed += 1
        _log.warning(EVENT_FAILED, sequence=claimed.sequence, cause=cause, attempt=claimed.attempt)
        await self._store.fail(self._owner, claimed, failure)

    async def _is_leader(self) -> bool:
        """Keep or acquire leadership; a new leader first frees the claims of the last one."""
        epoch = await self._leadership.epoch()
        if epoch is None:
            self._epoch = None
            self._batch = ()
            return False
        if epoch != self._epoch or self._claims_unknown:
            if epoch != self._epoch:
                _log.info(LEADERSHIP_ACQUIRED, task="processing", epoch=epoch)
            self._batch = ()
            while await self._store.rescue(self._owner, RESCUED_MAX) == RESCUED_MAX:
                pass
        self._epoch, self._claims_unknown = epoch, False
        return True


def _text(error: Exception) -> str:
    """Kind and message; what no store can keep (half a surrogate pair) is written as an escape."""
    name = type(error).__name__
    text = f"{name}: {error}" if str(error) else name
    return text.encode(errors="backslashreplace").decode()[:ERROR_CHARACTERS_MAX]
