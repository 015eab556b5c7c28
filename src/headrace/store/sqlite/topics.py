"""Topics in the embedded store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from headrace.domain.ids import new_uuid, uuid_text
from headrace.domain.topics import TOPICS_MAX, OptOut, Subscription, Topic, TopicFields
from headrace.store.contract import StoreConflictError
from headrace.store.contract_topics import TooManyTopicsError
from headrace.store.rows.topics import COLUMNS, changed, topic
from headrace.store.sqlite import topic_subscriptions
from headrace.store.sqlite.contact_refs import find_ref
from headrace.store.sqlite.readers import Readers
from headrace.store.sqlite.writer import Writer

_GET = f"SELECT {COLUMNS} FROM topics WHERE id = ? AND project_id = ? AND deleted_us IS NULL"  # noqa: S608
_LIST = (
    f"SELECT {COLUMNS} FROM topics WHERE project_id = ? AND deleted_us IS NULL "  # noqa: S608
    "AND created_us < ? ORDER BY created_us DESC LIMIT ?"
)
_INSERT = f"INSERT INTO topics ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_TAKEN = "SELECT id FROM topics WHERE project_id = ? AND name = ? AND deleted_us IS NULL"
_COUNT = (
    "SELECT count(*), coalesce(max(created_us), 0) FROM topics "
    "WHERE project_id = ? AND deleted_us IS NULL"
)
_UPDATE = (
    "UPDATE topics SET name = ?, description = ?, default_subscribed = ?, updated_us = ? "
    "WHERE id = ?"
)
_DELETED = "SELECT id FROM topics WHERE deleted_us IS NOT NULL ORDER BY deleted_us LIMIT 1"
REMOVE = (
    "DELETE FROM topic_subscriptions WHERE (topic_id, is_subscribed, contact_number) IN "
    "(SELECT topic_id, is_subscribed, contact_number FROM topic_subscriptions "
    "WHERE topic_id = ? LIMIT ?)"
)
_AFTER_ALL = 2**62


class SqliteTopics:
    """See `headrace.store.contract_topics.TopicStore`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def create(self, project_id: int, fields: TopicFields, now_us: int) -> Topic:
        return await self._writer.run(
            lambda connection: _create(connection, project_id, fields, now_us)
        )

    async def get(self, project_id: int, topic_id: str) -> Topic | None:
        return await self._readers.run(
            lambda connection: find_topic(connection, project_id, topic_id)
        )

    async def list(self, project_id: int, *, before: int | None, limit: int) -> Sequence[Topic]:
        return await self._readers.run(
            lambda connection: _page(connection, project_id, before, limit)
        )

    async def update(
        self, project_id: int, topic_id: str, fields: TopicFields, now_us: int
    ) -> Topic | None:
        def work(connection: apsw.Connection) -> Topic | None:
            held = find_topic(connection, project_id, topic_id)
            if held is None or not changed(held, fields):
                return held
            _refuse_taken(connection, project_id, fields.name, topic_id)
            values = {"name": held.name, "description": held.description}
            values |= {"default_subscribed": held.default_subscribed} | changed(held, fields)
            updated_us = max(now_us, held.updated_us)
            connection.execute(_UPDATE, (*values.values(), updated_us, topic_id))
            return find_topic(connection, project_id, topic_id)

        return await self._writer.run(work)

    async def delete(self, project_id: int, topic_id: str, now_us: int) -> bool:
        def work(connection: apsw.Connection) -> bool:
            if find_topic(connection, project_id, topic_id) is None:
                return False
            connection.execute("UPDATE topics SET deleted_us = ? WHERE id = ?", (now_us, topic_id))
            return True

        return await self._writer.run(work)

    async def remove_deleted(self, limit: int) -> bool:
        def work(connection: apsw.Connection) -> bool:
            row: Any = connection.execute(_DELETED).fetchone()
            if row is None:
                return False
            connection.execute(REMOVE, (row[0], limit))
            if connection.changes() < limit:
                connection.execute("DELETE FROM topics WHERE id = ?", row)
            return connection.execute(_DELETED).fetchone() is not None

        # Nearly always there is nothing: then the write lock is left alone.
        if not await self._readers.run(lambda c: c.execute(_DELETED).fetchall()):
            return False
        return await self._writer.run(work)

    async def subscriptions(
        self, project_id: int, contact_id: str, *, before: int | None, limit: int
    ) -> Sequence[Subscription] | None:
        def read(connection: apsw.Connection) -> Sequence[Subscription] | None:
            contact = find_ref(connection, project_id, contact_id)
            if contact is None:
                return None
            topics = _page(connection, project_id, before, limit)
            return topic_subscriptions.stands(connection, contact, topics)

        return await self._readers.run(read)

    async def subscribe(
        self, project_id: int, contact_id: str, topic_id: str, now_us: int, *, wanted: bool
    ) -> Subscription | None:
        def work(connection: apsw.Connection) -> Subscription | None:
            contact = find_ref(connection, project_id, contact_id)
            held = find_topic(connection, project_id, topic_id)
            if contact is None or held is None:
                return None
            topic_subscriptions.choose(connection, contact, [held], now_us, wanted=wanted)
            return topic_subscriptions.stands(connection, contact, [held])[0]

        return await self._writer.run(work)

    async def opt_out(self, project_id: int, contact_id: str, now_us: int) -> OptOut | None:
        def work(connection: apsw.Connection) -> OptOut | None:
            contact = find_ref(connection, project_id, contact_id)
            if contact is None:
                return None
            topics = _page(connection, project_id, None, TOPICS_MAX)
            return topic_subscriptions.opt_out(connection, contact, topics, now_us)

        return await self._writer.run(work)


def find_topic(connection: apsw.Connection, project_id: int, topic_id: str) -> Topic | None:
    """One topic that is not deleted."""
    row: Any = connection.execute(_GET, (topic_id, project_id)).fetchone()
    return None if row is None else topic(row)


def _page(
    connection: apsw.Connection, project_id: int, before: int | None, limit: int
) -> list[Topic]:
    values = (project_id, _AFTER_ALL if before is None else before, limit)
    return [topic(row) for row in connection.execute(_LIST, values)]


def _create(
    connection: apsw.Connection, project_id: int, fields: TopicFields, now_us: int
) -> Topic:
    _refuse_taken(connection, project_id, fields.name, None)
    row: Any = connection.execute(_COUNT, (project_id,)).fetchone()
    count, newest_us = row
    if count >= TOPICS_MAX:
        raise TooManyTopicsError
    made = Topic(
        id=uuid_text(new_uuid()),
        project_id=project_id,
        name=fields.name or "",
        description=fields.description or "",
        default_subscribed=bool(fields.default_subscribed),
        created_us=max(now_us, newest_us + 1),
        updated_us=max(now_us, newest_us + 1),
    )
    values = [getattr(made, name) for name in COLUMNS.split(", ")]
    connection.execute(_INSERT, values)
    return made


def _refuse_taken(
    connection: apsw.Connection, project_id: int, name: str | None, own_id: str | None
) -> None:
    row: Any = connection.execute(_TAKEN, (project_id, name)).fetchone()
    if row is not None and row[0] != own_id:
        raise StoreConflictError("name")
