"""Topics and audiences of contacts that are merged or parted; in the caller's transaction."""

from __future__ import annotations

from headrace.domain.audiences import AUDIENCE_ENTERED, AUDIENCE_EXITED, audience_payload
from headrace.domain.topics import TOPIC_SUBSCRIBED, TOPIC_UNSUBSCRIBED, topic_payload
from headrace.store.contract_processing import SystemEvent
from headrace.store.postgres.columns import columns_of
from headrace.store.postgres.contact_refs import home_lane
from headrace.store.postgres.contact_ties import EXIT, FORGET
from headrace.store.postgres.database import Connection
from headrace.store.postgres.numbers import Numbers
from headrace.store.postgres.system_events import insert_system_events
from headrace.store.postgres.topic_subscriptions import stands
from headrace.store.rows.contact_refs import ContactRef
from headrace.store.rows.merges import Ties, TopicChoice
from headrace.store.rows.topics import COLUMNS, topic

CHOICES = (
    "SELECT topic_id, is_subscribed, changed_us FROM topic_subscriptions "
    "WHERE lane = $1 AND contact_id = $2 ORDER BY topic_id"
)
OPTED_OUT = "SELECT at_us FROM topic_opt_outs WHERE lane = $1 AND contact_id = $2"
INSIDE = (
    "SELECT audience_id, entered_us FROM audience_members "
    "WHERE lane = $1 AND contact_id = $2 ORDER BY audience_id"
)
# What was deleted since is not brought back. Two steps: the lists are in one place, what contacts
# have chosen is spread by lane.
_TOPICS_LEFT = (
    "SELECT id FROM topics WHERE id = ANY($1::text[]) AND deleted_us IS NULL FOR KEY SHARE"
)
_AUDIENCES_LEFT = _TOPICS_LEFT.replace("topics", "audiences")
CHOOSE = (
    "INSERT INTO topic_subscriptions (lane, contact_id, contact_number, topic_id, is_subscribed, "
    "changed_us) SELECT $1, $2, $3, n.* FROM unnest($4::text[], $5::bool[], $6::bigint[]) AS n"
)
ENTER = (
    "INSERT INTO audience_members (lane, contact_id, contact_number, audience_id, entered_us) "
    "SELECT $1, $2, $3, n.* FROM unnest($4::text[], $5::bigint[]) AS n"
)
OPT_OUT = "INSERT INTO topic_opt_outs (lane, contact_id, at_us) VALUES ($1, $2, $3)"
_TOPICS = f"SELECT {COLUMNS} FROM topics WHERE project_id = $1 AND deleted_us IS NULL"  # noqa: S608
_NAMES = "SELECT id, name FROM audiences WHERE id = ANY($1::text[])"


async def read_ties(connection: Connection, contact: ContactRef) -> Ties:
    """The ties of a contact."""
    key = (home_lane(contact), contact.id)
    choices = await connection.fetch(CHOICES, *key)
    inside = await connection.fetch(INSIDE, *key)
    return Ties(
        topics=[TopicChoice(*choice) for choice in choices],
        opted_out_us=await connection.fetchval(OPTED_OUT, *key),
        audiences=dict(tuple(row) for row in inside),
    )


async def replace_ties(
    connection: Connection,
    numbers: Numbers,
    contact: ContactRef,
    ties: Ties,
    now_us: int,
    *,
    tell_topics: bool,
) -> None:
    """Give a locked contact these ties, with the events of what really changed.

    Args:
        tell_topics: not for a contact that comes back: when it went, nobody was told either.
    """
    topics = [topic(row) for row in await connection.fetch(_TOPICS, contact.project_id)]
    before = await stands(connection, contact, topics)
    held = await read_ties(connection, contact)
    for statement in (EXIT, *FORGET):
        await connection.execute(statement, home_lane(contact), contact.id)
    await _insert(connection, contact, ties)
    after = await stands(connection, contact, topics)
    events = await _audience_events(connection, contact, held, await read_ties(connection, contact))
    if tell_topics:
        names = {True: TOPIC_SUBSCRIBED, False: TOPIC_UNSUBSCRIBED}
        events += [
            contact.event(names[new.is_subscribed], topic_payload(new.topic, contact.id))
            for old, new in zip(before, after, strict=True)
            if old.is_subscribed is not new.is_subscribed
        ]
    await insert_system_events(connection, numbers, events, now_us)


async def _insert(connection: Connection, contact: ContactRef, ties: Ties) -> None:
    key = (home_lane(contact), contact.id)
    left = await connection.fetch(_TOPICS_LEFT, [choice.topic_id for choice in ties.topics])
    topics = {row[0] for row in left}
    chosen = [
        (c.topic_id, c.is_subscribed, c.changed_us) for c in ties.topics if c.topic_id in topics
    ]
    left = await connection.fetch(_AUDIENCES_LEFT, list(ties.audiences))
    entered = sorted((row[0], ties.audiences[row[0]]) for row in left)
    await connection.execute(CHOOSE, *key, contact.number, *columns_of(sorted(chosen), 3))
    await connection.execute(ENTER, *key, contact.number, *columns_of(entered, 2))
    if ties.opted_out_us is not None:
        await connection.execute(OPT_OUT, *key, ties.opted_out_us)


async def _audience_events(
    connection: Connection, contact: ContactRef, before: Ties, after: Ties
) -> list[SystemEvent]:
    changed = sorted(before.audiences.keys() ^ after.audiences.keys())
    names = dict(tuple(row) for row in await connection.fetch(_NAMES, changed))
    return [
        contact.event(name, audience_payload(each, names[each], contact.id))
        for name, inside in ((AUDIENCE_EXITED, before), (AUDIENCE_ENTERED, after))
        for each in changed
        if each in inside.audiences and each in names
    ]
