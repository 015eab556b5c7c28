"""The queue of push messages, with the same claims and guardrails as that of mail.

An attempt sends a message to all its devices that have not got it. `sent` is the message once one
device got it; devices whose service was not available are retried until the horizon.
"""

from __future__ import annotations

from dataclasses import replace

from headrace.domain.contacts.contact import Contact
from headrace.domain.messages.guardrails import Decision, Facts, Reason, Verdict
from headrace.domain.messages.kinds import Channel, MessageStatus
from headrace.domain.messages.sending_policies import SendingPolicies
from headrace.domain.messages.tokens import MessageKeys
from headrace.domain.push.kinds import PUSH_SKIP, NotificationState
from headrace.store.contract.messages import Claimed, Start, StartResult
from headrace.store.engine.transaction import Transaction
from headrace.store.messages.message_rows import CONTENT, key_of
from headrace.store.messages.sending.outbox import Outbox
from headrace.store.push.notification_rows import (
    Destination,
    PushMessage,
    begin,
    destinations,
    insert_notifications,
    move_open,
    read_push,
)
from headrace.store.push.outcomes import PushOutcomes

#: State of the notifications of a message that ends so; of any other end they failed.
_ENDS = {
    MessageStatus.SKIPPED: NotificationState.SKIPPED,
    MessageStatus.CANCELLED: NotificationState.CANCELLED,
}


class PushStart(Start, frozen=True, kw_only=True):
    """A push for which connections are free."""

    #: What it sends, as it was read with the claim; that of a message never changes.
    push: PushMessage
    #: Devices that the attempt sends to.
    destinations: tuple[Destination, ...]


class PushOutbox(Outbox):
    """The queue of push messages of all projects."""

    channel = Channel.PUSH
    skip_event = PUSH_SKIP

    def _outcomes(self, tx: Transaction, now_us: int) -> PushOutcomes:
        return PushOutcomes(tx, now_us)

    async def _facts(
        self,
        tx: Transaction,
        keys: MessageKeys,
        start: Start,
        contact: Contact | None,
        policies: SendingPolicies,
        now_us: int,
    ) -> Facts | Reason:
        facts = await super()._facts(tx, keys, start, contact, policies, now_us)
        if isinstance(facts, Reason):
            return facts
        message = start.claimed.message
        text = await tx.value(CONTENT, *key_of(message.id))
        if text is None:
            return Reason.GONE
        # Read in the transaction of the start: a device that unsubscribed a moment ago gets none.
        found = await destinations(tx, message, read_push(text))
        zones = tuple(one.timezone for one in reversed(found) if one.timezone is not None)
        wanted = isinstance(start, PushStart) and bool(start.destinations)
        return replace(
            facts, has_address=bool(found) and wanted, timezones=(*facts.timezones, *zones)
        )

    async def _begin(self, tx: Transaction, start: Start, now_us: int) -> StartResult:
        assert isinstance(start, PushStart)
        result = await super()._begin(tx, start, now_us)
        message = start.claimed.message
        # Also devices that were registered since the request.
        await insert_notifications(tx, message, start.push, start.destinations, now_us)
        ids = [one.notification_id for one in start.destinations]
        await begin(tx, sorted(ids), result.attempt or 0)
        return result

    async def _reject(
        self, tx: Transaction, held: Claimed, verdict: Verdict, now_us: int
    ) -> StartResult:
        rejected = await super()._reject(tx, held, verdict, now_us)
        skipped = verdict.decision is Decision.SKIP
        state = NotificationState.SKIPPED if skipped else NotificationState.DEFERRED
        finished_us = now_us if skipped else None
        await move_open(tx, held.message.id, state.value, rejected.reason, finished_us)
        return rejected

    async def _not_sendable(
        self, tx: Transaction, held: Claimed, state: MessageStatus, reason: str, now_us: int
    ) -> None:
        ended = _ENDS.get(state, NotificationState.FAILED)
        await move_open(tx, held.message.id, ended.value, reason, now_us)

    def _ended_as(self, held: Claimed, state: MessageStatus) -> MessageStatus:
        """The state, or `sent` when a device has got it: only others are not sent to."""
        return state if held.message.sent_us is None else MessageStatus.SENT
