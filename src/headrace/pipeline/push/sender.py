"""The loop that hands pushes to their services.

1. Renew leases, reclaim messages of dead workers.
2. Claim due messages and read together what they are made of.
3. Each message separately: when connections to the services of its devices are ready, guardrails
   and the row of the attempt in one transaction, then the services, then all outcomes with their
   consequences in another.

Messages that reach the same point at the same time share a transaction.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from headrace.delivery.mail.liquid import MissingVariableError, TemplateError
from headrace.delivery.push.contract import (
    ApnsTarget,
    FcmTarget,
    OutgoingPush,
    PushOutcome,
    PushTarget,
    PushTransport,
    Urgency,
    WebPushTarget,
)
from headrace.domain.messages.guardrails import Reason
from headrace.domain.messages.kinds import MessageStatus
from headrace.domain.push.content import PushContent, payload_of
from headrace.domain.push.kinds import Platform
from headrace.domain.push.outcomes import PushAnswer, PushResult
from headrace.observability.events import (
    LOOP_FAILED,
    MESSAGES_RESCUED,
    PUSH_REJECTED,
    PUSH_SERVICE_CLOSED,
    STORE_UNAVAILABLE,
)
from headrace.pipeline.loop import Loop, LoopOptions
from headrace.pipeline.messages.grouping import Grouped
from headrace.pipeline.messages.push_templates import render_push
from headrace.pipeline.messages.sender import NotBegunError, SenderOptions, SenderStats
from headrace.pipeline.push.service_pacing import ServicePacing
from headrace.pipeline.timers import Timers
from headrace.store.contract.errors import StoreError
from headrace.store.contract.messages import Claimed, Ended, EndResult, Start, StartResult
from headrace.store.push.materials import PushMaterial, PushMaterials, Unsendable
from headrace.store.push.notification_rows import Destination
from headrace.store.push.outbox import PushOutbox, PushStart
from headrace.store.push.outcomes import DeviceOutcome, PushEnded

_log = structlog.get_logger()

#: Names of services that one attempt shows.
_SERVICES_CHARACTERS_MAX = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class PushStores:
    """The parts of the store that the loop works on."""

    outbox: PushOutbox
    materials: PushMaterials


class PushSender:
    """Claims, encrypts, hands over, records, repeats.

    Args:
        stores: the queue, and what pushes are made of.
        transport: how they reach their services; the caller closes it.
        owner: name of this process, see `headrace.process_names`.
        rng: source of jitter.
    """

    def __init__(
        self,
        stores: PushStores,
        transport: PushTransport,
        *,
        owner: str,
        clock_us: Callable[[], int],
        rng: random.Random,
        options: SenderOptions | None = None,
    ) -> None:
        self.stats = SenderStats()
        self.pacing = ServicePacing()
        self._stores = stores
        self._transport = transport
        self._owner = owner
        self._clock_us = clock_us
        self._rng = rng
        self._options = options or SenderOptions(ahead_max=32)
        self._loop = Loop(
            self._step,
            LoopOptions(
                name="push",
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
        room = self._transport.free + self._options.ahead_max - len(self._tasks)
        if self._loop.stopping or room < 1:
            return 0
        claims = await self._stores.outbox.claim(self._owner, room)
        if not claims:
            return 0
        materials = await self._stores.materials.read(claims)
        for claimed in claims:
            material = materials[claimed.message.id]
            task = asyncio.create_task(self._send(claimed, material), name="push")
            self._tasks[task] = claimed
            task.add_done_callback(self._task_ended)
        return len(claims)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        self._loop.wake()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error(LOOP_FAILED, loop="push", error=repr(error))

    async def idle(self) -> None:
        """Wait until no message is claimed."""
        while self._tasks:
            await asyncio.wait([*self._tasks])

    # --- one message ---------------------------------------------------------------------------

    async def _send(self, claimed: Claimed, material: PushMaterial | Unsendable) -> None:
        try:
            if isinstance(material, Unsendable):
                await self._end(claimed, material.state, material.reason)
                return
            try:
                content = _content(material, self._clock_us())
            except MissingVariableError as error:
                reason = Reason.MISSING_VARIABLE.value
                await self._end(claimed, MessageStatus.SKIPPED, reason, error.name)
            except TemplateError as error:
                await self._end(claimed, MessageStatus.FAILED, "compose", str(error))
            else:
                await self._hand_over(claimed, material, content)
        except StoreError as error:
            # Its lease expires, and the outcome of a begun attempt is unknown.
            _log.warning(STORE_UNAVAILABLE, loop="push", error=str(error))

    async def _end(
        self, claimed: Claimed, state: MessageStatus, reason: str, rule: str = ""
    ) -> None:
        if not await self._stores.outbox.end(self._owner, claimed, state, reason, rule):
            self.stats.stale += 1
        elif state in {MessageStatus.SKIPPED, MessageStatus.CANCELLED}:
            self.stats.held_back += 1
        else:
            self.stats.failed += 1

    async def _hand_over(
        self, claimed: Claimed, material: PushMaterial, content: PushContent
    ) -> None:
        attempt = _Attempt(self._start, claimed, material, content)
        now_us = self._clock_us()
        free_us = [self.pacing.free_us(self._service(material, one)) for one in attempt.wanted]
        if not attempt.wanted or min(free_us) > now_us:
            # The guardrails say why it is skipped, or until when it waits.
            wait_us = min(free_us, default=0)
            attempt.receiver_free_us = wait_us
            try:
                await attempt.begin()
            except NotBegunError as error:
                self._not_begun(error)
                return
        outcomes = await asyncio.gather(
            *(self._one(attempt, material, content, one) for one in attempt.wanted),
            return_exceptions=True,
        )
        for outcome in outcomes:
            if isinstance(outcome, NotBegunError):
                self._not_begun(outcome)
                return
            if isinstance(outcome, BaseException):
                raise outcome
        made = [one for one in outcomes if isinstance(one, PushOutcome)]
        await self._written(claimed, material, attempt, made)

    async def _one(
        self,
        attempt: _Attempt,
        material: PushMaterial,
        content: PushContent,
        one: Destination,
    ) -> PushOutcome:
        target = _target(material, one)
        if target is None:
            message = "the private key of the push app cannot be opened"
            return PushOutcome(result=PushResult.KEY_UNUSABLE, service="", message=message)
        service = self._transport.service_of(target)
        wait_us = self.pacing.free_us(service) - self._clock_us()
        if wait_us > 0:
            message = "the service is not called for a while"
            return PushOutcome(
                result=PushResult.THROTTLED,
                service=service,
                message=message,
                retry_after_s=wait_us / 1_000_000,
            )
        push = OutgoingPush(
            notification_id=one.notification_id,
            target=target,
            payload=payload_of(
                content,
                notification_id=one.notification_id,
                send_id=material.push.send_id,
                locale=one.locale,
            ),
            ttl_s=content.ttl_s,
            urgency=Urgency(content.urgency),
        )
        outcome = await self._transport.send(push, attempt.begin)
        if self.pacing.ended(service, outcome.result, outcome.retry_after_s, self._clock_us()):
            _log.error(PUSH_SERVICE_CLOSED, service=service, result=outcome.result.value)
        if outcome.result.needs_operator:
            _log.error(
                PUSH_REJECTED,
                app=material.push.app_id,
                service=service,
                result=outcome.result.value,
                status=outcome.status,
                code=outcome.code,
            )
        return outcome

    def _service(self, material: PushMaterial, one: Destination) -> str:
        target = _target(material, one)
        return "" if target is None else self._transport.service_of(target)

    def _not_begun(self, error: NotBegunError) -> None:
        if error.args[0] == "lost":
            self.stats.stale += 1
        else:
            self.stats.held_back += 1

    async def _written(
        self,
        claimed: Claimed,
        material: PushMaterial,
        attempt: _Attempt,
        outcomes: Sequence[PushOutcome],
    ) -> None:
        """Record outcomes; retry, so that a short outage of the store does not lose them."""
        ended = PushEnded(
            claimed=claimed,
            attempt=attempt.number,
            outcome=outcomes[0].result,
            relay=attempt.services(outcomes),
            jitter=self._rng.random(),
            devices=tuple(
                DeviceOutcome(
                    notification_id=one.notification_id,
                    app_id=material.push.app_id,
                    platform=one.platform,
                    device_id=one.device_id,
                    answer=PushAnswer(result=outcome.result, retry_after_s=outcome.retry_after_s),
                    service=outcome.service,
                    status=outcome.status,
                    code=outcome.code,
                    detail=outcome.message,
                )
                for one, outcome in zip(attempt.wanted, outcomes, strict=True)
            ),
        )
        for left in reversed(range(self._options.record_tries)):
            try:
                result = await self._record(ended)
            except StoreError as error:
                if not left:
                    raise
                _log.warning(STORE_UNAVAILABLE, loop="push", error=str(error))
                await asyncio.sleep(self._options.error_s)
            else:
                self._count(result)
                return

    def _count(self, result: EndResult) -> None:
        if result.settlement is None:
            self.stats.stale += 1
        elif result.settlement.status is MessageStatus.SENT:
            self.stats.sent += 1
        else:
            self.stats.failed += 1

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


class _Attempt:
    """One attempt of a message: begun once, by the first device whose service is ready."""

    def __init__(
        self,
        start: Grouped[Start, StartResult],
        claimed: Claimed,
        material: PushMaterial,
        content: PushContent,
    ) -> None:
        self.wanted = material.destinations
        #: Its number, whose row is committed; None: not begun.
        self.number: int | None = None
        self.receiver_free_us: int | None = None
        self._start = start
        self._claimed = claimed
        self._title = content.title
        self._push = material.push
        self._beginning: asyncio.Task[StartResult] | None = None

    async def begin(self) -> None:
        """Wait until the attempt is begun.

        Raises:
            NotBegunError: it may not be made.
        """
        if self._beginning is None:
            self._beginning = asyncio.create_task(self._begin())
        result = await asyncio.shield(self._beginning)
        if result.attempt is None:
            raise NotBegunError("lost" if result.lost else result.reason)
        self.number = result.attempt

    async def _begin(self) -> StartResult:
        return await self._start(
            PushStart(
                claimed=self._claimed,
                relay="push",
                subject=self._title,
                receiver_free_us=self.receiver_free_us,
                push=self._push,
                destinations=self.wanted,
            )
        )

    def services(self, outcomes: Sequence[PushOutcome]) -> str:
        """The services of the attempt, as it shows them."""
        names = sorted({one.service for one in outcomes if one.service})
        return ", ".join(names)[:_SERVICES_CHARACTERS_MAX] or "push"


def _content(material: PushMaterial, now_us: int) -> PushContent:
    """What a message says.

    Raises:
        MissingVariableError: it is to be skipped.
        TemplateError: it cannot be rendered.
    """
    content = material.content
    if isinstance(content, PushContent):
        return content
    return render_push(content, [one.locale for one in material.destinations], now_us)


def _target(material: PushMaterial, one: Destination) -> PushTarget | None:
    """What a transport sends to; None: the key of the app cannot be opened."""
    if one.platform is Platform.ANDROID:
        return FcmTarget(token=one.address)
    if one.platform is Platform.IOS:
        return ApnsTarget(token=one.address, sandbox=one.sandbox)
    if material.vapid_key is None:
        return None
    return WebPushTarget(
        endpoint=one.address,
        p256dh=one.p256dh or "",
        auth=one.auth or "",
        vapid_key=material.vapid_key,
    )
