"""The loop that takes deliveries to their subscribers.

1. Record what has ended, in one transaction with what follows from it and with the breakers.
2. Renew leases, rescue what dead workers held, expire what has no subscriber, announce handlers.
3. Look which queues wait, deal the free places out, claim, and begin the attempts.

A subscriber holds its share of the places and no more, and none while its breaker is open. So one
that is dead or drips delays nobody else.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog

from headrace.delivery.contract import AttemptOutcome, Failed, HandlerTarget, Isolation, Transport
from headrace.domain.access.policies import Policies
from headrace.domain.deliveries.breaker import BreakerPolicy, BreakerState, Permit
from headrace.domain.deliveries.retry import delivery_retry
from headrace.observability.events import (
    DELIVERIES_RESCUED,
    DELIVERY_DROPPED,
)
from headrace.pipeline.delivering.breakers import after_attempts, breaker_of, breaker_text
from headrace.pipeline.delivering.fair_scheduler import Candidate, FairScheduler, TurnLimits
from headrace.pipeline.delivering.in_flight import InFlight
from headrace.pipeline.delivering.results import Ended, by_subscriber, outcome_of, record_of
from headrace.pipeline.delivering.suspects import Suspects
from headrace.pipeline.loop import Loop, LoopOptions
from headrace.store.contract.deliveries import (
    BreakerChange,
    ClaimedDelivery,
    ClaimRequest,
    LoadedHandler,
    SubscriberQueue,
)
from headrace.store.contract.delivery_counts import AttemptCounts
from headrace.store.contract.errors import StoreRowError
from headrace.store.deliveries.deliveries import Deliveries
from headrace.store.deliveries.delivery_counts import DeliveryCounts
from headrace.store.deliveries.subscribers import Subscribers

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class DelivererOptions:
    """Limits and times of the loop."""

    turns: TurnLimits = field(default_factory=TurnLimits)
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    #: Lines looked at in one step; further ones have their turn in the next.
    lines_max: int = 128
    #: Attempts recorded in one transaction.
    records_max: int = 256
    #: Longest wait for a wake-up; so late is a retry or the work of another process noticed.
    poll_s: float = 0.1
    renew_s: float = 15.0
    rescue_s: float = 5.0
    expire_s: float = 30.0
    announce_s: float = 30.0
    #: So many seconds of counts are lost with a worker.
    count_s: float = 5.0
    #: Rows of one transaction of rescue and shedding.
    upkeep_max: int = 256
    #: Wait after an error of the store.
    error_s: float = 0.5
    #: At the end, for attempts on their way; the others are given back.
    stop_grace_s: float = 4.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Transports:
    """How subscribers are reached."""

    webhooks: Transport
    handlers: Transport
    #: Handlers that this process has loaded; it takes no deliveries of others.
    loaded: Sequence[LoadedHandler] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class DelivererStores:
    """The parts of the store that the loop works on."""

    queue: Deliveries
    #: Where loaded handlers are announced.
    subscribers: Subscribers
    #: Where attempts are counted.
    counts: DeliveryCounts


class DelivererStats(msgspec.Struct):
    """Counters since start."""

    delivered: int = 0
    failed: int = 0
    #: Attempts whose claim was lost meanwhile; somebody else made or makes another.
    stale: int = 0
    rescued: int = 0
    unroutable: int = 0


class StepReport(msgspec.Struct, frozen=True):
    """What one step of the loop did."""

    recorded: int
    begun: int
    #: Whether there are queues that were not looked at.
    more: bool


class Deliverer:
    """Claims, attempts, records, repeats.

    Args:
        stores: what the loop reads and writes.
        transports: how to reach subscribers; closed by who made them.
        owner: name of this process, see `headrace.process_names`.
        policies_of: policies of a project, as they are now.
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
        self._store = stores.queue
        self._count_store = stores.counts
        self._subscribers = stores.subscribers
        self._handlers = transports.loaded
        self._handler_ids: frozenset[str] = frozenset()
        self._owner = owner
        self._policies_of = policies_of
        self._clock_us = clock_us
        self._rng = rng
        self._options = options or DelivererOptions()
        self._turns = FairScheduler(self._options.turns)
        self._loop = Loop(
            self._step,
            LoopOptions(
                name="deliverer",
                pause_s=self._options.poll_s,
                error_s=self._options.error_s,
                # A fault of ours must not end all deliveries.
                survives_faults=True,
            ),
        )
        self._flights = InFlight(
            transports.webhooks, transports.handlers, clock_us, self._loop.wake
        )
        self._suspects = Suspects(clock_us)
        self._after: tuple[str, int] | None = None
        #: Breakers of subscribers with something on its way, as last seen.
        self._breakers: dict[str, str | None] = {}
        self._began_us = clock_us()
        self._next_us = dict.fromkeys(
            ("renew", "rescue", "expire_unroutable", "announce", "count"), 0
        )
        #: What the store has not been told yet.
        self._counts = AttemptCounts()

    def wake(self) -> None:
        """Say that something may be due. Cheap; on the event loop."""
        self._loop.wake()

    async def run(self) -> None:
        """Deliver until `stop`; an error is logged and waited out, never the end."""
        await self._loop.run()

    async def _step(self) -> float | None:
        report = await self.run_once()
        return 0.0 if report.begun or report.more else None

    async def run_once(self) -> StepReport:
        """One step.

        Raises:
            StoreError: what was not recorded is kept for the next step.
        """
        recorded = await self._record()
        await self._upkeep()
        begun = 0 if self._loop.stopping else await self._begin()
        return StepReport(recorded, begun, self._after is not None)

    async def announce(self) -> None:
        """Register the handlers of this process; done by the loop, too.

        Awaited before processing starts, no event is fanned out without them.
        """
        ids = await self._subscribers.announce_handlers(
            self._handlers, running_since_us=self._began_us
        )
        self._handler_ids = frozenset(ids)

    async def stop(self) -> None:
        """Take nothing more, wait a little for what is on its way, give back the rest."""
        await self._loop.stop()
        await self._flights.wait(self._options.stop_grace_s)
        try:
            while await self._record():
                pass
            await self._tell_counts()
        finally:
            await self._give_back()

    async def _give_back(self) -> None:
        flights = self._flights.give_up([claim.number for claim in self._flights.claims()])
        await self._store.release(self._owner)
        cut_short = {flight.claimed.subscriber_id: flight.permit for flight in flights}
        changes = [
            self._breaker_change(subscriber_id, [(permit, None)])
            for subscriber_id, permit in cut_short.items()
            if permit.probe
        ]
        for flight in flights:
            self._leave(flight.claimed)
        await self._store.record(self._owner, [], changes)

    # --- recording -----------------------------------------------------------------------------

    async def _record(self) -> int:
        """Record a batch of what has ended; how many."""
        ended = [*self._flights.ended][: self._options.records_max]
        if not ended:
            return 0
        try:
            await self._record_batch(ended)
        except StoreRowError:
            for one in ended:
                await self._record_alone(one)
        return len(ended)

    async def _record_alone(self, one: Ended) -> None:
        try:
            await self._record_batch([one])
        except StoreRowError as error:
            # Its lease runs out; as every way of a claim to end badly, that is counted.
            _log.error(DELIVERY_DROPPED, delivery=one.claimed.id, error=str(error))
            self._settle([one])

    async def _record_batch(self, ended: Sequence[Ended]) -> None:
        records = [
            record_of(
                one,
                delivery_retry(self._policies_of(one.claimed.project_id)),
                self._rng.random(),
            )
            for one in ended
        ]
        outcomes = by_subscriber(ended)
        changes = [self._breaker_change(name, attempts) for name, attempts in outcomes.items()]
        recorded = await self._store.record(self._owner, records, changes)
        for change in changes:
            self._breakers[change.subscriber_id] = change.after
        self._count(ended, recorded.numbers)
        changed = recorded.breakers_changed
        self._breakers.update(changed)
        self._settle(ended)
        if changed:
            await self._change_again(
                [self._breaker_change(name, outcomes[name]) for name in changed]
            )

    async def _change_again(self, changes: Sequence[BreakerChange]) -> None:
        # Once only: what is lost to a third worker at the same moment is a count of failures.
        await self._store.record(self._owner, [], changes)

    def _breaker_change(
        self, subscriber_id: str, attempts: Sequence[tuple[Permit, AttemptOutcome | None]]
    ) -> BreakerChange:
        before = self._breakers.get(subscriber_id)
        breaker = after_attempts(
            breaker_of(before, self._options.breaker),
            attempts,
            self._clock_us(),
            self._rng.random(),
        )
        return BreakerChange(subscriber_id, before, breaker_text(breaker))

    def _count(self, ended: Sequence[Ended], ours: frozenset[int]) -> None:
        for one in ended:
            failed = isinstance(one.outcome, Failed)
            self._counts.observe(
                outcome_of(one, ours=one.claimed.number in ours), one.outcome.duration_us / 1e6
            )
            if one.claimed.number not in ours:
                self.stats.stale += 1
            elif failed:
                self.stats.failed += 1
            else:
                self.stats.delivered += 1
            self._suspects.ended(one.claimed, one.outcome)
            if not isinstance(one.outcome, Failed):
                self._turns.succeeded(one.claimed.subscriber_id)
            elif one.outcome.cause.subscriber_down:
                self._turns.failed(one.claimed.subscriber_id)

    def _settle(self, ended: Sequence[Ended]) -> None:
        for _ in ended:
            self._flights.ended.popleft()
        for claimed in self._flights.settle(ended):
            self._leave(claimed)

    def _leave(self, claimed: ClaimedDelivery) -> None:
        self._turns.ended(claimed.subscriber_id, claimed.project_id)

    # --- upkeep --------------------------------------------------------------------------------

    async def _upkeep(self) -> None:
        options = self._options
        if self._is_time("announce", options.announce_s):
            await self.announce()
        if self._is_time("renew", options.renew_s):
            await self._renew()
        if self._is_time("rescue", options.rescue_s) or self._store.rescue_due():
            await self._rescue()
        if self._is_time("expire_unroutable", options.expire_s):
            expire_unroutable = await self._store.expire_unroutable(options.upkeep_max)
            self.stats.unroutable += expire_unroutable
            self._again_if(expire_unroutable, "expire_unroutable")
        if self._is_time("count", options.count_s):
            await self._tell_counts()

    def _is_time(self, duty: str, every_s: float) -> bool:
        now_us = self._clock_us()
        if now_us < self._next_us[duty]:
            return False
        self._next_us[duty] = now_us + round(every_s * 1_000_000)
        return True

    def _again_if(self, done: int, duty: str) -> None:
        """When a slice was full there may be more; claims have their turn in between."""
        if done >= self._options.upkeep_max:
            self._next_us[duty] = 0

    async def _tell_counts(self) -> None:
        if not self._counts.outcomes:
            return
        told, self._counts = self._counts, AttemptCounts()
        try:
            await self._count_store.add_counts(told)
        except BaseException:
            told.add(self._counts)
            self._counts = told
            raise

    async def _renew(self) -> None:
        claims = self._flights.claims()
        if not claims:
            return
        ours = await self._store.renew(self._owner, claims)
        lost = [claim.number for claim in claims if claim.number not in ours]
        for flight in self._flights.give_up(lost):
            self.stats.stale += 1
            self._leave(flight.claimed)

    async def _rescue(self) -> None:
        rescued = await self._store.rescue(self._options.upkeep_max)
        if rescued:
            self._suspects.add(self._handler_ids.intersection(rescued))
            self.stats.rescued += len(rescued)
            _log.warning(DELIVERIES_RESCUED, count=len(rescued))
        self._again_if(len(rescued), "rescue")

    # --- claiming ------------------------------------------------------------------------------

    async def _begin(self) -> int:
        """Claim what may go and begin it; how many."""
        if self._turns.free < 1:
            self._after = None
            return 0
        page = await self._store.due_queues(
            after=self._after,
            handlers=self._handler_ids,
            limit=self._options.lines_max,
            due_max=self._options.turns.share_max,
        )
        self._after = page.next_after
        permits: dict[str, Permit] = {}
        wants = self._wants(page.queues, permits)
        if not wants:
            return 0
        claimed = await self._store.claim(self._owner, wants, self._turns.free)
        self._breakers |= {want.subscriber_id: want.breaker.after for want in wants}
        for one in claimed:
            given_up = self._flights.begin(one, permits[one.subscriber_id], self._isolation(one))
            if given_up is not None:
                self._leave(given_up)
            self._turns.began(one.subscriber_id, one.project_id)
        self._forget_breakers()
        return len(claimed)

    def _isolation(self, claimed: ClaimedDelivery) -> Isolation:
        if isinstance(claimed.target, HandlerTarget):
            return self._suspects.isolation(claimed)
        return Isolation.NONE

    def _wants(
        self, queues: Sequence[SubscriberQueue], permits: dict[str, Permit]
    ) -> list[ClaimRequest]:
        """Deal the free places out among queues whose breakers let something through."""
        now_us = self._clock_us()
        changes: dict[str, BreakerChange] = {}
        candidates = []
        for queue in queues:
            breaker = breaker_of(queue.breaker, self._options.breaker)
            probe = breaker.state is not BreakerState.CLOSED
            if queue.subscriber_id in permits and probe:
                continue
            after, permit = breaker.request(now_us)
            if permit is None:
                continue
            permits[queue.subscriber_id] = permit
            text = breaker_text(after) if probe else queue.breaker
            changes[queue.subscriber_id] = BreakerChange(queue.subscriber_id, queue.breaker, text)
            candidates.append(Candidate(queue.subscriber_id, queue.project_id, queue.due, probe))
        return [
            ClaimRequest(one.subscriber_id, one.project_id, count, changes[one.subscriber_id])
            for one, count in self._turns.deal(candidates)
        ]

    def _forget_breakers(self) -> None:
        on_way = {claim.subscriber_id for claim in self._flights.claims()}
        self._breakers = {name: text for name, text in self._breakers.items() if name in on_way}
