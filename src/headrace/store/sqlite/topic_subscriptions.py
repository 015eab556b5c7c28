"""What contacts have chosen about topics; each runs inside the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import apsw

from headrace.domain.topics import (
    TOPIC_SUBSCRIBED,
    TOPIC_UNSUBSCRIBED,
    OptOut,
    Subscription,
    Topic,
    topic_payload,
)
from headrace.store.rows.contact_refs import ContactRef
from headrace.store.rows.topics import subscription
from headrace.store.sqlite.system_events import insert_system_events

CHOICES = (
    "SELECT s.topic_id, s.is_subscribed, s.changed_us FROM json_each(?2) j "
    "CROSS JOIN topic_subscriptions s ON s.contact_number = ?1 AND s.topic_id = j.value"
)
OPTED_OUT = "SELECT at_us FROM topic_opt_outs WHERE contact_number = ?"
CHOOSE = (
    "INSERT INTO topic_subscriptions (topic_id, contact_number, is_subscribed, changed_us) "
    "VALUES (?, ?, ?, ?) ON CONFLICT (contact_number, topic_id) DO UPDATE SET "
    "is_subscribed = excluded.is_subscribed, changed_us = excluded.changed_us"
)
OPT_OUT = "INSERT INTO topic_opt_outs (contact_number, at_us) VALUES (?, ?) ON CONFLICT DO NOTHING"


def stands(
    connection: apsw.Connection, contact: ContactRef, topics: Sequence[Topic]
) -> list[Subscription]:
    """How the contact stands to each of the topics, in their order."""
    ids = json.dumps([held.id for held in topics])
    rows: Any = connection.execute(CHOICES, (contact.number, ids))
    choices = {topic_id: choice for topic_id, *choice in rows}
    opted_out_us = _opted_out_us(connection, contact)
    return [subscription(contact.id, held, choices.get(held.id), opted_out_us) for held in topics]


def choose(
    connection: apsw.Connection,
    contact: ContactRef,
    topics: Sequence[Topic],
    now_us: int,
    *,
    wanted: bool,
) -> int:
    """Note what the contact has chosen, and the events; returns how many really changed.

    Choosing what its default says already is kept, so that a later default does not undo it, and
    is no change.
    """
    before = stands(connection, contact, topics)
    changing = [held for held in before if held.is_subscribed is not wanted]
    written = [
        held.topic for held in before if held.is_subscribed is not wanted or held.changed_us is None
    ]
    connection.executemany(CHOOSE, [(held.id, contact.number, wanted, now_us) for held in written])
    name = TOPIC_SUBSCRIBED if wanted else TOPIC_UNSUBSCRIBED
    events = [contact.event(name, topic_payload(held.topic, contact.id)) for held in changing]
    insert_system_events(connection, events, now_us)
    return len(changing)


def opt_out(
    connection: apsw.Connection, contact: ContactRef, topics: Sequence[Topic], now_us: int
) -> OptOut:
    """Unsubscribe from all the topics, and let no default hold from now on."""
    subscribed = [held.topic for held in stands(connection, contact, topics) if held.is_subscribed]
    changed = choose(connection, contact, subscribed, now_us, wanted=False)
    connection.execute(OPT_OUT, (contact.number, now_us))
    at_us = _opted_out_us(connection, contact)
    assert at_us is not None
    return OptOut(contact_id=contact.id, at_us=at_us, changed=changed)


def _opted_out_us(connection: apsw.Connection, contact: ContactRef) -> int | None:
    row: Any = connection.execute(OPTED_OUT, (contact.number,)).fetchone()
    return None if row is None else int(row[0])
