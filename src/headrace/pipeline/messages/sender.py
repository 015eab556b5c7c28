"""The loop that sends messages to the relay.

1. Renew leases, reclaim messages of dead workers.
2. Claim as many due messages as there are connections, and some more to be composed meanwhile.
3. Each message separately: compose, then, when a connection is ready, guardrails and the row of the
   attempt in one transaction, then the relay, then the outcome with its consequences.

Messages that reach the same point at the same time share a transaction.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec
import structlog

from headrace.delivery.mail.compose import ComposeError, MailTooLargeError
from headrace.delivery.mail.contract import MailOutcome, MailRelay
from headrace.delivery.mail.dkim import DkimKeyError
from headrace.delivery.mail.liquid import MissingVariableError, TemplateError
from headrace.domain.messages.guardrails import Reason
from headrace.domain.messages.kinds import DomainStatus, MessageStatus
from headrace.domain.messages.smtp_replies import Phase, ReplyClass
from headrace.observability.events import (
    LOOP_FAILED,
    MAIL_RELAY_HELD,
    MAIL_SENDER_REJECTED,
    MESSAGES_RESCUED,
    STORE_UNAVAILABLE,
)
from headrace.pipeline.loop import Loop, LoopOptions
from headrace.pipeline.messages.composer import Composed, Composer
from headrace.pipeline.messages.grouping import Grouped
from headrace.pipeline.messages.pacing import Pacing
from headrace.pipeline.timers import Timers
from headrace.store.contract.errors import StoreError
from headrace.store.contract.messages import (
    Claimed,
    Ended,
    EndResult,
    Material,
    Start,
    StartResult,
)
from headrace.store.messages.sending.outbox import Outbox

_log = structlog.get_logger()


class ReadsMaterial(Protocol):
    """Reads what a mail is composed of."""

    async def read(self, claimed: Claimed) -> Material | None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class SenderOptions:
    """Limits and times of the loop."""

    #: Messages claimed beyond those that have a connection.
    ahead_max: int = 8
    #: Poll interval: the longest delay in noticing a message of another process.
    poll_s: float = 0.2
    #: The same when there was nothing for a while.
    idle_max_s: float = 1.0
    renew_s: float = 15.0
    rescue_s: float = 5.0
    #: Claims reclaimed at a time.
    rescue_max: int = 256
    #: Wait after an error of the store.
    error_s: float = 0.5
    #: Attempts to record an outcome while the store fails.
    record_tries: int = 20
    #: Wait at shutdown for attempts in flight.
    stop_grace_s: float = 4.0


class SenderStats(msgspec.Struct):
    """Counters since start."""

    sent: int = 0
    #: Attempts that did not end with the mail accepted.
    failed: int = 0
    #: Skipped or deferred by a guardrail.
    held_back: int = 0
    unknown: int = 0
    #: Claims or attempts that another worker has settled.
    stale: int = 0
    rescued: int = 0


class Unsendable(msgspec.Struct, frozen=True):
    """Why no mail can be composed from a message."""

    state: MessageStatus
    reason: str
    rule: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SenderStores:
    """The parts of the store that the loop works on."""

    outbox: Outbox
    materials: ReadsMaterial


class NotBegunError(Exception):
    """The attempt may not be made: a guardrail, or the claim was lost."""


class Sender:
    """Claims, composes, hands over, records, repeats.

    Args:
        stores: the queue, and what mails are composed of.
        relay: where they go; the caller closes it.
        owner: name of this process, see `headrace.process_names`.
        needs_domain: whether the sender's domain must be a verified one; not with `capture:`.
        rng: source of jitter.
    """

    def __init__(
        self,
        stores: SenderStores,
        composer: Composer,
        relay: MailRelay,
        *,
        owner: str,
        needs_domain: bool,
        clock_us: Callable[[], int],
        rng: random.Random,
        options: SenderOptions | None = None,
    ) -> None:
        self.stats = SenderStats()
        self.pacing = Pacing()
        self._stores = stores
        self._composer = composer
        self._relay = relay
        self._owner = owner
        self._needs_domain = needs_domain
        self._clock_us = clock_us
        self._rng = rng
        self._options = options or SenderOptions()
        self._loop = Loop(
            self._step,
            LoopOptions(
                name="sender",
                pause_s=self._options.poll_s,
                idle_max_s=self._options.idle_max_s,
                error_s=self._options.error_s,
                # A bug here must not end all sending.
                survives_faults=True,
            ),
        )
        self._tasks: dict[asyncio.Task[None], Claimed] = {}
        self._timers = Timers(clock_us)
        self._start = Grouped[Start, StartResult](
            lambda starts: stores.outbox.start(owner, starts),
            lambda start: start.claimed.message.id,
        )
        self._record = Grouped[Ended, EndResult](
            lambda ended: stores.outbox.record(owner, ended), lambda one: one.claimed.message.id
        )

    def wake(self) -> None:
        """Signal that messages may be due. Cheap; on the event loop."""
        self._loop.wake()

    @property
    def busy(self) -> int:
        """Messages claimed now."""
        return len(self._tasks)

    async def run(self) -> None:
        """Send until `stop`; an error is logged and retried after a pause."""
        await self._loop.run()

    async def _step(self) -> float | None:
        return 0.0 if await self.run_once() else None

    async def run_once(self) -> int:
        """Upkeep, then claim what there is room for; returns how many were begun.

        Raises:
            StoreError: the store is unavailable.
        """
        await self._upkeep()
        room = self._room()
        if room < 1:
            return 0
        claims = await self._stores.outbox.claim(self._owner, room)
        for claimed in claims:
            task = asyncio.create_task(self._send(claimed), name="message")
            self._tasks[task] = claimed
            task.add_done_callback(self._task_ended)
        return len(claims)

    def _room(self) -> int:
        if self._loop.stopping:
            return 0
        if self.pacing.relay_free_us > self._clock_us():
            return 0
        if self.pacing.relay_fails:
            # One message at a time probes whether the relay has recovered.
            return 0 if self._tasks else 1
        return self._relay.free + self._options.ahead_max - len(self._tasks)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        self._loop.wake()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error(LOOP_FAILED, loop="sender", error=repr(error))

    async def idle(self) -> None:
        """Wait until no message is claimed."""
        while self._tasks:
            await asyncio.wait([*self._tasks])

    # --- one message ---------------------------------------------------------------------------

    async def _send(self, claimed: Claimed) -> None:
        try:
            composed = await self._compose(claimed)
            if isinstance(composed, Composed):
                await self._hand_over(claimed, composed)
            else:
                await self._end(claimed, composed)
        except StoreError as error:
            # Its lease expires, and the outcome of a begun attempt is unknown.
            _log.warning(STORE_UNAVAILABLE, loop="sender", error=str(error))

    async def _compose(self, claimed: Claimed) -> Composed | Unsendable:
        material = await self._stores.materials.read(claimed)
        if material is None:
            return Unsendable(MessageStatus.SKIPPED, Reason.GONE.value)
        domain = material.domain
        if self._needs_domain and (domain is None or domain.status is not DomainStatus.VERIFIED):
            return Unsendable(MessageStatus.FAILED, "domain_not_verified")
        try:
            return await self._composer.compose(claimed, material, self._clock_us())
        except MissingVariableError as error:
            reason = Reason.MISSING_VARIABLE.value
            return Unsendable(MessageStatus.SKIPPED, reason, error.name)
        except MailTooLargeError as error:
            return Unsendable(MessageStatus.FAILED, ReplyClass.TOO_LARGE.value, str(error))
        except (TemplateError, ComposeError, DkimKeyError) as error:
            return Unsendable(MessageStatus.FAILED, "compose", str(error))

    async def _end(self, claimed: Claimed, end: Unsendable) -> None:
        written = await self._stores.outbox.end(
            self._owner, claimed, end.state, end.reason, end.rule
        )
        if not written:
            self.stats.stale += 1
        elif end.state is MessageStatus.SKIPPED:
            self.stats.held_back += 1
        else:
            self.stats.failed += 1

    async def _hand_over(self, claimed: Claimed, composed: Composed) -> None:
        began: list[int] = []
        domain, group = claimed.message.domain or "", claimed.group_key or ""

        async def before_hand_over() -> None:
            result = await self._start(
                Start(
                    claimed=claimed,
                    relay=self._relay.name,
                    subject=composed.subject,
                    mail_key=composed.mail_key,
                    receiver_free_us=self.pacing.receiver_free_us(domain, group),
                )
            )
            if result.attempt is None:
                raise NotBegunError("lost" if result.lost else result.reason)
            began.append(result.attempt)
            self.pacing.began(domain, group, self._clock_us())

        fresh = claimed.protocol_errors > 0
        try:
            outcome = await self._relay.send(composed.mail, before_hand_over, fresh=fresh)
        except NotBegunError as error:
            if error.args[0] == "lost":
                self.stats.stale += 1
            else:
                self.stats.held_back += 1
            return
        except asyncio.CancelledError:
            if began:
                outcome = _cut_short(self._relay.name)
                await self._written(claimed, began[0], outcome)
            raise
        await self._written(claimed, began[0] if began else None, outcome)

    async def _written(self, claimed: Claimed, attempt: int | None, outcome: MailOutcome) -> None:
        """Record an outcome; retry, so that a short outage of the store does not lose it."""
        reply = outcome.reply
        ended = Ended(
            claimed=claimed,
            attempt=attempt,
            outcome=outcome.outcome,
            relay=outcome.relay,
            phase=outcome.phase.value,
            code=None if reply is None else reply.code,
            status=None if reply is None else reply.status,
            diagnostic=outcome.message if reply is None else reply.text,
            jitter=self._rng.random(),
        )
        for left in reversed(range(self._options.record_tries)):
            try:
                result = await self._record(ended)
            except StoreError as error:
                if not left:
                    raise
                _log.warning(STORE_UNAVAILABLE, loop="sender", error=str(error))
                await asyncio.sleep(self._options.error_s)
            else:
                self._learn(claimed, result)
                return

    def _learn(self, claimed: Claimed, result: EndResult) -> None:
        settlement = result.settlement
        if settlement is None:
            self.stats.stale += 1
            return
        if settlement.status is MessageStatus.SENT:
            self.stats.sent += 1
        elif settlement.status is MessageStatus.UNKNOWN:
            self.stats.unknown += 1
        else:
            self.stats.failed += 1
        domain, group = claimed.message.domain or "", claimed.group_key or ""
        if self.pacing.ended(domain, group, settlement, self._clock_us()):
            _log.error(MAIL_SENDER_REJECTED, domain=domain, receivers=group)
        if settlement.hold_relay:
            _log.error(MAIL_RELAY_HELD, relay=self._relay.name)

    # --- upkeep and end ------------------------------------------------------------------------

    async def _upkeep(self) -> None:
        if self._timers.is_due("renew", self._options.renew_s) and self._tasks:
            # A lost claim shows at the next write of its task.
            await self._stores.outbox.renew(self._owner, [*self._tasks.values()])
        if self._timers.is_due("rescue", self._options.rescue_s):
            rescued = await self._stores.outbox.rescue(self._options.rescue_max)
            if rescued:
                self.stats.rescued += rescued
                _log.warning(MESSAGES_RESCUED, count=rescued)

    async def stop(self) -> None:
        """Claim nothing more, wait a little for attempts in flight, release the rest."""
        await self._loop.stop()
        if self._tasks:
            await asyncio.wait([*self._tasks], timeout=self._options.stop_grace_s)
        left = dict(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if left:
            await self._stores.outbox.release(self._owner, [*left.values()])


def _cut_short(relay: str) -> MailOutcome:
    return MailOutcome(
        outcome=ReplyClass.UNKNOWN,
        phase=Phase.FINAL,
        reply=None,
        message="the worker ended while the mail was being handed over",
        relay=relay,
        duration_us=0,
        handed_over=True,
    )
