"""Lists of contacts on PostgreSQL: by index where there is one, else in bounded steps."""

from __future__ import annotations

import re
from typing import Any

from headrace.domain.contact_search import MATCHES_MAX, Search, search_of
from headrace.domain.identity import IdentityType, contact_lane
from headrace.domain.topics import Topic
from headrace.store.contacts.audiences import find_audience
from headrace.store.contacts.topics import find_topic
from headrace.store.contract_contacts import ContactFilter
from headrace.store.postgres.contact_lookup import identifier
from headrace.store.postgres.database import Connection
from headrace.store.postgres.transaction import PostgresTransaction
from headrace.store.rows.contact_filters import ROWS_EXAMINED_MAX, ContactQuery, Lead, number_of

_PROPERTY = (
    "CASE jsonb_typeof({value}) "
    "WHEN 'number' THEN ({value})::text::float8 = :number{n}::float8 "
    "WHEN 'boolean' THEN ({value})::text = :text{n}::text "
    "WHEN 'array' THEN ({value}) ? :text{n}::text "
    "ELSE ({value}) #>> '{{}}' = :text{n}::text END"
)
_VALUE = "contacts.properties::jsonb -> :name{n}::text"
_CHOICE = (
    "(SELECT s.is_subscribed FROM topic_subscriptions s WHERE s.lane = contacts.lane "
    "AND s.contact_id = contacts.id AND s.topic_id = :topic_id)"
)
_BY_CHOICE = f"coalesce({_CHOICE}, false)"
_OR_BY_DEFAULT = (
    f"coalesce({_CHOICE}, NOT EXISTS (SELECT 1 FROM topic_opt_outs o "  # noqa: S608
    "WHERE o.lane = contacts.lane AND o.contact_id = contacts.id))"
)
_INSIDE = (
    "EXISTS (SELECT 1 FROM audience_members m WHERE m.lane = contacts.lane "
    "AND m.contact_id = contacts.id AND m.audience_id = :audience_id)"
)
# In the order of characters, like the index, and no language's.
_SEARCH = (
    '(contacts.external_id COLLATE "C" >= :id_low AND contacts.external_id COLLATE "C" < :id_high '
    'OR contacts.email COLLATE "C" >= :email_low AND contacts.email COLLATE "C" < :email_high)'
)
MATCHES = (
    "SELECT contact_id FROM contact_identifiers WHERE project_id = $1 AND kind = $2 "
    'AND value COLLATE "C" >= $3 AND value COLLATE "C" < $4 AND NOT alias '
    "LIMIT $5"
)
OWNER = (
    "SELECT contact_id FROM contact_identifiers "
    "WHERE lane = $1 AND project_id = $2 AND kind = $3 AND value = $4"
)
_FOUND = (
    "(contacts.lane, contacts.id) IN "
    "(SELECT * FROM unnest(:lanes::smallint[], :ids::text[])) AND contacts.project_id = :project_id"
)
# A name after one colon; two colons are a cast.
_NAMED = re.compile(r"(?<!:):([a-z_0-9]+)")


async def contact_rows(
    connection: Connection,
    columns: str,
    project_id: int,
    wanted: ContactFilter,
    *,
    before: int | None,
    limit: int,
) -> tuple[list[Any], int | None]:
    """Rows of one page and where the next one begins, None at the end."""
    query = await _query(connection, project_id, wanted)
    if query is None:
        return [], None
    lead = query.lead_before(before)
    floor = await _floor(connection, lead) if query.others else None
    tests = [lead.test, *query.others]
    if floor is not None:
        tests.append(f"{lead.number} >= {floor:d}")
    shown = ", ".join(f"contacts.{name}" for name in columns.split(", "))
    sql = (
        f"SELECT contacts.number, {shown} FROM {_source(lead)} WHERE {' AND '.join(tests)} "  # noqa: S608
        f"ORDER BY {lead.number} DESC LIMIT {limit + 1}"
    )
    rows = await _fetch(connection, sql, lead.values | query.other_values)
    following = rows[limit - 1][0] if len(rows) > limit else floor
    return [row[1:] for row in rows[:limit]], following


def _source(lead: Lead) -> str:
    """The table that leads, and the contacts it leads to."""
    if lead.table == "contacts":
        return lead.table
    name = lead.table.rpartition(" ")[2]
    joined = f"contacts.lane = {name}.lane AND contacts.id = {name}.contact_id"
    return f"{lead.table} JOIN contacts ON {joined}"


async def _floor(connection: Connection, lead: Lead) -> int | None:
    """Where this page stops looking, None when it can look to the end."""
    sql = (
        f"SELECT {lead.number} FROM {lead.table} WHERE {lead.test} "  # noqa: S608
        f"ORDER BY {lead.number} DESC LIMIT 1 OFFSET {ROWS_EXAMINED_MAX}"
    )
    rows = await _fetch(connection, sql, lead.values)
    return int(rows[0][0]) if rows else None


async def _fetch(connection: Connection, sql: str, values: dict[str, Any]) -> list[Any]:
    """Fetch by a statement whose values are named."""
    names: list[str] = []

    def numbered(match: re.Match[str]) -> str:
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    text = _NAMED.sub(numbered, sql)
    return await connection.fetch(text, *(values[name] for name in names))


async def _query(
    connection: Connection, project_id: int, wanted: ContactFilter
) -> ContactQuery | None:
    """Plan a list, the filter that few match first; None when nothing can be in it."""
    query = ContactQuery(project_id)
    tx = PostgresTransaction(connection)
    for kind in (IdentityType.EXTERNAL_ID, IdentityType.EMAIL):
        value = getattr(wanted, kind)
        if value is None:
            continue
        lead = None
        if query.lead is None:
            owner = await connection.fetchval(OWNER, *identifier(project_id, kind, value))
            if owner is None:
                return None
            lead = _found(project_id, [owner])
        # Also when it leads: an identifier can lead to whom its contact was merged into.
        query.by(lead, "true", {})
        query.by(None, f"contacts.{kind} = :{kind}", {kind.value: value})
    if wanted.search is not None:
        await _by_search(connection, query, search_of(wanted.search))
    if wanted.audience_id is not None:
        if await find_audience(tx, project_id, wanted.audience_id) is None:
            return None
        values = {"audience_id": wanted.audience_id}
        test = "m.audience_id = :audience_id"
        lead = Lead("audience_members m", "m.contact_number", test, values)
        query.by(lead, _INSIDE, values)
    if wanted.topic_id is not None:
        topic = await find_topic(tx, project_id, wanted.topic_id)
        if topic is None:
            return None
        _by_topic(query, topic)
    _by_rows(query, wanted)
    return query


def _found(project_id: int, contact_ids: list[str]) -> Lead:
    keys = {(contact_lane(project_id, each), each) for each in contact_ids}
    lanes, ids = [lane for lane, _ in keys], [each for _, each in keys]
    values = {"lanes": lanes, "ids": ids, "project_id": project_id}
    return Lead("contacts", "contacts.number", _FOUND, values)


async def _by_search(connection: Connection, query: ContactQuery, search: Search) -> None:
    values = {
        "id_low": search.external_id.low,
        "id_high": search.external_id.high,
        "email_low": search.email.low,
        "email_high": search.email.high,
    }
    lead = None
    if query.lead is None:
        found: set[str] = set()
        for kind, sought in (("external_id", search.external_id), ("email", search.email)):
            rows = await connection.fetch(
                MATCHES, query.project_id, kind, sought.low, sought.high, MATCHES_MAX + 1
            )
            found |= {row[0] for row in rows}
        if len(found) <= MATCHES_MAX:
            lead = _found(query.project_id, list(found))
    query.by(lead, _SEARCH, values)


def _by_topic(query: ContactQuery, topic: Topic) -> None:
    values = {"topic_id": topic.id}
    if topic.default_subscribed:
        query.by(None, _OR_BY_DEFAULT, values)
        return
    test = "s.topic_id = :topic_id AND s.is_subscribed"
    lead = Lead("topic_subscriptions s", "s.contact_number", test, values)
    query.by(lead, _BY_CHOICE, values)


def _by_rows(query: ContactQuery, wanted: ContactFilter) -> None:
    """Filters that no index serves."""
    if wanted.created_after_us is not None:
        query.by(None, f"contacts.created_us >= {wanted.created_after_us:d}", {})
    if wanted.created_before_us is not None:
        query.by(None, f"contacts.created_us < {wanted.created_before_us:d}", {})
    for n, (name, text) in enumerate(wanted.properties):
        values = {f"name{n}": name, f"text{n}": text, f"number{n}": number_of(text)}
        query.by(None, _PROPERTY.format(n=n, value=_VALUE.format(n=n)), values)
