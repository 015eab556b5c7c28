"""Lists of messages by recipient, contact, sending domain and status, a page at a time.

Each list follows an index. Filters without an index are compared row by row, with a limit of rows
per page: a page may be short, or empty, and still have a next one.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.domain.messages.kinds import Channel, MessageKind, MessageStatus
from headrace.store.contacts.identifiers import ids_of
from headrace.store.contacts.refs import find_ref
from headrace.store.contract.messages import Message
from headrace.store.engine.dialect import Statement, sql
from headrace.store.engine.numbers import BIGINT_MAX
from headrace.store.engine.transaction import Database, Row, Transaction
from headrace.store.messages.message_rows import FIELDS, MESSAGE, message
from headrace.store.messages.sending.message_lists import LIST, LIST_NOT_ARRIVED, NOT_ARRIVED

#: Rows that one page compares, and that one statement reads.
COMPARED_MAX = 4000
SLICE = 400

#: Creation time and id of a message; a page continues below one.
Place = tuple[int, str]

_PAGE = "AND (created_us, id) < ($2, $3) ORDER BY created_us DESC, id DESC LIMIT $4"
OF_CONTACT = sql(f"SELECT {MESSAGE} FROM messages WHERE contact_id = $1 {_PAGE}")
OF_ADDRESS = sql(f"SELECT {MESSAGE} FROM messages WHERE project_id = $1 AND address = $5 {_PAGE}")
OF_EMAIL = sql(f"SELECT {MESSAGE} FROM messages WHERE email_id = $1 {_PAGE}")
_AFTER_ALL: Place = (BIGINT_MAX, "~")
_COLUMNS = [field.name for field in FIELDS]
_PROJECT = _COLUMNS.index("project_id")
_CREATED, _ID = _COLUMNS.index("created_us"), _COLUMNS.index("id")
#: Columns that are compared, by the field of a filter.
_COMPARED = {
    field: _COLUMNS.index(column)
    for field, column in {
        "status": "state",
        "recipient": "address",
        "domain": "domain",
        "kind": "kind",
        "channel": "channel",
        "email_id": "email_id",
        "reason": "reason",
        "automation_id": "automation_id",
    }.items()
}


class MessageFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which messages to list; None: any."""

    status: MessageStatus | None = None
    #: Normalized address that the message went to.
    recipient: str | None = None
    #: Id of a contact; messages to contacts merged into it count too.
    contact_id: str | None = None
    #: Of the sender, lower-case ASCII.
    domain: str | None = None
    kind: MessageKind | None = None
    channel: Channel | None = None
    email_id: str | None = None
    #: Why it has its status, as it is stored.
    reason: str | None = None
    automation_id: str | None = None


class MessagePage(msgspec.Struct, frozen=True):
    """Messages, newest first, and where the next page begins; None at the end."""

    messages: Sequence[Message]
    next_before: Place | None


class _Source(msgspec.Struct, frozen=True):
    """A statement that reads messages in order: its first value, and those after the page."""

    statement: Statement
    first: int | str
    rest: tuple[str, ...] = ()


class _Found(msgspec.Struct, frozen=True):
    """Rows of one source that match."""

    rows: list[Row]
    #: The last row that was compared, where older ones may match too.
    stopped: Place | None


class MessageSearch:
    """Searches messages of all projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(
        self, project_id: int, wanted: MessageFilter, *, before: Place | None, limit: int
    ) -> MessagePage:
        """One page: at most `limit` messages before `before`, of `COMPARED_MAX` rows a source."""
        begin = _AFTER_ALL if before is None else before

        async def read(tx: Transaction) -> MessagePage:
            sources = await _sources(tx, project_id, wanted)
            values = _values(project_id, wanted)
            found = [await _matches(tx, source, values, begin, limit) for source in sources]
            return _page(found, limit)

        return await self._database.read(read, snapshot=True)


async def _sources(tx: Transaction, project_id: int, wanted: MessageFilter) -> list[_Source]:
    """The narrowest statements that together read every matching message."""
    if wanted.contact_id is not None:
        contact = await find_ref(tx, project_id, wanted.contact_id)
        # Messages of a contact that was deleted are kept under its own id.
        ids = [wanted.contact_id] if contact is None else await ids_of(tx, contact.id)
        return [_Source(OF_CONTACT, each) for each in ids]
    if wanted.recipient is not None:
        return [_Source(OF_ADDRESS, project_id, (wanted.recipient,))]
    if wanted.email_id is not None:
        return [_Source(OF_EMAIL, wanted.email_id)]
    if wanted.status in NOT_ARRIVED:
        return [_Source(LIST_NOT_ARRIVED, project_id, (wanted.status.value,))]
    return [_Source(LIST, project_id)]


async def _matches(
    tx: Transaction, source: _Source, values: dict[int, int | str], begin: Place, limit: int
) -> _Found:
    matching: list[Row] = []
    compared, place = 0, begin
    while compared < COMPARED_MAX:
        rows = await tx.rows(source.statement, source.first, *place, SLICE, *source.rest)
        for row in rows:
            place = row[_CREATED], row[_ID]
            if all(row[column] == value for column, value in values.items()):
                matching.append(row)
            if len(matching) > limit:
                return _Found(matching, place)
        if len(rows) < SLICE:
            return _Found(matching, None)
        compared += len(rows)
    return _Found(matching, place)


def _values(project_id: int, wanted: MessageFilter) -> dict[int, int | str]:
    """Values that a row must have, by column: an id of a contact may be of another project."""
    values: dict[int, int | str] = {_PROJECT: project_id}
    for field, column in _COMPARED.items():
        value = getattr(wanted, field)
        if value is not None:
            values[column] = str(value)
    return values


def _page(found: Sequence[_Found], limit: int) -> MessagePage:
    # Below the place where the first source stopped, it may have matches not read yet.
    floor = max((one.stopped for one in found if one.stopped is not None), default=None)
    rows = {(row[_CREATED], row[_ID]): row for one in found for row in one.rows}
    places = sorted((p for p in rows if floor is None or p >= floor), reverse=True)
    shown = places[:limit]
    following = shown[-1] if len(places) > limit else floor
    return MessagePage([message(rows[place]) for place in shown], following)
