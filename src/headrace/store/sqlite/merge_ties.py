"""Topics and audiences of contacts that are merged or parted; in the caller's transaction."""

from __future__ import annotations

from typing import Any

import apsw

from headrace.domain.audiences import AUDIENCE_ENTERED, AUDIENCE_EXITED, audience_payload
from headrace.domain.topics import TOPIC_SUBSCRIBED, TOPIC_UNSUBSCRIBED, topic_payload
from headrace.store.contract_processing import SystemEvent
from headrace.store.rows.contact_refs import ContactRef
from headrace.store.rows.merges import Ties, TopicChoice
from headrace.store.rows.topics import COLUMNS, topic
from headrace.store.sqlite.contact_ties import REMOVE
from headrace.store.sqlite.system_events import insert_system_events
from headrace.store.sqlite.topic_subscriptions import stands

CHOICES = (
    "SELECT topic_id, is_subscribed, changed_us FROM topic_subscriptions "
    "WHERE contact_number = ? ORDER BY topic_id"
)
OPTED_OUT = "SELECT at_us FROM topic_opt_outs WHERE contact_number = ?"
INSIDE = (
    "SELECT audience_id, entered_us FROM audience_members WHERE contact_number = ? "
    "ORDER BY audience_id"
)
# What was deleted since is not brought back.
CHOOSE = (
    "INSERT INTO topic_subscriptions (topic_id, contact_number, is_subscribed, changed_us) "
    "SELECT id, ?2, ?3, ?4 FROM topics WHERE id = ?1 AND deleted_us IS NULL"
)
ENTER = (
    "INSERT INTO audience_members (audience_id, contact_number, entered_us) "
    "SELECT id, ?2, ?3 FROM audiences WHERE id = ?1 AND deleted_us IS NULL"
)
_TOPICS = f"SELECT {COLUMNS} FROM topics WHERE project_id = ? AND deleted_us IS NULL"  # noqa: S608
_AUDIENCE = "SELECT name FROM audiences WHERE id = ?"


def read_ties(connection: apsw.Connection, number: int) -> Ties:
    """The ties of the contact of a number."""
    choices: Any = connection.execute(CHOICES, (number,))
    out: Any = connection.execute(OPTED_OUT, (number,)).fetchone()
    inside: Any = connection.execute(INSIDE, (number,))
    return Ties(
        topics=[TopicChoice(topic_id, bool(wanted), at) for topic_id, wanted, at in choices],
        opted_out_us=None if out is None else out[0],
        audiences=dict(inside),
    )


def replace_ties(
    connection: apsw.Connection, contact: ContactRef, ties: Ties, now_us: int, *, tell_topics: bool
) -> None:
    """Give a contact these ties instead of its own, with the events of what really changed.

    Args:
        tell_topics: not for a contact that comes back: when it went, nobody was told either.
    """
    topics = [topic(row) for row in connection.execute(_TOPICS, (contact.project_id,))]
    before = stands(connection, contact, topics)
    held = read_ties(connection, contact.number)
    for statement in REMOVE:
        connection.execute(statement, (contact.number,))
    _insert(connection, contact.number, ties)
    after = stands(connection, contact, topics)
    now_held = read_ties(connection, contact.number)
    events = _audience_events(connection, contact, held, now_held)
    if tell_topics:
        names = {True: TOPIC_SUBSCRIBED, False: TOPIC_UNSUBSCRIBED}
        events += [
            contact.event(names[new.is_subscribed], topic_payload(new.topic, contact.id))
            for old, new in zip(before, after, strict=True)
            if old.is_subscribed is not new.is_subscribed
        ]
    insert_system_events(connection, events, now_us)


def _insert(connection: apsw.Connection, number: int, ties: Ties) -> None:
    connection.executemany(
        CHOOSE, [(c.topic_id, number, c.is_subscribed, c.changed_us) for c in ties.topics]
    )
    connection.executemany(ENTER, [(each, number, at) for each, at in ties.audiences.items()])
    if ties.opted_out_us is not None:
        connection.execute(
            "INSERT INTO topic_opt_outs (contact_number, at_us) VALUES (?, ?)",
            (number, ties.opted_out_us),
        )


def _audience_events(
    connection: apsw.Connection, contact: ContactRef, before: Ties, after: Ties
) -> list[SystemEvent]:
    events = []
    for name, gained, lost in (
        (AUDIENCE_EXITED, before, after),
        (AUDIENCE_ENTERED, after, before),
    ):
        for audience_id in gained.audiences:
            if audience_id in lost.audiences:
                continue
            row: Any = connection.execute(_AUDIENCE, (audience_id,)).fetchone()
            events.append(contact.event(name, audience_payload(audience_id, row[0], contact.id)))
    return events
