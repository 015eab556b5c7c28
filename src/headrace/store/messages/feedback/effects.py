"""What a report does to its message, its address and the contact, in one transaction."""

from __future__ import annotations

from typing import Any

from headrace.domain.messages.feedback.form import Feedback, FeedbackKind
from headrace.domain.messages.feedback.notification import Effect
from headrace.domain.messages.kinds import (
    MAIL_BOUNCE,
    MAIL_COMPLAINT,
    MAIL_DELIVERY,
    MessageStatus,
    SuppressionReason,
    SuppressionScope,
)
from headrace.domain.messages.receiver_breaker import Acceptance, Rejection
from headrace.domain.messages.smtp_replies import ReplyClass
from headrace.domain.messages.tokens import MessageKeys, UnsubscribeTarget
from headrace.store.access.sending_policies import read_sending_policies
from headrace.store.contract.messages import Message
from headrace.store.engine.dialect import sql
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Transaction
from headrace.store.messages.feedback.unsubscribes import leave_in
from headrace.store.messages.mail_events import mail_event
from headrace.store.messages.message_rows import hold, key_of
from headrace.store.messages.receivers import count_result
from headrace.store.messages.sending.outcomes import Outcomes
from headrace.store.messages.suppressions import (
    Entry,
    count_soft_bounce,
    forget_soft_bounces,
    suppress,
)
from headrace.store.messages.waiting_runs import wake_run

# `due_us`: a message with an unknown outcome may wait for its retry, which is no longer needed.
_MOVE = sql(
    "UPDATE messages SET state = $3, reason = $4, last_event = $5, due_us = NULL, "
    "finished_us = coalesce(finished_us, $6) WHERE lane = $1 AND id = $2"
)
#: States in which a message may still turn out not to have arrived.
_OPEN = frozenset({MessageStatus.SENT, MessageStatus.UNKNOWN, MessageStatus.DELIVERED})
#: Reasons of a blocked mail that are about this mail, not about its sender.
_ABOUT_MAIL = frozenset({ReplyClass.TOO_LARGE, ReplyClass.CONTENT_REFUSED})


class Effects:
    """Applies reports in the caller's transaction; a report that comes too late changes nothing.

    Args:
        keys: of the store.
        now_us: the store's clock.
    """

    def __init__(
        self, tx: Transaction, system_events: SystemEvents, keys: MessageKeys, now_us: int
    ) -> None:
        self._tx = tx
        self._system_events = system_events
        self._keys = keys
        self._now_us = now_us

    async def unsubscribe(self, target: UnsubscribeTarget, source: str) -> Effect:
        """Unsubscribe a contact, as its token or a provider says."""
        left = await leave_in(
            self._tx, self._system_events, target, self._now_us, everything=False, source=source
        )
        return Effect.NO_MESSAGE if left is None else Effect.UNSUBSCRIBED

    async def apply(self, report: Feedback, message_id: str) -> Effect:
        """Apply a report about a message, which it locks."""
        if report.kind is FeedbackKind.UNSUBSCRIBE:
            return await self._unsubscribe_from(report, message_id)
        held = await hold(self._tx, message_id)
        if held is None:
            return Effect.NO_MESSAGE
        message = held.claimed.message
        if message.state is MessageStatus.SENDING:
            # A report may overtake the record of the hand-over, which would then replace it.
            return Effect.WAITING if message.attempt > 0 else Effect.NOTHING
        return await self._applied(report, message)

    async def _applied(self, report: Feedback, message: Message) -> Effect:
        match report.kind:
            case FeedbackKind.DELIVERED:
                return await self._delivered(report, message)
            case FeedbackKind.COMPLAINT:
                return await self._complained(report, message)
            case FeedbackKind.HARD | FeedbackKind.SOFT | FeedbackKind.BLOCKED:
                return await self._failed(report, message)
            case FeedbackKind.DELAYED | FeedbackKind.AUTO_REPLY:
                # Something that came back shows that the mail was handed over.
                return await self._settle(message)
        return Effect.NOTHING

    async def _settle(self, message: Message) -> Effect:
        """Settle an unknown outcome: the mail was handed over."""
        if message.state is not MessageStatus.UNKNOWN:
            return Effect.NOTHING
        outcomes = Outcomes(self._tx, self._now_us)
        await outcomes.settle_sent(message)
        await outcomes.flush(self._system_events)
        return Effect.SETTLED

    async def _delivered(self, report: Feedback, message: Message) -> Effect:
        if message.state not in {MessageStatus.SENT, MessageStatus.UNKNOWN}:
            return Effect.NOTHING
        await self._settle(message)
        await forget_soft_bounces(self._tx, message.project_id, self._hashed(message))
        accepted = Acceptance(message_id=message.id, reported=True)
        await self._move(message, MessageStatus.DELIVERED, None, "delivery", accepted)
        await self._emit(message, MAIL_DELIVERY, source=report.source.value)
        return Effect.DELIVERED

    async def _complained(self, report: Feedback, message: Message) -> Effect:
        handed = message.sent_us is not None or message.state is MessageStatus.UNKNOWN
        if not handed or message.state is MessageStatus.COMPLAINED:
            return Effect.NOTHING
        await self._settle(message)
        policies = await read_sending_policies(self._tx, message.project_id)
        scope = policies.complaint_scope
        await self._suppress(report, message, SuppressionReason.COMPLAINT, scope)
        await self._move(message, MessageStatus.COMPLAINED, "complained", "complaint")
        more = {"source": report.source.value, "topic_id": message.topic_id}
        await self._emit(message, MAIL_COMPLAINT, **more)
        return Effect.COMPLAINED

    async def _failed(self, report: Feedback, message: Message) -> Effect:
        """A hard or soft bounce, or a mail that is blocked."""
        if message.state not in _OPEN:
            return Effect.NOTHING
        reason = report.reason.value if report.reason is not None else None
        if report.kind is FeedbackKind.BLOCKED:
            about_mail = report.reason in _ABOUT_MAIL
            state = MessageStatus.FAILED if about_mail else MessageStatus.BLOCKED
            reason = reason or ReplyClass.SENDER_REFUSED.value
            rejection = None if about_mail else _rejection(report, message)
            await self._move(message, state, reason, "bounce", rejection)
            return Effect.FAILED if about_mail else Effect.BLOCKED
        if report.kind is FeedbackKind.SOFT and not await self._count(message):
            reason = reason or ReplyClass.DEFERRED.value
            await self._move(message, MessageStatus.FAILED, reason, "bounce")
            return Effect.COUNTED
        bad = (SuppressionReason.HARD_BOUNCE, SuppressionScope.ALL)
        await self._suppress(report, message, *bad)
        reason = reason or ReplyClass.ADDRESS_BAD.value
        await self._move(message, MessageStatus.BOUNCED, reason, "bounce")
        payload = {"class": reason, "status": report.status, "diagnostic": report.diagnostic}
        await self._emit(message, MAIL_BOUNCE, **payload)
        return Effect.SUPPRESSED

    async def _count(self, message: Message) -> bool:
        """Count a soft bounce; returns whether the address is bad from now on."""
        policies = await read_sending_policies(self._tx, message.project_id)
        most = policies.soft_bounces_to_suppress
        key = (message.project_id, self._hashed(message))
        return await count_soft_bounce(self._tx, *key, self._now_us, most)

    async def _unsubscribe_from(self, report: Feedback, message_id: str) -> Effect:
        held = await hold(self._tx, message_id)
        if held is None:
            return Effect.NO_MESSAGE
        message = held.claimed.message
        if message.contact_id is None:
            return Effect.NOTHING
        target = UnsubscribeTarget(
            project_id=message.project_id,
            contact_id=message.contact_id,
            topic_id=message.topic_id,
            message_id=message.id,
        )
        return await self.unsubscribe(target, report.source.value)

    def _hashed(self, message: Message) -> bytes:
        return self._keys.address_hash(message.project_id, message.address or "")

    async def _suppress(
        self,
        report: Feedback,
        message: Message,
        reason: SuppressionReason,
        scope: SuppressionScope,
    ) -> None:
        if message.address is None:
            return
        entry = Entry(
            hashed=self._hashed(message),
            email=message.address,
            reason=reason,
            scope=scope,
            evidence=f"{report.status or ''} {report.diagnostic or ''}".strip(),
            actor=report.source.value,
        )
        await suppress(self._tx, message.project_id, entry, self._now_us)

    async def _move(
        self,
        message: Message,
        state: MessageStatus,
        reason: str | None,
        event: str,
        answer: Rejection | Acceptance | None = None,
    ) -> None:
        key = key_of(message.id)
        await self._tx.run(_MOVE, *key, state.value, reason, event, self._now_us)
        await wake_run(self._tx, message, state, self._now_us)
        await count_result(self._tx, message, state, self._now_us, answer)

    async def _emit(self, message: Message, name: str, **payload: Any) -> None:
        events = await mail_event(self._tx, message, name, **payload)
        await self._system_events.insert(self._tx, events, self._now_us)


def _rejection(report: Feedback, message: Message) -> Rejection:
    """What a report says about the sender."""
    return Rejection(
        message_id=message.id,
        status=report.status,
        diagnostic=report.diagnostic,
        reported=True,
    )
