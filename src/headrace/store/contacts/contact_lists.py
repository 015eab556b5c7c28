"""Lists of contacts: by index where there is one, else in bounded steps."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from headrace.domain.contacts.search import MATCHES_MAX, Search, search_of
from headrace.domain.contacts.topics import Topic
from headrace.domain.events.identity import IdentityType, contact_lane
from headrace.store.contacts.contact_query import (
    ROWS_EXAMINED_MAX,
    ContactQuery,
    Lead,
    number_of,
)
from headrace.store.contacts.groups.audiences import find_audience
from headrace.store.contacts.groups.topics import find_topic
from headrace.store.contacts.identifiers import owner_of
from headrace.store.contract.contacts import ContactFilter
from headrace.store.engine.dialect import Statement, sql, to_sqlite
from headrace.store.engine.transaction import Row, Transaction

# Two tests are written per database; a statement has a name in brackets in their place. The type of
# a property decides how it is compared, and the functions for JSON differ.
_PROPERTY = "[property :name{n} :text{n} :number{n}]"
_VALUE = "contacts.properties::jsonb -> {0}::text"
_PROPERTY_ON_POSTGRES = (
    f"CASE jsonb_typeof({_VALUE}) "
    f"WHEN 'number' THEN ({_VALUE})::text::float8 = {{2}}::float8 "
    f"WHEN 'boolean' THEN ({_VALUE})::text = {{1}}::text "
    f"WHEN 'array' THEN ({_VALUE}) ? {{1}}::text "
    f"ELSE ({_VALUE}) #>> '{{{{}}}}' = {{1}}::text END"
)
# Text that is not a number becomes NULL, which equals nothing.
_PROPERTY_ON_SQLITE = (
    "EXISTS (SELECT 1 FROM json_each(contacts.properties) AS p WHERE p.key = {0} AND CASE "
    "WHEN p.type IN ('integer', 'real') THEN p.value = {2} "
    "WHEN p.type IN ('true', 'false') THEN p.type = {1} "
    "WHEN p.type = 'array' THEN EXISTS "
    "(SELECT 1 FROM json_each(p.value) AS item WHERE item.value = {1}) "
    "ELSE p.value = {1} END)"
)
_CHOICE = (
    "(SELECT s.is_subscribed FROM topic_subscriptions s WHERE s.lane = contacts.lane "
    "AND s.contact_id = contacts.id AND s.topic_id = :topic_id)"
)
_BY_CHOICE = f"coalesce({_CHOICE}, false)"
_OR_BY_DEFAULT = (
    f"coalesce({_CHOICE}, NOT EXISTS (SELECT 1 FROM topic_opt_outs o "
    "WHERE o.lane = contacts.lane AND o.contact_id = contacts.id))"
)
_INSIDE = (
    "EXISTS (SELECT 1 FROM audience_members m WHERE m.lane = contacts.lane "
    "AND m.contact_id = contacts.id AND m.audience_id = :audience_id)"
)
# In the order of code points, like the index, not of a language.
_SEARCH = (
    '(contacts.external_id COLLATE "C" >= :id_low AND contacts.external_id COLLATE "C" < :id_high '
    'OR contacts.email COLLATE "C" >= :email_low AND contacts.email COLLATE "C" < :email_high '
    "OR EXISTS (SELECT 1 FROM contact_identifiers i WHERE i.contact_id = contacts.id AND i.alias "
    "AND (i.kind = 'external_id' AND i.value >= :id_low AND i.value < :id_high "
    "OR i.kind = 'email' AND i.value >= :email_low AND i.value < :email_high)))"
)
MATCHES = sql(
    "SELECT contact_id FROM contact_identifiers WHERE project_id = $1 AND kind = $2 "
    'AND value COLLATE "C" >= $3 AND value COLLATE "C" < $4 LIMIT $5'
)
# SQLite is to find a contact by its id alone: with an index on more, it would scan the project.
_FOUND = "[found :lanes :ids :project_id]"
_FOUND_ON_POSTGRES = (
    "(contacts.lane, contacts.id) IN (SELECT k.lane, k.id "
    "FROM unnest({0}::smallint[], {1}::text[]) AS k (lane, id)) AND contacts.project_id = {2}"
)
_FOUND_ON_SQLITE = (
    "contacts.id IN (SELECT value FROM json_each({1})) AND +contacts.project_id = {2}"
)
_PLACE = re.compile(r"\[(\w+) (\S+) (\S+) (\S+)\]")
_ON_POSTGRES = {"found": _FOUND_ON_POSTGRES, "property": _PROPERTY_ON_POSTGRES}
_ON_SQLITE = {"found": _FOUND_ON_SQLITE, "property": _PROPERTY_ON_SQLITE}
# A name after one colon; two colons are a cast.
_NAMED = re.compile(r"(?<!:):([a-z_0-9]+)")


async def contact_rows(
    tx: Transaction,
    columns: str,
    project_id: int,
    wanted: ContactFilter,
    *,
    before: int | None,
    limit: int,
) -> tuple[list[Row], int | None]:
    """Rows of one page and where the next one begins, None at the end."""
    query = await _query(tx, project_id, wanted)
    if query is None:
        return [], None
    lead = query.lead_before(before)
    floor = await _floor(tx, lead) if query.others else None
    tests = [lead.test, *query.others]
    if floor is not None:
        tests.append(f"{lead.number} >= {floor:d}")
    shown = ", ".join(f"contacts.{name}" for name in columns.split(", "))
    text = (
        f"SELECT contacts.number, {shown} FROM {_source(lead)} WHERE {' AND '.join(tests)} "
        f"ORDER BY {lead.number} DESC LIMIT {limit + 1}"
    )
    rows = await _fetch(tx, text, lead.values | query.other_values)
    following = rows[limit - 1][0] if len(rows) > limit else floor
    return [tuple(row)[1:] for row in rows[:limit]], following


def _source(lead: Lead) -> str:
    """The table that leads, joined with its contacts."""
    if lead.table == "contacts":
        return lead.table
    name = lead.table.rpartition(" ")[2]
    joined = f"contacts.lane = {name}.lane AND contacts.id = {name}.contact_id"
    return f"{lead.table} JOIN contacts ON {joined}"


async def _floor(tx: Transaction, lead: Lead) -> int | None:
    """Where this page stops, None when it can scan to the end."""
    text = (
        f"SELECT {lead.number} FROM {lead.table} WHERE {lead.test} "
        f"ORDER BY {lead.number} DESC LIMIT 1 OFFSET {ROWS_EXAMINED_MAX}"
    )
    rows = await _fetch(tx, text, lead.values)
    return int(rows[0][0]) if rows else None


async def _fetch(tx: Transaction, text: str, values: dict[str, Any]) -> list[Row]:
    """Fetch with a statement whose values are named."""
    names: list[str] = []

    def numbered(match: re.Match[str]) -> str:
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    statement = _both(_NAMED.sub(numbered, text))
    return list(await tx.rows(statement, *(values[name] for name in names)))


def _both(text: str) -> Statement:
    """The statement for both databases, with the tests of each filled in."""

    def filled(text: str, tests: dict[str, str]) -> str:
        return _PLACE.sub(lambda place: tests[place[1]].format(*place.groups()[1:]), text)

    return sql(filled(text, _ON_POSTGRES), sqlite=filled(to_sqlite(text), _ON_SQLITE))


async def _query(tx: Transaction, project_id: int, wanted: ContactFilter) -> ContactQuery | None:
    """Plan a list, most selective filter first; None when nothing can match."""
    query = ContactQuery(project_id)
    for kind in (IdentityType.EXTERNAL_ID, IdentityType.EMAIL):
        value = getattr(wanted, kind)
        if value is None:
            continue
        # An identifier of a contact that was merged leads to the survivor.
        owner = await owner_of(tx, project_id, kind, value)
        if owner is None:
            return None
        lead = _found(project_id, [owner]) if query.lead is None else None
        query.by(lead, f"contacts.id = :owner_by_{kind}", {f"owner_by_{kind}": owner})
    if wanted.search is not None:
        await _by_search(tx, query, search_of(wanted.search))
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


def _found(project_id: int, contact_ids: Iterable[str]) -> Lead:
    keys = sorted({(contact_lane(project_id, each), each) for each in contact_ids})
    lanes, ids = [lane for lane, _ in keys], [each for _, each in keys]
    values = {"lanes": lanes, "ids": ids, "project_id": project_id}
    return Lead("contacts", "contacts.number", _FOUND, values)


async def _by_search(tx: Transaction, query: ContactQuery, search: Search) -> None:
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
            rows = await tx.rows(
                MATCHES, query.project_id, kind, sought.low, sought.high, MATCHES_MAX + 1
            )
            found |= {row[0] for row in rows}
        if len(found) <= MATCHES_MAX:
            lead = _found(query.project_id, found)
    query.by(lead, _SEARCH, values)


def _by_topic(query: ContactQuery, topic: Topic) -> None:
    values = {"topic_id": topic.id}
    if topic.default_subscribed:
        query.by(None, _OR_BY_DEFAULT, values)
        return
    test = "s.topic_id = :topic_id AND s.is_subscribed = true"
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
        query.by(None, _PROPERTY.format(n=n), values)
