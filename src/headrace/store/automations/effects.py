"""Performs the effects of a decision, in the transaction that stores the run."""

from __future__ import annotations

import json
from typing import Any, assert_never

import msgspec
from msgspec import UNSET

from headrace.domain.automations.definition.model import EmailConfig, PushConfig
from headrace.domain.automations.filters.values import json_of
from headrace.domain.automations.running.effects import (
    CancelMessage,
    ChangeMembership,
    Effect,
    EmitEvent,
    SendMessage,
    SetSubscription,
    UpdateContact,
)
from headrace.domain.automations.running.inputs import MessageFinished
from headrace.domain.automations.running.reasons import RunReason
from headrace.domain.automations.running.runs import Run
from headrace.domain.automations.running.states import StepStatus
from headrace.domain.contacts.contact import ContactWrite
from headrace.domain.messages.addresses import Mailbox, parse_mailbox
from headrace.domain.messages.kinds import Channel, MessageKind, UnknownOutcome
from headrace.domain.push.kinds import NotificationState
from headrace.store.automations.inputs import CausedEvents
from headrace.store.contacts.contact_writes import ContactWriter, by_id
from headrace.store.contacts.groups import audience_members, subscriptions
from headrace.store.contacts.groups.audience_rows import COLUMNS as AUDIENCE_COLUMNS
from headrace.store.contacts.groups.audience_rows import audience
from headrace.store.contacts.groups.topic_rows import COLUMNS as TOPIC_COLUMNS
from headrace.store.contacts.groups.topic_rows import topic
from headrace.store.contacts.refs import ContactRef, change_ref
from headrace.store.contract.errors import StoreConflictError
from headrace.store.contract.messages import EmailContent
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import RowNumbers
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Transaction
from headrace.store.messages.content.domains import GET as DOMAIN
from headrace.store.messages.content.domains import domain
from headrace.store.messages.message_rows import key_of
from headrace.store.messages.sending.emails import (
    INSERT_MESSAGE,
    NewMessage,
    insert_messages,
)
from headrace.store.push.notification_rows import (
    PushMessage,
    StepContent,
    TargetKind,
    move_open,
    push_text,
    reopen,
)

#: Writer of contacts, as recorded in their events.
SOURCE = "automation"
#: Local part of the sender when the step names none.
SENDER = "no-reply"

_LIVE = "WHERE id = $1 AND project_id = $2 AND deleted_us IS NULL FOR SHARE"
_AUDIENCE = sql(f"SELECT {AUDIENCE_COLUMNS} FROM audiences {_LIVE}")
_TOPIC = sql(f"SELECT {TOPIC_COLUMNS} FROM topics {_LIVE}")
# A retry of the step sends the message that failed, with the same id.
_SEND_AGAIN = sql(
    "UPDATE messages SET state = 'queued', reason = NULL, rule = NULL, due_us = $3, "
    "first_due_us = $3, deferred_us = NULL, finished_us = NULL, crashes = 0 "
    "WHERE lane = $1 AND id = $2 "
    "AND state IN ('failed', 'bounced', 'blocked', 'expired', 'cancelled')"
)
_CANCEL_MESSAGE = sql(
    "UPDATE messages SET state = 'cancelled', reason = 'cancelled_by', due_us = NULL, "
    "finished_us = $3 WHERE lane = $1 AND id = $2 AND state IN ('queued', 'deferred')"
)


class Effects:
    """Effects of one run.

    Args:
        contact_id: of the run's contact, which exists.
        now_us: time of the writes.
    """

    def __init__(
        self,
        tx: Transaction,
        system_events: SystemEvents,
        numbers: RowNumbers,
        *,
        project_id: int,
        contact_id: str,
        now_us: int,
    ) -> None:
        self._tx = tx
        self._system_events = system_events
        self._numbers = numbers
        self._project_id = project_id
        self._contact_id = contact_id
        self._now_us = now_us

    async def perform(self, effect: Effect, run: Run) -> MessageFinished | None:
        """Perform one effect; returns the outcome of a message that cannot even be queued."""
        caused = CausedEvents(self._system_events, run.id, run.depth + 1)
        match effect:
            case SendMessage():
                return await self._send(effect, run)
            case CancelMessage():
                await self._cancel(effect)
            case UpdateContact():
                await self._update(effect, caused)
            case ChangeMembership():
                await self._membership(effect, caused)
            case SetSubscription():
                await self._subscription(effect, caused)
            case EmitEvent():
                ref = await self._ref()
                if ref is not None:
                    event = ref.event(effect.event_name, effect.payload)
                    await caused.insert(self._tx, [event], self._now_us)
            case _:
                assert_never(effect)
        return None

    async def _ref(self) -> ContactRef | None:
        return await change_ref(self._tx, self._project_id, self._contact_id)

    async def _update(self, effect: UpdateContact, caused: SystemEvents) -> None:
        held = await by_id(self._tx, self._project_id, self._contact_id, lock=True)
        if held is None:
            return
        writer = ContactWriter(self._tx, caused, self._numbers, self._now_us, SOURCE)
        write = ContactWrite(
            external_id=effect.identifiers.get("external_id", UNSET),
            email=effect.identifiers.get("email", UNSET),
            properties=dict(effect.properties),
        )
        try:
            await writer.update(held, write)
        except StoreConflictError as error:
            # Raised before anything is written: identifiers of others stay with them.
            taken = dict.fromkeys(map(str, error.args), UNSET)
            await writer.update(held, msgspec.structs.replace(write, **taken))

    async def _membership(self, effect: ChangeMembership, caused: SystemEvents) -> None:
        row = await self._tx.row(_AUDIENCE, effect.audience_id, self._project_id)
        ref = None if row is None else await self._ref()
        if row is None or ref is None:
            return
        held = audience(row)
        if effect.is_member:
            await audience_members.enter(self._tx, caused, held, [ref], self._now_us)
        else:
            await audience_members.leave(self._tx, caused, held, ref, self._now_us)

    async def _subscription(self, effect: SetSubscription, caused: SystemEvents) -> None:
        row = await self._tx.row(_TOPIC, effect.topic_id, self._project_id)
        ref = None if row is None else await self._ref()
        if row is None or ref is None:
            return
        wanted = effect.is_subscribed
        await subscriptions.choose(self._tx, caused, ref, [topic(row)], self._now_us, wanted=wanted)

    async def _cancel(self, effect: CancelMessage) -> None:
        if await self._tx.run(_CANCEL_MESSAGE, *key_of(effect.id), self._now_us):
            # Of a push; a mail has none.
            state = NotificationState.CANCELLED.value
            await move_open(self._tx, effect.id, state, "cancelled_by", self._now_us)

    async def _send(self, effect: SendMessage, run: Run) -> MessageFinished | None:
        """Queue a message: its id follows from run and step, so there is one at most."""
        config = effect.config
        if isinstance(config, PushConfig):
            return await self._push(effect, config, run)
        return await self._mail(effect, config, run)

    async def _push(
        self, effect: SendMessage, config: PushConfig, run: Run
    ) -> MessageFinished | None:
        """Queue a push; which devices get it is decided when it is sent."""
        contact = await by_id(self._tx, self._project_id, self._contact_id)
        if contact is None:
            return _unsent(effect, run, RunReason.NO_DEVICE)
        key = key_of(effect.id)
        if await self._tx.run(_SEND_AGAIN, *key, self._now_us):
            await reopen(self._tx, effect.id)
            return None
        push = PushMessage(
            app_id=config.app.id or "",
            step=StepContent(
                template_version_id=config.template.id or "",
                variables=_plain(effect.variables),
                payload=_plain(run.trigger.payload),
                ttl_s=config.ttl_seconds,
                urgency=config.urgency.value,
            ),
        )
        await self._tx.run(
            INSERT_MESSAGE,
            *(*key, self._project_id, Channel.PUSH.value, config.kind.value, None),
            *(run.automation_id, run.id, effect.step_key, push_text(push), contact.id),
            *(None, None, TargetKind.CONTACT.value),
            *(None if config.topic is None else config.topic.id, config.template.id),
            *(None, None, None, self._now_us, None, self._now_us),
        )
        return None

    async def _mail(
        self, effect: SendMessage, config: EmailConfig, run: Run
    ) -> MessageFinished | None:
        contact = await by_id(self._tx, self._project_id, self._contact_id)
        if contact is None or contact.email is None:
            return _unsent(effect, run, RunReason.NO_ADDRESS)
        row = await self._tx.row(DOMAIN, self._project_id, config.domain.id)
        if row is None:
            return _unsent(effect, run, RunReason.GONE)
        sender = domain(row)
        author = parse_mailbox(config.from_address or f"{SENDER}@{sender.name}")
        content = EmailContent(
            sender=Mailbox(author.address, config.from_name or author.name, author.original_local),
            reply_to=() if config.reply_to is None else (parse_mailbox(config.reply_to),),
            template_version_id=config.template.id,
            variables=_plain(effect.variables),
            payload=_plain(run.trigger.payload),
            topic_id=None if config.topic is None else config.topic.id,
            kind=MessageKind(config.kind.value),
            track_opens=config.track_opens,
            track_clicks=config.track_clicks,
            automation=(run.automation_id, str(run.version)),
            unknown_outcome=None
            if config.unknown_outcome is None
            else UnknownOutcome(config.unknown_outcome.value),
        )
        new = NewMessage(
            id=effect.id,
            project_id=self._project_id,
            content=content,
            recipient=parse_mailbox(contact.email_original or contact.email),
            role="to",
            contact_id=contact.id,
            domain=sender,
            due_us=self._now_us,
            step=(run.automation_id, run.id, effect.step_key),
        )
        if not await self._tx.run(_SEND_AGAIN, *key_of(effect.id), self._now_us):
            await insert_messages(self._tx, [new], self._now_us)
        return None


def _unsent(effect: SendMessage, run: Run, reason: RunReason) -> MessageFinished:
    return MessageFinished(
        step_key=effect.step_key, status=StepStatus.SKIPPED, at_us=run.at_us, reason=reason
    )


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Values with numbers as JSON has them, for templates."""
    plain: dict[str, Any] = json.loads(json_of(values))
    return plain
