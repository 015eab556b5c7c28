"""Effects of an attempt to send a push, in the transaction that records it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from headrace.domain.messages.kinds import MessageStatus
from headrace.domain.messages.settlement import Progress, Settlement
from headrace.domain.messages.tokens import MessageKeys
from headrace.domain.push.kinds import PUSH_SEND, DeviceReason, NotificationState, Platform
from headrace.domain.push.outcomes import PushAnswer, PushResult, settle_push
from headrace.store.contract.messages import Claimed, Ended, EndResult, Message
from headrace.store.messages.mail_events import mail_event
from headrace.store.messages.message_rows import Held, hold
from headrace.store.messages.sending.outcomes import LOST, Outcomes, begun, settles
from headrace.store.push import device_rows
from headrace.store.push.notification_rows import (
    ADD_ATTEMPT,
    END,
    SENT,
    key_of,
    move_open,
)

#: State of a notification by the status that its settlement gives a message.
_STATES = {
    MessageStatus.SENT: NotificationState.SENT,
    MessageStatus.DEFERRED: NotificationState.DEFERRED,
    MessageStatus.EXPIRED: NotificationState.EXPIRED,
}
#: Of several devices that all failed, the first of these decides the status of the message.
_WORST = (
    *(MessageStatus.BLOCKED, MessageStatus.FAILED, MessageStatus.EXPIRED),
    MessageStatus.BOUNCED,
)


class DeviceOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How the attempt of one device ended."""

    notification_id: str
    app_id: str
    platform: Platform
    device_id: str | None
    answer: PushAnswer
    service: str
    status: int | None = None
    code: str | None = None
    #: On one line, addresses masked.
    detail: str = ""


class PushEnded(Ended, frozen=True, kw_only=True):
    """An attempt that ended, with the outcome of each device."""

    devices: tuple[DeviceOutcome, ...] = ()


class PushOutcomes(Outcomes):
    """Records attempts of push."""

    async def record(self, keys: MessageKeys, owner: str, ended: Ended) -> EndResult:
        """Record one attempt; see `Outbox.record`."""
        del keys
        assert isinstance(ended, PushEnded)
        held = await hold(self._tx, ended.claimed.message.id)
        if held is None:
            return EndResult()
        if ended.attempt is None:
            if not held.is_of(owner, ended.claimed.claim):
                return EndResult()
            held, begun_now = await begun(self._tx, held, ended, self._now_us)
            assert isinstance(begun_now, PushEnded)
            ended = begun_now
        claimed = held.claimed
        settlements = [
            await self._decide_push(claimed, one.answer, ended.jitter) for one in ended.devices
        ]
        settlement = _together(claimed.message, settlements)
        deciding = _deciding(ended.devices, settlements, settlement)
        ended = msgspec.structs.replace(ended, outcome=deciding.answer.result)
        reply = (None, deciding.status, deciding.code, deciding.detail)
        if not await self._end_attempt(claimed.message, ended, reply):
            return EndResult()
        if not settles(held, owner, ended):
            return EndResult()
        for one, settled in zip(ended.devices, settlements, strict=True):
            await self._write_device(held, ended, one, settled)
        await self._write(claimed, ended, settlement)
        return EndResult(state=settlement.status, settlement=settlement)

    async def unknown(self, held: Claimed, number: int) -> None:
        """Record an attempt whose worker died: its devices are sent to once more."""
        ended = Ended(claimed=held, attempt=number, outcome=PushResult.UNKNOWN)
        await self._end_attempt(held.message, ended, (None, None, None, LOST))
        settlement = await self._decide_push(held, PushAnswer(result=PushResult.UNKNOWN), 0.5)
        if held.message.sent_us is not None:
            # Another device got it earlier.
            settlement = replace(settlement, status=MessageStatus.SENT)
        again = settlement.retry_at_us is not None
        state = NotificationState.DEFERRED if again else NotificationState.EXPIRED
        finished_us = None if again else self._now_us
        reason = PushResult.UNKNOWN.value
        await move_open(self._tx, held.message.id, state.value, reason, finished_us)
        await self._write(held, ended, settlement)

    async def _decide_push(self, held: Claimed, answer: PushAnswer, jitter: float) -> Settlement:
        _, retry = await self._policies_of(held.message.project_id)
        progress = Progress(
            kind=held.message.kind,
            attempt=max(held.message.attempt, 1),
            first_due_us=held.first_due_us,
            horizon_s=held.horizon_s,
        )
        return settle_push(answer, progress, now_us=self._now_us, policy=retry, jitter=jitter)

    async def _write_device(
        self, held: Held, ended: Ended, one: DeviceOutcome, settlement: Settlement
    ) -> None:
        message, now_us = held.claimed.message, self._now_us
        key = key_of(one.notification_id)
        result = one.answer.result
        await self._tx.run(
            ADD_ATTEMPT,
            *(*key, ended.attempt, ended.claimed.claim, one.service, now_us, now_us),
            *(result.value, one.status, one.code, one.detail),
        )
        device = None if one.device_id is None else (one.app_id, one.device_id)
        if result is PushResult.SENT:
            if await self._tx.run(SENT, *key, now_us, ended.attempt):
                await self._emit_push(message, one)
            if device is not None:
                await self._tx.run(device_rows.SENT, *device_rows.key_of(*device), now_us)
            return
        state = _STATES.get(settlement.status, NotificationState.FAILED)
        finished_us = now_us if settlement.retry_at_us is None else None
        await self._tx.run(END, *key, state.value, result.value, finished_us, ended.attempt)
        if device is None:
            return
        await self._tx.run(device_rows.FAILED, *device_rows.key_of(*device), now_us, result.value)
        if result.unsubscribes:
            await device_rows.unsubscribe(self._tx, *device, DeviceReason.GONE, now_us)

    async def _emit_push(self, message: Message, one: DeviceOutcome) -> None:
        self._events += await mail_event(
            self._tx,
            message,
            PUSH_SEND,
            topic_id=message.topic_id,
            app_id=one.app_id,
            device_id=one.device_id,
            platform=one.platform.value,
            notification_id=one.notification_id,
        )


def _together(message: Message, settlements: Sequence[Settlement]) -> Settlement:
    """What follows for the message: sent once a device got it, open while one may be retried."""
    statuses = {one.status for one in settlements}
    retries = [one.retry_at_us for one in settlements if one.retry_at_us is not None]
    retry_at_us = min(retries) if retries else None
    if MessageStatus.SENT in statuses or message.sent_us is not None:
        return Settlement(status=MessageStatus.SENT, retry_at_us=retry_at_us)
    if retry_at_us is not None:
        return Settlement(status=MessageStatus.DEFERRED, retry_at_us=retry_at_us)
    return Settlement(status=next(one for one in _WORST if one in statuses))


def _deciding(
    devices: Sequence[DeviceOutcome], settlements: Sequence[Settlement], settlement: Settlement
) -> DeviceOutcome:
    """The outcome that the attempt of the message shows."""
    for one, settled in zip(devices, settlements, strict=True):
        if settled.status is settlement.status:
            return one
    return devices[0]
