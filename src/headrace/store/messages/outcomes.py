"""What follows from an attempt, in the transaction that records it."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.domain.messages.kinds import (
    MAIL_BOUNCE,
    MAIL_SEND,
    MessageStatus,
    SuppressionReason,
    SuppressionScope,
)
from headrace.domain.messages.settlement import Progress, Settlement, settle
from headrace.domain.messages.smtp_answers import AnswerClass
from headrace.domain.messages.tokens import MessageKeys
from headrace.domain.retry import delivery_retry
from headrace.store.access.policies import read_policies
from headrace.store.access.sending_policies import read_sending_policies
from headrace.store.contract_messages import Claimed, Ended, EndResult, Message
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction
from headrace.store.events.system_events import SystemEvents
from headrace.store.messages.mail_events import mail_event
from headrace.store.messages.message_rows import Held, hold, key_of
from headrace.store.messages.suppressions import (
    Entry,
    count_soft_bounce,
    forget_soft_bounces,
    suppress,
)

_ACTOR = "worker"
#: What the attempt of a worker that died says.
LOST = "worker_lost"

# Written once: an outcome that nobody knew may become known, nothing else changes.
_END_ATTEMPT = sql(
    "UPDATE message_attempts SET ended_us = $4, outcome = $5, phase = $6, code = $7, status = $8, "
    "diagnostic = $9 WHERE lane = $1 AND message_id = $2 AND number = $3 "
    "AND (outcome IS NULL OR outcome = 'unknown')"
)
_SETTLE = sql(
    "UPDATE messages SET state = $3, reason = $4, rule = NULL, due_us = $5, "
    "finished_us = $6, sent_us = coalesce(sent_us, $7), "
    "handed_us = CASE WHEN $8 THEN handed_us END, last_event = coalesce($9, last_event), "
    "protocol_errors = $10, unknowns = $11, domain_bad_us = $12, "
    "owner = NULL, lease_until_us = 0 WHERE lane = $1 AND id = $2",
)
ADD_ATTEMPT = sql(
    "INSERT INTO message_attempts (lane, message_id, number, claim, relay, started_us) "
    "VALUES ($1, $2, $3, $4, $5, $6)"
)
_COUNT_ATTEMPT = sql("UPDATE messages SET attempt = $3 WHERE lane = $1 AND id = $2")
_RELAY_OF = sql(
    "SELECT relay FROM message_attempts WHERE lane = $1 AND message_id = $2 "
    "ORDER BY number DESC LIMIT 1"
)
#: States in which a message may be with its receiver.
_HANDED = frozenset({MessageStatus.SENT, MessageStatus.UNKNOWN})


class Outcomes:
    """Records attempts; inside the caller's transaction."""

    def __init__(self, system_events: SystemEvents) -> None:
        self._system_events = system_events

    async def record(
        self, tx: Transaction, keys: MessageKeys, owner: str, ended: Ended, now_us: int
    ) -> EndResult:
        """Record one attempt; see `Outbox.record`."""
        held = await hold(tx, ended.claimed.message.id)
        if held is None:
            # The person was forgotten meanwhile: nothing of it may come back.
            return EndResult()
        if ended.attempt is None:
            if not held.is_of(owner, ended.claimed.claim):
                return EndResult()
            held, ended = await _begun(tx, held, ended, now_us)
        key = key_of(held.claimed.message.id)
        answer = (ended.phase, ended.code, ended.status, ended.diagnostic)
        changed = await tx.run(
            _END_ATTEMPT, *key, ended.attempt, now_us, ended.outcome.value, *answer
        )
        if not changed or not _settles(held, owner, ended):
            return EndResult()
        settlement = await self._decide(tx, held.claimed, ended.outcome, ended.jitter, now_us)
        await self._write(tx, held.claimed, ended, settlement, now_us)
        await self._follow(tx, keys, held.claimed.message, ended, settlement, now_us)
        return EndResult(state=settlement.status, settlement=settlement)

    async def unknown(self, tx: Transaction, held: Claimed, number: int, now_us: int) -> None:
        """Record an attempt whose worker died before it could tell how it ended."""
        key = key_of(held.message.id)
        answer = (None, None, None, LOST)
        await tx.run(_END_ATTEMPT, *key, number, now_us, AnswerClass.UNKNOWN.value, *answer)
        settlement = await self._decide(tx, held, AnswerClass.UNKNOWN, 0.5, now_us)
        ended = Ended(claimed=held, attempt=number, outcome=AnswerClass.UNKNOWN)
        await self._write(tx, held, ended, settlement, now_us)

    async def settle_sent(self, tx: Transaction, message: Message, now_us: int) -> None:
        """What was unknown has arrived: something came back, or a person says so."""
        times = (None, now_us, now_us)
        kept = (True, "send", 0, 0, None)
        key = key_of(message.id)
        await tx.run(_SETTLE, *key, MessageStatus.SENT.value, None, *times, *kept)
        await self._tell_sent(tx, message, now_us)

    async def _decide(
        self, tx: Transaction, held: Claimed, outcome: AnswerClass, jitter: float, now_us: int
    ) -> Settlement:
        message = held.message
        sending = await read_sending_policies(tx, message.project_id)
        policies = await read_policies(tx, message.project_id)
        return settle(
            outcome,
            Progress(
                kind=message.kind,
                attempt=max(message.attempt, 1),
                first_due_us=held.first_due_us,
                protocol_errors=held.protocol_errors,
                unknowns=held.unknowns,
                domain_bad_since_us=held.domain_bad_us,
                horizon_s=held.horizon_s,
            ),
            now_us=now_us,
            policy=delivery_retry(policies),
            unknown=sending.unknown_outcome(message.kind),
            jitter=jitter,
        )

    async def _write(
        self, tx: Transaction, held: Claimed, ended: Ended, settlement: Settlement, now_us: int
    ) -> None:
        outcome, state = ended.outcome, settlement.status
        sent = state is MessageStatus.SENT
        domain_bad_us = held.domain_bad_us
        if outcome is AnswerClass.DOMAIN_BAD:
            domain_bad_us = domain_bad_us or now_us
        await tx.run(
            _SETTLE,
            *key_of(held.message.id),
            state.value,
            None if sent else outcome.value,
            settlement.retry_at_us,
            now_us if state.final else None,
            now_us if sent else None,
            state in _HANDED,
            _last_event(state),
            held.protocol_errors + (outcome is AnswerClass.PROTOCOL),
            held.unknowns + (outcome is AnswerClass.UNKNOWN),
            domain_bad_us,
        )

    async def _follow(
        self,
        tx: Transaction,
        keys: MessageKeys,
        message: Message,
        ended: Ended,
        settlement: Settlement,
        now_us: int,
    ) -> None:
        if settlement.status is MessageStatus.SENT:
            if message.attempt > 1 and message.address is not None:
                hashed = keys.address_hash(message.project_id, message.address)
                await forget_soft_bounces(tx, message.project_id, hashed)
            await self._tell_sent(tx, message, now_us)
            return
        hard = settlement.suppress is not None
        if message.address is not None and (hard or settlement.soft_bounce):
            hashed = keys.address_hash(message.project_id, message.address)
            if settlement.soft_bounce:
                policies = await read_sending_policies(tx, message.project_id)
                most = policies.soft_bounces_to_suppress
                hard = await count_soft_bounce(tx, message.project_id, hashed, now_us, most)
            if hard:
                entry = Entry(
                    hashed=hashed,
                    email=message.address,
                    reason=SuppressionReason.HARD_BOUNCE,
                    scope=SuppressionScope.ALL,
                    evidence=_evidence(ended),
                    actor=_ACTOR,
                )
                await suppress(tx, message.project_id, entry, now_us)
        if settlement.status is MessageStatus.BOUNCED or (hard and settlement.soft_bounce):
            payload: dict[str, Any] = {
                "class": ended.outcome.value,
                "status": ended.status,
                "diagnostic": ended.diagnostic,
            }
            events = await mail_event(tx, message, MAIL_BOUNCE, **payload)
            await self._system_events.insert(tx, events, now_us)

    async def _tell_sent(self, tx: Transaction, message: Message, now_us: int) -> None:
        events = await mail_event(
            tx,
            message,
            MAIL_SEND,
            subject=message.subject,
            domain_id=message.domain_id,
            topic_id=message.topic_id,
            relay=await tx.value(_RELAY_OF, *key_of(message.id)),
        )
        await self._system_events.insert(tx, events, now_us)


async def _begun(tx: Transaction, held: Held, ended: Ended, now_us: int) -> tuple[Held, Ended]:
    """Write the row of an attempt that ended before anything was said about the mail."""
    key = key_of(held.claimed.message.id)
    number = held.claimed.message.attempt + 1
    await tx.run(ADD_ATTEMPT, *key, number, ended.claimed.claim, ended.relay, now_us)
    await tx.run(_COUNT_ATTEMPT, *key, number)
    message = msgspec.structs.replace(held.claimed.message, attempt=number)
    claimed = msgspec.structs.replace(held.claimed, message=message)
    return (
        msgspec.structs.replace(held, claimed=claimed),
        msgspec.structs.replace(ended, attempt=number),
    )


def _settles(held: Held, owner: str, ended: Ended) -> bool:
    """Whether an attempt decides what becomes of its message."""
    if held.is_of(owner, ended.claimed.claim):
        return True
    message = held.claimed.message
    late = message.state is MessageStatus.UNKNOWN and message.attempt == ended.attempt
    return late and ended.outcome is not AnswerClass.UNKNOWN


def _last_event(state: MessageStatus) -> str | None:
    return {MessageStatus.SENT: "send", MessageStatus.BOUNCED: "bounce"}.get(state)


def _evidence(ended: Ended) -> str:
    parts = (str(ended.code or ""), ended.status or "", ended.diagnostic or "")
    return " ".join(part for part in parts if part)
