"""Topic choices of contacts; each function runs in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.domain.contacts.topics import (
    TOPIC_SUBSCRIBED,
    TOPIC_UNSUBSCRIBED,
    OptOut,
    Subscription,
    Topic,
    topic_payload,
)
from headrace.store.contacts.groups.topic_rows import subscription
from headrace.store.contacts.refs import ContactRef
from headrace.store.engine.dialect import sql
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Transaction

CHOICES = sql(
    "SELECT topic_id, is_subscribed, changed_us FROM topic_subscriptions "
    "WHERE lane = $1 AND contact_id = $2 AND topic_id = ANY($3::text[])"
)
OPTED_OUT = sql("SELECT at_us FROM topic_opt_outs WHERE lane = $1 AND contact_id = $2")
CHOOSE = sql(
    "INSERT INTO topic_subscriptions "
    "(lane, contact_id, contact_number, topic_id, is_subscribed, changed_us) "
    "SELECT $1, $2, $3, n.topic_id, $5, $6 FROM unnest($4::text[]) AS n (topic_id) WHERE true "
    "ON CONFLICT (lane, contact_id, topic_id) DO UPDATE SET "
    "is_subscribed = excluded.is_subscribed, changed_us = excluded.changed_us"
)
_OPT_OUT = "INSERT INTO topic_opt_outs (lane, contact_id, at_us) VALUES ($1, $2, $3)"
OPT_OUT = sql(f"{_OPT_OUT} ON CONFLICT DO NOTHING")
# The latest choice counts in a merge, and this one is later.
OPT_OUT_AGAIN = sql(
    f"{_OPT_OUT} ON CONFLICT (lane, contact_id) DO UPDATE "
    "SET at_us = greatest(topic_opt_outs.at_us, excluded.at_us)"
)


async def subscription_states(
    tx: Transaction, contact: ContactRef, topics: Sequence[Topic]
) -> list[Subscription]:
    """The contact's subscription to each of the topics, in their order."""
    ids = [held.id for held in topics]
    rows = await tx.rows(CHOICES, contact.home_lane, contact.id, ids)
    choices = {row[0]: (row[1], row[2]) for row in rows}
    opted_out_us = await tx.value(OPTED_OUT, contact.home_lane, contact.id)
    return [subscription(contact.id, held, choices.get(held.id), opted_out_us) for held in topics]


async def choose(
    tx: Transaction,
    system_events: SystemEvents,
    contact: ContactRef,
    topics: Sequence[Topic],
    now_us: int,
    *,
    wanted: bool,
) -> int:
    """Write choices of the contact, with their events; returns how many changed.

    The caller has locked the contact. A choice equal to the topic's default is stored, so that a
    later default does not undo it, but is no change.
    """
    before = await subscription_states(tx, contact, topics)
    changing = [held for held in before if held.is_subscribed is not wanted]
    written = [
        held.topic.id
        for held in before
        if held.is_subscribed is not wanted or held.changed_us is None
    ]
    if written:
        key = (contact.home_lane, contact.id, contact.number)
        await tx.run(CHOOSE, *key, sorted(written), wanted, now_us)
    name = TOPIC_SUBSCRIBED if wanted else TOPIC_UNSUBSCRIBED
    events = [contact.event(name, topic_payload(held.topic, contact.id)) for held in changing]
    await system_events.insert(tx, events, now_us)
    return len(changing)


async def opt_out(
    tx: Transaction,
    system_events: SystemEvents,
    contact: ContactRef,
    topics: Sequence[Topic],
    now_us: int,
) -> OptOut:
    """Unsubscribe from all the topics; from now on no default applies to the contact."""
    before = await subscription_states(tx, contact, topics)
    subscribed = [held.topic for held in before if held.is_subscribed]
    changed = await choose(tx, system_events, contact, subscribed, now_us, wanted=False)
    statement = OPT_OUT_AGAIN if changed else OPT_OUT
    await tx.run(statement, contact.home_lane, contact.id, now_us)
    at_us = await tx.value(OPTED_OUT, contact.home_lane, contact.id)
    return OptOut(contact_id=contact.id, at_us=at_us, changed=changed)
