"""What contacts have chosen about topics, on PostgreSQL; each runs in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.domain.topics import (
    TOPIC_SUBSCRIBED,
    TOPIC_UNSUBSCRIBED,
    OptOut,
    Subscription,
    Topic,
    topic_payload,
)
from headrace.store.postgres.contact_refs import home_lane
from headrace.store.postgres.database import Connection
from headrace.store.postgres.numbers import Numbers
from headrace.store.postgres.system_events import insert_system_events
from headrace.store.rows.contact_refs import ContactRef
from headrace.store.rows.topics import subscription

CHOICES = (
    "SELECT topic_id, is_subscribed, changed_us FROM topic_subscriptions "
    "WHERE lane = $1 AND contact_id = $2 AND topic_id = ANY($3::text[])"
)
OPTED_OUT = "SELECT at_us FROM topic_opt_outs WHERE lane = $1 AND contact_id = $2"
CHOOSE = (
    "INSERT INTO topic_subscriptions "
    "(lane, contact_id, contact_number, topic_id, is_subscribed, changed_us) "
    "SELECT $1, $2, $3, topic_id, $5, $6 FROM unnest($4::text[]) AS n (topic_id) "
    "ON CONFLICT (lane, contact_id, topic_id) DO UPDATE SET "
    "is_subscribed = excluded.is_subscribed, changed_us = excluded.changed_us"
)
OPT_OUT = (
    "INSERT INTO topic_opt_outs (lane, contact_id, at_us) VALUES ($1, $2, $3) "
    "ON CONFLICT DO NOTHING"
)


async def stands(
    connection: Connection, contact: ContactRef, topics: Sequence[Topic]
) -> list[Subscription]:
    """How the contact stands to each of the topics, in their order."""
    ids = [held.id for held in topics]
    rows = await connection.fetch(CHOICES, home_lane(contact), contact.id, ids)
    choices = {row[0]: (row[1], row[2]) for row in rows}
    opted_out_us = await connection.fetchval(OPTED_OUT, home_lane(contact), contact.id)
    return [subscription(contact.id, held, choices.get(held.id), opted_out_us) for held in topics]


async def choose(
    connection: Connection,
    numbers: Numbers,
    contact: ContactRef,
    topics: Sequence[Topic],
    now_us: int,
    *,
    wanted: bool,
) -> int:
    """Note what the contact has chosen, and the events; returns how many really changed.

    The caller has locked the contact. Choosing what its default says already is kept, so that a
    later default does not undo it, and is no change.
    """
    before = await stands(connection, contact, topics)
    changing = [held for held in before if held.is_subscribed is not wanted]
    written = [
        held.topic.id
        for held in before
        if held.is_subscribed is not wanted or held.changed_us is None
    ]
    if written:
        lane = home_lane(contact)
        await connection.execute(
            CHOOSE, lane, contact.id, contact.number, sorted(written), wanted, now_us
        )
    name = TOPIC_SUBSCRIBED if wanted else TOPIC_UNSUBSCRIBED
    events = [contact.event(name, topic_payload(held.topic, contact.id)) for held in changing]
    await insert_system_events(connection, numbers, events, now_us)
    return len(changing)


async def opt_out(
    connection: Connection,
    numbers: Numbers,
    contact: ContactRef,
    topics: Sequence[Topic],
    now_us: int,
) -> OptOut:
    """Unsubscribe from all the topics, and let no default hold from now on."""
    before = await stands(connection, contact, topics)
    subscribed = [held.topic for held in before if held.is_subscribed]
    changed = await choose(connection, numbers, contact, subscribed, now_us, wanted=False)
    lane = home_lane(contact)
    await connection.execute(OPT_OUT, lane, contact.id, now_us)
    at_us = await connection.fetchval(OPTED_OUT, lane, contact.id)
    return OptOut(contact_id=contact.id, at_us=at_us, changed=changed)
