"""Lists of contacts: by index where there is one, in bounded steps where there is none."""

from __future__ import annotations

import json
from typing import Any

import apsw

from headrace.domain.contact_search import MATCHES_MAX, Search, search_of
from headrace.domain.topics import Topic
from headrace.store.contacts.audiences import find_audience
from headrace.store.contacts.topics import find_topic
from headrace.store.contract_contacts import ContactFilter
from headrace.store.engine.transaction import drive
from headrace.store.rows.contact_filters import ROWS_EXAMINED_MAX, ContactQuery, Lead, number_of
from headrace.store.sqlite.transaction import SqliteTransaction

# Whatever the type of the property, its one comparison applies; a number that is none is NULL,
# which equals nothing.
_PROPERTY = (
    "EXISTS (SELECT 1 FROM json_each(contacts.properties) AS p WHERE p.key = :name{n} AND CASE "
    "WHEN p.type IN ('integer', 'real') THEN p.value = :number{n} "
    "WHEN p.type IN ('true', 'false') THEN p.type = :text{n} "
    "WHEN p.type = 'array' THEN EXISTS "
    "(SELECT 1 FROM json_each(p.value) AS item WHERE item.value = :text{n}) "
    "ELSE p.value = :text{n} END)"
)
_CHOICE = (
    "(SELECT s.is_subscribed FROM topic_subscriptions s "
    "WHERE s.lane = contacts.lane AND s.contact_id = contacts.id AND s.topic_id = :topic_id)"
)
_BY_CHOICE = f"coalesce({_CHOICE}, 0)"
_OR_BY_DEFAULT = (
    f"coalesce({_CHOICE}, NOT EXISTS "  # noqa: S608
    "(SELECT 1 FROM topic_opt_outs o WHERE o.lane = contacts.lane AND o.contact_id = contacts.id))"
)
_INSIDE = (
    "EXISTS (SELECT 1 FROM audience_members m "
    "WHERE m.lane = contacts.lane AND m.contact_id = contacts.id "
    "AND m.audience_id = :audience_id)"
)
_SEARCH = (
    "(contacts.external_id >= :id_low AND contacts.external_id < :id_high "
    "OR contacts.email >= :email_low AND contacts.email < :email_high)"
)
_MATCHES = tuple(
    f"SELECT number FROM contacts INDEXED BY contacts_{column} "  # noqa: S608
    f"WHERE project_id = :project_id AND {column} IS NOT NULL AND {column} >= :{name}_low "
    f"AND {column} < :{name}_high LIMIT {MATCHES_MAX + 1}"
    for column, name in (("external_id", "id"), ("email", "email"))
)


def contact_rows(
    connection: apsw.Connection,
    columns: str,
    project_id: int,
    wanted: ContactFilter,
    *,
    before: int | None,
    limit: int,
) -> tuple[list[Any], int | None]:
    """Rows of one page and where the next one begins, None at the end."""
    query = _query(connection, project_id, wanted)
    if query is None:
        return [], None
    lead = query.lead_before(before)
    floor = _floor(connection, lead) if query.others else None
    tests = [lead.test, *query.others]
    if floor is not None:
        tests.append(f"{lead.number} >= {floor:d}")
    sql = (
        f"SELECT contacts.number, {columns} FROM {_source(lead)} WHERE {' AND '.join(tests)} "  # noqa: S608
        f"ORDER BY {lead.number} DESC LIMIT {limit + 1}"
    )
    rows: list[Any] = connection.execute(sql, lead.values | query.other_values).fetchall()
    following = rows[limit - 1][0] if len(rows) > limit else floor
    return [row[1:] for row in rows[:limit]], following


def _source(lead: Lead) -> str:
    """The table that leads, and the contacts it leads to."""
    if lead.table == "contacts":
        return lead.table
    return f"{lead.table} CROSS JOIN contacts ON contacts.number = {lead.number}"


def _floor(connection: apsw.Connection, lead: Lead) -> int | None:
    """Where this page stops looking, None when it can look to the end."""
    sql = (
        f"SELECT {lead.number} FROM {lead.table} WHERE {lead.test} "  # noqa: S608
        f"ORDER BY {lead.number} DESC LIMIT 1 OFFSET {ROWS_EXAMINED_MAX}"
    )
    row: Any = connection.execute(sql, lead.values).fetchone()
    return None if row is None else int(row[0])


def _query(
    connection: apsw.Connection, project_id: int, wanted: ContactFilter
) -> ContactQuery | None:
    """Plan a list, the filter that few match first; None when nothing can be in it."""
    query = ContactQuery(project_id)
    tx = SqliteTransaction(connection)
    for column in ("external_id", "email"):
        value = getattr(wanted, column)
        if value is not None:
            # Each is unique in a project, so the one that leads leaves a row at most.
            test = f"project_id = :project_id AND {column} = :{column} AND {column} IS NOT NULL"
            values = {"project_id": project_id, column: value}
            lead = Lead("contacts", "contacts.number", test, values)
            query.by(lead, f"+contacts.{column} = :{column}", {column: value})
    if wanted.search is not None:
        _by_search(connection, query, search_of(wanted.search))
    if wanted.audience_id is not None:
        if drive(find_audience(tx, project_id, wanted.audience_id)) is None:
            return None
        values = {"audience_id": wanted.audience_id}
        lead = Lead(
            "audience_members AS m", "m.contact_number", "m.audience_id = :audience_id", values
        )
        query.by(lead, _INSIDE, values)
    if wanted.topic_id is not None:
        topic = drive(find_topic(tx, project_id, wanted.topic_id))
        if topic is None:
            return None
        _by_topic(query, topic)
    _by_rows(query, wanted)
    return query


def _by_search(connection: apsw.Connection, query: ContactQuery, search: Search) -> None:
    values = {
        "id_low": search.external_id.low,
        "id_high": search.external_id.high,
        "email_low": search.email.low,
        "email_high": search.email.high,
    }
    lead = None
    if query.lead is None:
        numbers = {
            row[0]
            for statement in _MATCHES
            for row in connection.execute(statement, {"project_id": query.project_id, **values})
        }
        if len(numbers) <= MATCHES_MAX:
            found = {"found": json.dumps(list(numbers))}
            test = "contacts.number IN (SELECT value FROM json_each(:found))"
            lead = Lead("contacts", "contacts.number", test, found)
    query.by(lead, _SEARCH, values)


def _by_topic(query: ContactQuery, topic: Topic) -> None:
    values = {"topic_id": topic.id}
    if topic.default_subscribed:
        query.by(None, _OR_BY_DEFAULT, values)
        return
    test = "s.topic_id = :topic_id AND s.is_subscribed = 1"
    lead = Lead("topic_subscriptions AS s", "s.contact_number", test, values)
    query.by(lead, _BY_CHOICE, values)


def _by_rows(query: ContactQuery, wanted: ContactFilter) -> None:
    """Filters that no index serves."""
    if wanted.created_after_us is not None:
        query.by(None, f"created_us >= {wanted.created_after_us:d}", {})
    if wanted.created_before_us is not None:
        query.by(None, f"created_us < {wanted.created_before_us:d}", {})
    for n, (name, text) in enumerate(wanted.properties):
        values = {f"name{n}": name, f"text{n}": text, f"number{n}": number_of(text)}
        query.by(None, _PROPERTY.format(n=n), values)
