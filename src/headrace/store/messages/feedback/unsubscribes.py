"""Unsubscribing by link or address in a mail: consent, engagement, events in one transaction.

A token needs no row: it works when message, run and automation are gone.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.domain.contacts.topics import TOPICS_MAX, Subscription, Topic
from headrace.domain.messages.kinds import MAIL_UNSUBSCRIBE, Verdict
from headrace.domain.messages.tokens import UnsubscribeTarget
from headrace.store.contacts.groups import subscriptions
from headrace.store.contacts.groups.topic_rows import topic
from headrace.store.contacts.groups.topics import LIST, find_topic
from headrace.store.contacts.refs import ContactRef, change_ref, find_ref
from headrace.store.contract.messages import Message
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import BIGINT_MAX
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Database, Transaction
from headrace.store.messages.mail_events import mail_event
from headrace.store.messages.message_rows import find_message, key_of

#: Kinds of engagement. Unsubscribing from the topic and then from everything records both.
UNSUBSCRIBE, UNSUBSCRIBE_ALL = "unsubscribe", "unsubscribe_all"
#: Topics on the page of choices.
TOPICS_OFFERED_MAX = 100

_PROJECTS = sql("SELECT id FROM projects ORDER BY id")
_NOTE = sql(
    "INSERT INTO message_engagement (lane, message_id, kind, link, verdict, reason, count, "
    "first_us, last_us) VALUES ($1, $2, $3, 0, $4, $5, 1, $6, $6) "
    "ON CONFLICT (lane, message_id, kind, link, verdict) DO UPDATE SET "
    "count = message_engagement.count + 1, last_us = excluded.last_us RETURNING count"
)
_LAST_EVENT = sql("UPDATE messages SET last_event = 'unsubscribe' WHERE lane = $1 AND id = $2")


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """Result of unsubscribing."""

    project_id: int
    contact_id: str
    #: None: unsubscribed from everything, or the topic is gone.
    topic: Topic | None
    #: Topics from which this call unsubscribed the contact.
    changed: int


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """Result of saving choices."""

    #: Choices of all topics that were offered, as they are now.
    choices: Sequence[Subscription]


class Unsubscribes:
    """Unsubscribing, for all projects."""

    def __init__(self, database: Database, system_events: SystemEvents) -> None:
        self._database = database
        self._system_events = system_events

    async def leave(
        self, target: UnsubscribeTarget, now_us: int, *, everything: bool, source: str
    ) -> Left | None:
        """Unsubscribe the contact of a token. Idempotent.

        Args:
            everything: all topics, whatever the token names.
            source: `one_click`, `page`, `mailto` or the name of a provider.

        Returns:
            None when the contact is gone: it gets no more mail.
        """
        return await self._database.write(
            lambda tx: leave_in(
                tx, self._system_events, target, now_us, everything=everything, source=source
            )
        )

    async def choices(self, target: UnsubscribeTarget) -> Sequence[Subscription] | None:
        """The subscriptions of a token's contact to the offered topics.

        The topic of the token comes first, then the newest ones, at most `TOPICS_OFFERED_MAX`.

        Returns:
            None when the contact is gone.
        """

        async def read(tx: Transaction) -> Sequence[Subscription] | None:
            project_id = target.project_id
            contact = None
            if project_id is not None:
                contact = await find_ref(tx, project_id, target.contact_id)
            if contact is None:
                return None
            return await self._offered(tx, contact, target)

        return await self._database.read(read, snapshot=True)

    async def save(
        self,
        target: UnsubscribeTarget,
        now_us: int,
        *,
        offered: frozenset[str],
        wanted: frozenset[str],
    ) -> Saved | None:
        """Write what the contact of a token has chosen; None when the contact is gone.

        Args:
            offered: ids of the offered topics; all others stay as they are.
            wanted: those of them that the contact wants.
        """

        async def work(tx: Transaction) -> Saved | None:
            project_id = target.project_id
            contact = None
            if project_id is not None:
                contact = await change_ref(tx, project_id, target.contact_id)
            if contact is None:
                return None
            before = [
                held
                for held in await self._offered(tx, contact, target)
                if held.topic.id in offered
            ]
            for is_wanted in (True, False):
                topics = [one.topic for one in before if (one.topic.id in wanted) is is_wanted]
                await subscriptions.choose(
                    tx, self._system_events, contact, topics, now_us, wanted=is_wanted
                )
            left = {
                one.topic.id for one in before if one.is_subscribed and one.topic.id not in wanted
            }
            message = None
            if target.message_id is not None and target.topic_id in left:
                message = await find_message(tx, target.message_id)
            if message is not None and message.project_id == contact.project_id:
                await _emit(tx, self._system_events, message, "page", now_us, everything=False)
            return Saved(choices=await self._offered(tx, contact, target))

        return await self._database.write(work)

    async def _offered(
        self, tx: Transaction, contact: ContactRef, target: UnsubscribeTarget
    ) -> Sequence[Subscription]:
        own = None
        if target.topic_id is not None:
            own = await find_topic(tx, contact.project_id, target.topic_id)
        rows = await tx.rows(LIST, contact.project_id, BIGINT_MAX, TOPICS_OFFERED_MAX)
        others = [one for one in map(topic, rows) if own is None or one.id != own.id]
        topics = [*([] if own is None else [own]), *others][:TOPICS_OFFERED_MAX]
        return await subscriptions.subscription_states(tx, contact, topics)


async def leave_in(
    tx: Transaction,
    system_events: SystemEvents,
    target: UnsubscribeTarget,
    now_us: int,
    *,
    everything: bool,
    source: str,
) -> Left | None:
    """See `Unsubscribes.leave`; in the caller's transaction."""
    project_id = target.project_id
    if project_id is None:
        project_id = await project_of(tx, target.contact_id)
    if project_id is None:
        return None
    contact = await change_ref(tx, project_id, target.contact_id)
    if contact is None:
        return None
    all_topics = everything or target.topic_id is None
    left = None
    if not all_topics:
        left = await find_topic(tx, project_id, target.topic_id or "")
    changed = 0
    if all_topics:
        rows = await tx.rows(LIST, project_id, BIGINT_MAX, TOPICS_MAX)
        topics = [topic(row) for row in rows]
        out = await subscriptions.opt_out(tx, system_events, contact, topics, now_us)
        changed = out.changed
    elif left is not None:
        changed = await subscriptions.choose(
            tx, system_events, contact, [left], now_us, wanted=False
        )
    message = None
    if target.message_id is not None:
        message = await find_message(tx, target.message_id)
    if message is not None and message.project_id == project_id:
        await _emit(tx, system_events, message, source, now_us, everything=all_topics)
    return Left(project_id=project_id, contact_id=contact.id, topic=left, changed=changed)


async def project_of(tx: Transaction, contact_id: str) -> int | None:
    """The project of a contact, also of a merged one; a mail address has no room for it."""
    for (project_id,) in await tx.rows(_PROJECTS):
        if await find_ref(tx, project_id, contact_id) is not None:
            return int(project_id)
    return None


async def _emit(
    tx: Transaction,
    system_events: SystemEvents,
    message: Message,
    source: str,
    now_us: int,
    *,
    everything: bool,
) -> None:
    kind = UNSUBSCRIBE_ALL if everything else UNSUBSCRIBE
    key = (*key_of(message.id), kind, Verdict.PERSON.value)
    if await tx.value(_NOTE, *key, source, now_us) > 1:
        return
    await tx.run(_LAST_EVENT, *key_of(message.id))
    events = await mail_event(
        tx,
        message,
        MAIL_UNSUBSCRIBE,
        source=source,
        topic_id=None if everything else message.topic_id,
    )
    await system_events.insert(tx, events, now_us)
