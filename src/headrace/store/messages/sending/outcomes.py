"""Effects of an attempt, in the transaction that records it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from headrace.domain.deliveries.retry import RetryPolicy, delivery_retry
from headrace.domain.messages.kinds import (
    MAIL_BOUNCE,
    MAIL_SEND,
    MessageStatus,
    SuppressionReason,
    SuppressionScope,
    UnknownOutcome,
)
from headrace.domain.messages.receiver_breaker import Acceptance, Rejection
from headrace.domain.messages.sending_policies import SendingPolicies
from headrace.domain.messages.settlement import Progress, Settlement, settle
from headrace.domain.messages.smtp_replies import ReplyClass, relay_id_of
from headrace.domain.messages.tokens import MessageKeys
from headrace.store.access.policies import read_policies
from headrace.store.access.sending_policies import read_sending_policies
from headrace.store.contract.messages import Claimed, Ended, EndResult, Message
from headrace.store.contract.processing import SystemEvent
from headrace.store.engine.dialect import sql
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Transaction
from headrace.store.messages.mail_events import mail_event
from headrace.store.messages.message_rows import Held, find_content, hold, key_of
from headrace.store.messages.receivers import Results
from headrace.store.messages.suppressions import (
    Entry,
    count_soft_bounce,
    forget_soft_bounces,
    suppress,
)
from headrace.store.messages.waiting_runs import wake_run

_ACTOR = "worker"
#: Outcome of an attempt whose worker died.
LOST = "worker_lost"

# Written once: only an unknown outcome may still change.
_END_ATTEMPT = sql(
    "UPDATE message_attempts SET ended_us = $4, outcome = $5, phase = $6, code = $7, status = $8, "
    "diagnostic = $9, relay_id = $10 WHERE lane = $1 AND message_id = $2 AND number = $3 "
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
_RELAY_WORKS = sql("DELETE FROM relay_failures WHERE relay = $1")
_RELAY_FAILS = sql(
    "INSERT INTO relay_failures (relay, outcome, failures, since_us, last_us, diagnostic) "
    "VALUES ($1, $2, 1, $3, $3, $4) ON CONFLICT (relay) DO UPDATE SET outcome = $2, "
    "failures = relay_failures.failures + 1, last_us = $3, diagnostic = $4"
)
#: States in which a message may be with its receiver.
_HANDED = frozenset({MessageStatus.SENT, MessageStatus.UNKNOWN})


class Outcomes:
    """Records attempts.

    It reads shared data of the messages of one transaction once; `flush` writes their events
    together.
    """

    def __init__(self, tx: Transaction, now_us: int) -> None:
        self._tx = tx
        self._now_us = now_us
        self._policies: dict[int, tuple[SendingPolicies, RetryPolicy]] = {}
        self._events: list[SystemEvent] = []
        self._results = Results(tx, now_us)
        #: Relay -> the last failure of it, or None when it accepted a mail since.
        self._relays: dict[str, Ended | None] = {}

    async def flush(self, system_events: SystemEvents) -> None:
        """Write events, figures and breakers of all that was recorded."""
        await system_events.insert(self._tx, self._events, self._now_us)
        self._events = []
        await self._results.flush()
        for relay, failed in sorted(self._relays.items(), key=lambda pair: pair[0]):
            if failed is None:
                await self._tx.run(_RELAY_WORKS, relay)
            else:
                reply = " ".join(filter(None, (str(failed.code or ""), failed.diagnostic)))
                values = (failed.outcome.value, self._now_us, reply)
                await self._tx.run(_RELAY_FAILS, relay, *values)
        self._relays = {}

    async def record(self, keys: MessageKeys, owner: str, ended: Ended) -> EndResult:
        """Record one attempt; see `Outbox.record`."""
        held = await hold(self._tx, ended.claimed.message.id)
        if held is None:
            # The person was erased meanwhile: no data of them may be written.
            return EndResult()
        if ended.attempt is None:
            if not held.is_of(owner, ended.claimed.claim):
                return EndResult()
            held, ended = await begun(self._tx, held, ended, self._now_us)
        reply = (ended.phase, ended.code, ended.status, ended.diagnostic)
        if not await self._end_attempt(held.claimed.message, ended, reply):
            return EndResult()
        if not settles(held, owner, ended):
            return EndResult()
        settlement = await self._decide(held.claimed, ended)
        await self._write(held.claimed, ended, settlement)
        self._note(held.claimed.message, ended, settlement)
        await self._follow(keys, held.claimed.message, ended, settlement)
        return EndResult(state=settlement.status, settlement=settlement)

    async def unknown(self, held: Claimed, number: int) -> None:
        """Record an attempt whose worker died before it recorded the outcome."""
        ended = Ended(claimed=held, attempt=number, outcome=ReplyClass.UNKNOWN)
        await self._end_attempt(held.message, ended, (None, None, None, LOST))
        settlement = await self._decide(held, ended)
        await self._write(held, ended, settlement)

    def _note(self, message: Message, ended: Ended, settlement: Settlement) -> None:
        """Note what an attempt says about relay and receiver."""
        self._results.count(message, settlement.status)
        if settlement.sender_rejected:
            rejection = Rejection(
                message_id=message.id,
                code=ended.code,
                status=ended.status,
                diagnostic=ended.diagnostic,
            )
            self._results.answered(message, rejection)
        elif settlement.status is MessageStatus.SENT:
            self._results.answered(message, Acceptance(message_id=message.id))
            self._relays[ended.relay] = None
        elif settlement.relay_down or settlement.hold_relay:
            self._relays[ended.relay] = ended

    async def settle_sent(self, message: Message) -> None:
        """Settle an unknown message as sent: a report or hit arrived, or a person confirmed it."""
        now_us = self._now_us
        times = (None, now_us, now_us)
        kept = (True, "send", 0, 0, None)
        key = key_of(message.id)
        await self._tx.run(_SETTLE, *key, MessageStatus.SENT.value, None, *times, *kept)
        await wake_run(self._tx, message, MessageStatus.SENT, now_us)
        self._results.count(message, MessageStatus.SENT)
        await self._emit_sent(message, await self._tx.value(_RELAY_OF, *key))

    async def _end_attempt(
        self, message: Message, ended: Ended, reply: tuple[str | int | None, ...]
    ) -> bool:
        """Write how an attempt ended; False when that was known already."""
        sent = ended.outcome is ReplyClass.SENT
        relay_id = relay_id_of(ended.diagnostic) if sent else None
        values = (ended.attempt, self._now_us, ended.outcome.value, *reply, relay_id)
        return await self._tx.run(_END_ATTEMPT, *key_of(message.id), *values) > 0

    async def _policies_of(self, project_id: int) -> tuple[SendingPolicies, RetryPolicy]:
        if project_id not in self._policies:
            sending = await read_sending_policies(self._tx, project_id)
            retry = delivery_retry(await read_policies(self._tx, project_id))
            self._policies[project_id] = sending, retry
        return self._policies[project_id]

    async def _decide(self, held: Claimed, ended: Ended) -> Settlement:
        message, outcome = held.message, ended.outcome
        assert isinstance(outcome, ReplyClass)
        sending, retry = await self._policies_of(message.project_id)
        settlement = settle(
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
            now_us=self._now_us,
            policy=retry,
            unknown=await self._unknown_outcome(message, outcome, sending),
            jitter=ended.jitter,
        )
        if settlement.status is MessageStatus.EXPIRED and held.unknowns:
            # An earlier attempt may have arrived.
            return replace(settlement, status=MessageStatus.UNKNOWN)
        return settlement

    async def _unknown_outcome(
        self, message: Message, outcome: ReplyClass, sending: SendingPolicies
    ) -> UnknownOutcome:
        """What the step of a run says about an unknown outcome, else the policy."""
        if outcome is ReplyClass.UNKNOWN and message.run_id is not None:
            content = await find_content(self._tx, message)
            if content is not None and content.unknown_outcome is not None:
                return content.unknown_outcome
        return sending.unknown_outcome(message.kind)

    async def _write(self, held: Claimed, ended: Ended, settlement: Settlement) -> None:
        outcome, state, now_us = ended.outcome, settlement.status, self._now_us
        sent = state is MessageStatus.SENT
        domain_bad_us = held.domain_bad_us
        if outcome is ReplyClass.DOMAIN_BAD:
            domain_bad_us = domain_bad_us or now_us
        await self._tx.run(
            _SETTLE,
            *key_of(held.message.id),
            state.value,
            None if sent else outcome.value,
            settlement.retry_at_us,
            now_us if state.final else None,
            now_us if sent else None,
            state in _HANDED,
            _last_event(state),
            held.protocol_errors + (outcome is ReplyClass.PROTOCOL),
            held.unknowns + (outcome is ReplyClass.UNKNOWN),
            domain_bad_us,
        )
        await wake_run(self._tx, held.message, state, now_us)

    async def _follow(
        self, keys: MessageKeys, message: Message, ended: Ended, settlement: Settlement
    ) -> None:
        if settlement.status is MessageStatus.SENT:
            if message.attempt > 1 and message.address is not None:
                hashed = keys.address_hash(message.project_id, message.address)
                await forget_soft_bounces(self._tx, message.project_id, hashed)
            await self._emit_sent(message, ended.relay)
            return
        hard = settlement.suppress is not None
        if message.address is not None and (hard or settlement.soft_bounce):
            hard = await self._count_bounce(keys, message, message.address, ended, settlement)
        if settlement.status is MessageStatus.BOUNCED or (hard and settlement.soft_bounce):
            payload: dict[str, Any] = {
                "class": ended.outcome.value,
                "status": ended.status,
                "diagnostic": ended.diagnostic,
            }
            self._events += await mail_event(self._tx, message, MAIL_BOUNCE, **payload)

    async def _count_bounce(
        self,
        keys: MessageKeys,
        message: Message,
        address: str,
        ended: Ended,
        settlement: Settlement,
    ) -> bool:
        """Suppress an address after a hard bounce or enough soft ones; returns whether."""
        hashed = keys.address_hash(message.project_id, address)
        if settlement.soft_bounce:
            sending, _ = await self._policies_of(message.project_id)
            most = sending.soft_bounces_to_suppress
            key = (message.project_id, hashed)
            if not await count_soft_bounce(self._tx, *key, self._now_us, most):
                return False
        entry = Entry(
            hashed=hashed,
            email=address,
            reason=SuppressionReason.HARD_BOUNCE,
            scope=SuppressionScope.ALL,
            evidence=_evidence(ended),
            actor=_ACTOR,
        )
        await suppress(self._tx, message.project_id, entry, self._now_us)
        return True

    async def _emit_sent(self, message: Message, relay: str) -> None:
        self._events += await mail_event(
            self._tx,
            message,
            MAIL_SEND,
            subject=message.subject,
            domain_id=message.domain_id,
            topic_id=message.topic_id,
            relay=relay,
        )


async def begun(tx: Transaction, held: Held, ended: Ended, now_us: int) -> tuple[Held, Ended]:
    """Write the row of an attempt that ended before the hand-over."""
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


def settles(held: Held, owner: str, ended: Ended) -> bool:
    """Whether an attempt decides the state of its message."""
    if held.is_of(owner, ended.claimed.claim):
        return True
    message = held.claimed.message
    late = message.state is MessageStatus.UNKNOWN and message.attempt == ended.attempt
    return late and ended.outcome is not ReplyClass.UNKNOWN


def _last_event(state: MessageStatus) -> str | None:
    return {MessageStatus.SENT: "send", MessageStatus.BOUNCED: "bounce"}.get(state)


def _evidence(ended: Ended) -> str:
    parts = (str(ended.code or ""), ended.status or "", ended.diagnostic or "")
    return " ".join(part for part in parts if part)
