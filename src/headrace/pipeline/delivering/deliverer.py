"""The loop that makes deliveries.

1. Record ended attempts, in one transaction with their consequences and the breakers.
2. Renew leases, reclaim deliveries of dead workers, expire those without a subscriber, announce
   handlers, end the rates of webhooks that have caught up after a pause.
3. Scan for queues with due deliveries, assign the free slots, claim, and start the attempts.

A subscriber uses at most its share of the slots, and none while its breaker is open. So one that
is dead or slow delays no other.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog

from headrace.delivery.contract import Transport
from headrace.domain.access.policies import Policies
from headrace.domain.deliveries.breaker import BreakerPolicy
from headrace.observability.events import DELIVERIES_RESCUED
from headrace.pipeline.delivering.attempt_counter import AttemptCounter, DelivererStats
from headrace.pipeline.delivering.breaker_memory import BreakerMemory
from headrace.pipeline.delivering.claimer import Claimer
from headrace.pipeline.delivering.fair_scheduler import FairnessLimits, FairScheduler
from headrace.pipeline.delivering.in_flight import InFlight
from headrace.pipeline.delivering.recorder import Recorder
from headrace.pipeline.delivering.state import DelivererState
from headrace.pipeline.delivering.suspects import Suspects
from headrace.pipeline.loop import Loop, LoopOptions
from headrace.pipeline.timers import Timers
from headrace.store.contract.deliveries import LoadedHandler
from headrace.store.deliveries.deliveries import Deliveries
from headrace.store.deliveries.delivery_counts import DeliveryCounts
from headrace.store.deliveries.subscribers import Subscribers

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class DelivererOptions:
    """Limits and times of the loop."""

    fairness: FairnessLimits = field(default_factory=FairnessLimits)
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    #: Queues scanned in one step; the others follow in the next.
    lines_max: int = 128
    #: Attempts recorded in one transaction.
    records_max: int = 256
    #: Poll interval: the longest delay in noticing a due retry or work of another process.
    poll_s: float = 0.1
    #: The same when there was nothing for a while and no other part of the process woke the loop.
    idle_max_s: float = 1.0
    renew_s: float = 15.0
    rescue_s: float = 5.0
    expire_s: float = 30.0
    announce_s: float = 30.0
    #: Interval of ending the rates of webhooks that were paused and have caught up.
    pace_s: float = 5.0
    #: Interval of writing counts: a crash loses no more than this.
    count_s: float = 5.0
    #: Rows of one transaction of reclaiming and expiring.
    upkeep_max: int = 256
    #: Wait after an error of the store.
    error_s: float = 0.5
    #: Wait at shutdown for attempts in flight; the rest are released.
    stop_grace_s: float = 4.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Transports:
    """How subscribers are reached."""

    webhooks: Transport
    handlers: Transport
    #: Handlers that this process has loaded; it claims deliveries of no others.
    loaded: Sequence[LoadedHandler] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class DelivererStores:
    """The parts of the store that the loop works on."""

    queue: Deliveries
    #: Where loaded handlers are announced.
    subscribers: Subscribers
    #: Where attempts are counted.
    counts: DeliveryCounts


class StepReport(msgspec.Struct, frozen=True):
    """What one step of the loop did."""

    recorded: int
    begun: int
    #: Whether there are queues that were not scanned.
    more: bool


class Deliverer:
    """Claims, attempts, records, repeats.

    Args:
        stores: what the loop reads and writes.
        transports: how to reach subscribers; the caller closes them.
        owner: name of this process, see `headrace.process_names`.
        policies_of: current policies of a project.
        rng: source of jitter.
    """

    def __init__(
        self,
        stores: DelivererStores,
        transports: Transports,
        *,
        owner: str,
        policies_of: Callable[[int], Policies],
        clock_us: Callable[[], int],
        rng: random.Random,
        options: DelivererOptions | None = None,
    ) -> None:
        self.stats = DelivererStats()
        self._options = options = options or DelivererOptions()
        self._store = stores.queue
        self._subscribers = stores.subscribers
        self._handlers = transports.loaded
        self._owner = owner
        self._began_us = clock_us()
        self._timers = Timers(clock_us)
        self._loop = Loop(
            self._step,
            LoopOptions(
                name="deliverer",
                pause_s=options.poll_s,
                idle_max_s=options.idle_max_s,
                error_s=options.error_s,
                # A bug here must not end all deliveries.
                survives_faults=True,
            ),
        )
        self._flights = InFlight(
            transports.webhooks, transports.handlers, clock_us, self._loop.wake
        )
        self._state = state = DelivererState(
            in_flight=self._flights,
            scheduler=FairScheduler(options.fairness),
            breakers=BreakerMemory(options.breaker, clock_us, rng),
            suspects=Suspects(clock_us),
        )
        self._counter = AttemptCounter(stores.counts, self.stats)
        self._recorder = Recorder(
            stores.queue,
            state,
            self._counter,
            owner=owner,
            policies_of=policies_of,
            rng=rng,
        )
        self._claimer = Claimer(
            stores.queue,
            state,
            owner=owner,
            queues_max=options.lines_max,
            due_max=options.fairness.share_max,
        )

    def wake(self) -> None:
        """Signal that deliveries may be due. Cheap; on the event loop."""
        self._loop.wake()

    async def run(self) -> None:
        """Deliver until `stop`; an error is logged and retried after a pause."""
        await self._loop.run()

    async def _step(self) -> float | None:
        report = await self.run_once()
        return 0.0 if report.begun or report.more else None

    async def run_once(self) -> StepReport:
        """One step.

        Raises:
            StoreError: what was not recorded is kept for the next step.
        """
        recorded = await self._recorder.record(self._options.records_max)
        await self._upkeep()
        begun = 0 if self._loop.stopping else await self._claimer.begin()
        return StepReport(recorded, begun, self._claimer.more)

    async def announce(self) -> None:
        """Register the handlers of this process; the loop does so, too.

        Await it before processing starts, so that no event is fanned out without them.
        """
        ids = await self._subscribers.announce_handlers(
            self._handlers, running_since_us=self._began_us
        )
        self._claimer.handler_ids = frozenset(ids)

    async def stop(self) -> None:
        """Claim nothing more, wait a little for attempts in flight, release the rest."""
        await self._loop.stop()
        await self._flights.wait(self._options.stop_grace_s)
        try:
            while await self._recorder.record(self._options.records_max):
                pass
            await self._counter.write()
        finally:
            await self._give_back()

    async def _give_back(self) -> None:
        flights = self._flights.give_up([claim.number for claim in self._flights.claims()])
        await self._store.release(self._owner)
        for flight in flights:
            self._state.leave(flight.claimed)
        await self._recorder.record_cut_short(flights)

    # --- upkeep --------------------------------------------------------------------------------

    async def _upkeep(self) -> None:
        options, is_due = self._options, self._timers.is_due
        if is_due("announce", options.announce_s):
            await self.announce()
        if is_due("renew", options.renew_s):
            await self._renew()
        if is_due("rescue", options.rescue_s) or self._store.rescue_due():
            await self._rescue()
        if is_due("expire_unroutable", options.expire_s):
            expired = await self._store.expire_unroutable(options.upkeep_max)
            self.stats.unroutable += expired
            self._again_if(expired, "expire_unroutable")
        if is_due("pace", options.pace_s):
            await self._store.end_paces()
        if is_due("count", options.count_s):
            await self._counter.write()

    def _again_if(self, done: int, name: str) -> None:
        """After a full slice there may be more: continue in the next step, after claims."""
        if done >= self._options.upkeep_max:
            self._timers.hurry(name)

    async def _renew(self) -> None:
        claims = self._flights.claims()
        if not claims:
            return
        ours = await self._store.renew(self._owner, claims)
        lost = [claim.number for claim in claims if claim.number not in ours]
        for flight in self._flights.give_up(lost):
            self.stats.stale += 1
            self._state.leave(flight.claimed)

    async def _rescue(self) -> None:
        rescued = await self._store.rescue(self._options.upkeep_max)
        if rescued:
            self._state.suspects.add(self._claimer.handler_ids.intersection(rescued))
            self.stats.rescued += len(rescued)
            _log.warning(DELIVERIES_RESCUED, count=len(rescued))
        self._again_if(len(rescued), "rescue")
