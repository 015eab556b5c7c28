"""A contact's topics and audiences as a whole, when it is deleted, merged or restored.

Each function runs in the caller's transaction, which has locked the contact.
"""

from __future__ import annotations

from headrace.domain.contacts.audiences import AUDIENCE_ENTERED, AUDIENCE_EXITED, audience_payload
from headrace.domain.contacts.topics import TOPIC_SUBSCRIBED, TOPIC_UNSUBSCRIBED, topic_payload
from headrace.store.contacts.groups.subscriptions import OPTED_OUT, subscription_states
from headrace.store.contacts.groups.topic_rows import COLUMNS, topic
from headrace.store.contacts.merge_rows import Memberships, TopicChoice
from headrace.store.contacts.refs import ContactRef
from headrace.store.contract.processing import SystemEvent
from headrace.store.engine.dialect import sql
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Transaction

EXIT = sql("DELETE FROM audience_members WHERE lane = $1 AND contact_id = $2 RETURNING audience_id")
_NAMES = sql("SELECT id, name FROM audiences WHERE id = ANY($1::text[]) ORDER BY id")
FORGET = tuple(
    sql(f"DELETE FROM {table} WHERE lane = $1 AND contact_id = $2")
    for table in ("topic_subscriptions", "topic_opt_outs")
)
CHOICES = sql(
    "SELECT topic_id, is_subscribed, changed_us FROM topic_subscriptions "
    "WHERE lane = $1 AND contact_id = $2 ORDER BY topic_id"
)
INSIDE = sql(
    "SELECT audience_id, entered_us FROM audience_members "
    "WHERE lane = $1 AND contact_id = $2 ORDER BY audience_id"
)
# Deleted topics and audiences are not restored. Two steps: the lists have no lane, the contacts'
# choices are sharded by lane.
_TOPICS_LEFT = sql(
    "SELECT id FROM topics WHERE id = ANY($1::text[]) AND deleted_us IS NULL FOR KEY SHARE"
)
_AUDIENCES_LEFT = sql(
    "SELECT id FROM audiences WHERE id = ANY($1::text[]) AND deleted_us IS NULL FOR KEY SHARE"
)
_CHOOSE = sql(
    "INSERT INTO topic_subscriptions (lane, contact_id, contact_number, topic_id, is_subscribed, "
    "changed_us) VALUES ($1, $2, $3, $4, $5, $6)"
)
_ENTER = sql(
    "INSERT INTO audience_members (lane, contact_id, contact_number, audience_id, entered_us) "
    "VALUES ($1, $2, $3, $4, $5)"
)
_OPT_OUT = sql("INSERT INTO topic_opt_outs (lane, contact_id, at_us) VALUES ($1, $2, $3)")
_TOPICS = sql(f"SELECT {COLUMNS} FROM topics WHERE project_id = $1 AND deleted_us IS NULL")


async def detach_memberships(
    tx: Transaction, system_events: SystemEvents, contact: ContactRef, now_us: int
) -> None:
    """Remove a contact that is about to be deleted from its audiences, and its subscriptions.

    Its row is locked for deletion, so that it cannot enter an audience concurrently.
    """
    key = (contact.home_lane, contact.id)
    left = [row[0] for row in await tx.rows(EXIT, *key)]
    names = await tx.rows(_NAMES, left) if left else []
    events = [
        contact.event(AUDIENCE_EXITED, audience_payload(audience_id, name, contact.id))
        for audience_id, name in names
    ]
    for statement in FORGET:
        await tx.run(statement, *key)
    await system_events.insert(tx, events, now_us)


async def read_memberships(tx: Transaction, contact: ContactRef) -> Memberships:
    """The topic choices and audiences of a contact."""
    key = (contact.home_lane, contact.id)
    choices = await tx.rows(CHOICES, *key)
    inside = await tx.rows(INSIDE, *key)
    return Memberships(
        topics=[TopicChoice(topic_id, bool(wanted), at) for topic_id, wanted, at in choices],
        opted_out_us=await tx.value(OPTED_OUT, *key),
        audiences={row[0]: row[1] for row in inside},
    )


async def replace_memberships(
    tx: Transaction,
    system_events: SystemEvents,
    contact: ContactRef,
    memberships: Memberships,
    now_us: int,
    *,
    emit_topics: bool,
) -> None:
    """Give a contact these memberships, with events for each change.

    Args:
        emit_topics: False for a contact that is restored: its removal emitted no such events
            either.
    """
    topics = [topic(row) for row in await tx.rows(_TOPICS, contact.project_id)]
    before = await subscription_states(tx, contact, topics)
    held = await read_memberships(tx, contact)
    for statement in (EXIT, *FORGET):
        await tx.run(statement, contact.home_lane, contact.id)
    await _insert(tx, contact, memberships)
    after = await subscription_states(tx, contact, topics)
    events = await _audience_events(tx, contact, held, await read_memberships(tx, contact))
    if emit_topics:
        names = {True: TOPIC_SUBSCRIBED, False: TOPIC_UNSUBSCRIBED}
        events += [
            contact.event(names[new.is_subscribed], topic_payload(new.topic, contact.id))
            for old, new in zip(before, after, strict=True)
            if old.is_subscribed is not new.is_subscribed
        ]
    await system_events.insert(tx, events, now_us)


async def _insert(tx: Transaction, contact: ContactRef, memberships: Memberships) -> None:
    key = (contact.home_lane, contact.id)
    left = await tx.rows(_TOPICS_LEFT, [choice.topic_id for choice in memberships.topics])
    topics = {row[0] for row in left}
    chosen = sorted(
        (c.topic_id, c.is_subscribed, c.changed_us)
        for c in memberships.topics
        if c.topic_id in topics
    )
    left = await tx.rows(_AUDIENCES_LEFT, list(memberships.audiences))
    entered = sorted((row[0], memberships.audiences[row[0]]) for row in left)
    await tx.run_many(_CHOOSE, [(*key, contact.number, *each) for each in chosen])
    await tx.run_many(_ENTER, [(*key, contact.number, *each) for each in entered])
    if memberships.opted_out_us is not None:
        await tx.run(_OPT_OUT, *key, memberships.opted_out_us)


async def _audience_events(
    tx: Transaction, contact: ContactRef, before: Memberships, after: Memberships
) -> list[SystemEvent]:
    changed = sorted(before.audiences.keys() ^ after.audiences.keys())
    names = {row[0]: row[1] for row in await tx.rows(_NAMES, changed)}
    return [
        contact.event(name, audience_payload(each, names[each], contact.id))
        for name, inside in ((AUDIENCE_EXITED, before), (AUDIENCE_ENTERED, after))
        for each in changed
        if each in inside.audiences and each in names
    ]
