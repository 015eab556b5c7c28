"""External reports about a message: delivered, bounced, complaint.

Reports to the bounce address, hooks of providers and feedback loops are normalized to one form.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from headrace.domain.messages.kinds import (
    MAIL_BOUNCE,
    MAIL_COMPLAINT,
    MAIL_DELIVERY,
    MessageStatus,
    SuppressionReason,
    SuppressionScope,
)
from headrace.store.access.sending_policies import read_sending_policies
from headrace.store.contract.messages import Message
from headrace.store.engine.dialect import sql
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Database, Transaction
from headrace.store.messages.keys import StoredKeys
from headrace.store.messages.mail_events import mail_event
from headrace.store.messages.message_rows import hold, key_of
from headrace.store.messages.sending.outcomes import Outcomes
from headrace.store.messages.suppressions import (
    Entry,
    count_soft_bounce,
    forget_soft_bounces,
    suppress,
)

_MOVE = sql(
    "UPDATE messages SET state = $3, reason = $4, last_event = $5, due_us = NULL, "
    "finished_us = coalesce(finished_us, $6) WHERE lane = $1 AND id = $2"
)


class ReportKind(StrEnum):
    """Kind of a report."""

    DELIVERED = "delivered"
    HARD = "hard"
    SOFT = "soft"
    COMPLAINT = "complaint"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One report about one message."""

    message_id: str
    kind: ReportKind
    #: `dsn`, `arf`, or the name of a provider.
    source: str
    #: Enhanced status code and text, on one line with addresses masked.
    status: str | None = None
    diagnostic: str | None = None


#: States that a report of each kind changes; it has no effect in others.
_FROM = {
    ReportKind.DELIVERED: {MessageStatus.SENT, MessageStatus.UNKNOWN},
    ReportKind.HARD: {MessageStatus.SENT, MessageStatus.UNKNOWN, MessageStatus.DELIVERED},
    ReportKind.SOFT: {MessageStatus.SENT, MessageStatus.UNKNOWN, MessageStatus.DELIVERED},
    ReportKind.COMPLAINT: {MessageStatus.SENT, MessageStatus.UNKNOWN, MessageStatus.DELIVERED},
}


class Reports:
    """Reports about messages of all projects."""

    def __init__(self, database: Database, system_events: SystemEvents, keys: StoredKeys) -> None:
        self._database = database
        self._system_events = system_events
        self._keys = keys

    async def apply(self, report: Report, now_us: int) -> Message | None:
        """Apply a report, once; a repeat changes nothing.

        Returns:
            The message as it was; None when there is none.
        """
        keys = await self._keys.get()

        async def work(tx: Transaction) -> Message | None:
            held = await hold(tx, report.message_id)
            if held is None:
                return None
            message = held.claimed.message
            if message.state not in _FROM[report.kind]:
                return message
            hashed = keys.address_hash(message.project_id, message.address or "")
            if message.state is MessageStatus.UNKNOWN and report.kind is not ReportKind.HARD:
                # Any other report proves that the mail was handed over.
                outcomes = Outcomes(tx, now_us)
                await outcomes.settle_sent(message)
                await outcomes.flush(self._system_events)
            await self._follow(tx, report, message, hashed, now_us)
            return message

        return await self._database.write(work)

    async def _follow(
        self, tx: Transaction, report: Report, message: Message, hashed: bytes, now_us: int
    ) -> None:
        if report.kind is ReportKind.DELIVERED:
            await forget_soft_bounces(tx, message.project_id, hashed)
            await self._move(tx, message, MessageStatus.DELIVERED, "delivery", now_us)
            await self._emit(tx, message, MAIL_DELIVERY, now_us, source=report.source)
            return
        policies = await read_sending_policies(tx, message.project_id)
        if report.kind is ReportKind.COMPLAINT:
            scope = policies.complaint_scope
            await self._suppress(
                tx, report, message, (hashed, SuppressionReason.COMPLAINT, scope), now_us
            )
            await self._move(tx, message, MessageStatus.COMPLAINED, "complaint", now_us)
            more = {"source": report.source, "topic_id": message.topic_id}
            await self._emit(tx, message, MAIL_COMPLAINT, now_us, **more)
            return
        if report.kind is ReportKind.SOFT:
            most = policies.soft_bounces_to_suppress
            if not await count_soft_bounce(tx, message.project_id, hashed, now_us, most):
                return
        bad = (hashed, SuppressionReason.HARD_BOUNCE, SuppressionScope.ALL)
        await self._suppress(tx, report, message, bad, now_us)
        await self._move(tx, message, MessageStatus.BOUNCED, "bounce", now_us)
        payload: dict[str, Any] = {
            "class": "address_bad" if report.kind is ReportKind.HARD else "mailbox_full",
            "status": report.status,
            "diagnostic": report.diagnostic,
        }
        await self._emit(tx, message, MAIL_BOUNCE, now_us, **payload)

    async def _suppress(
        self,
        tx: Transaction,
        report: Report,
        message: Message,
        what: tuple[bytes, SuppressionReason, SuppressionScope],
        now_us: int,
    ) -> None:
        if message.address is None:
            return
        hashed, reason, scope = what
        entry = Entry(
            hashed=hashed,
            email=message.address,
            reason=reason,
            scope=scope,
            evidence=f"{report.status or ''} {report.diagnostic or ''}".strip(),
            actor=report.source,
        )
        await suppress(tx, message.project_id, entry, now_us)

    async def _move(
        self, tx: Transaction, message: Message, state: MessageStatus, event: str, now_us: int
    ) -> None:
        reason = None if state is MessageStatus.DELIVERED else state.value
        await tx.run(_MOVE, *key_of(message.id), state.value, reason, event, now_us)

    async def _emit(
        self, tx: Transaction, message: Message, name: str, now_us: int, **payload: Any
    ) -> None:
        events = await mail_event(tx, message, name, **payload)
        await self._system_events.insert(tx, events, now_us)
