"""Topics on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.domain.ids import new_uuid, uuid_text
from headrace.domain.topics import TOPICS_MAX, OptOut, Subscription, Topic, TopicFields
from headrace.store.contract import StoreConflictError
from headrace.store.contract_topics import TooManyTopicsError
from headrace.store.postgres import topic_subscriptions
from headrace.store.postgres.contact_refs import change_ref, find_ref
from headrace.store.postgres.database import Connection, Database
from headrace.store.postgres.numbers import Numbers
from headrace.store.rows.topics import COLUMNS, changed, topic

_GET = f"SELECT {COLUMNS} FROM topics WHERE id = $1 AND project_id = $2 AND deleted_us IS NULL"  # noqa: S608
# Neither the default nor the end of a topic may change while a contact chooses by it.
_HOLD = f"{_GET} FOR SHARE"
LIST = (
    f"SELECT {COLUMNS} FROM topics WHERE project_id = $1 AND deleted_us IS NULL "  # noqa: S608
    "AND created_us < $2 ORDER BY created_us DESC LIMIT $3"
)
_INSERT = f"INSERT INTO topics ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)"  # noqa: S608
_TAKEN = "SELECT id FROM topics WHERE project_id = $1 AND name = $2 AND deleted_us IS NULL"
_COUNT = (
    "SELECT count(*), coalesce(max(created_us), 0) FROM topics "
    "WHERE project_id = $1 AND deleted_us IS NULL"
)
# Names and numbers of a project are given out by one at a time.
_LOCK = "SELECT 1 FROM projects WHERE id = $1 FOR NO KEY UPDATE"
_UPDATE = (
    "UPDATE topics SET name = $1, description = $2, default_subscribed = $3, updated_us = $4 "
    "WHERE id = $5"
)
_DELETE = (
    "UPDATE topics SET deleted_us = $3 WHERE id = $1 AND project_id = $2 AND deleted_us IS NULL "
    "RETURNING id"
)
_DELETED = "SELECT id FROM topics WHERE deleted_us IS NOT NULL ORDER BY deleted_us LIMIT 1"
REMOVE = (
    "WITH due AS MATERIALIZED (SELECT lane, contact_id FROM topic_subscriptions "
    "WHERE topic_id = $1 LIMIT $2) DELETE FROM topic_subscriptions s USING due "
    "WHERE s.lane = due.lane AND s.contact_id = due.contact_id AND s.topic_id = $1"
)
_AFTER_ALL = 2**62


class PostgresTopics:
    """See `headrace.store.contract_topics.TopicStore`."""

    def __init__(self, database: Database, numbers: Numbers) -> None:
        self._database = database
        self._numbers = numbers

    async def create(self, project_id: int, fields: TopicFields, now_us: int) -> Topic:
        async def work(connection: Connection) -> Topic:
            await connection.execute(_LOCK, project_id)
            await _refuse_taken(connection, project_id, fields.name, None)
            count, newest_us = await connection.fetchrow(_COUNT, project_id)
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
            await connection.execute(_INSERT, *(getattr(made, n) for n in COLUMNS.split(", ")))
            return made

        return await self._database.write(work)

    async def get(self, project_id: int, topic_id: str) -> Topic | None:
        return await self._database.read(
            lambda connection: find_topic(connection, project_id, topic_id)
        )

    async def list(self, project_id: int, *, before: int | None, limit: int) -> Sequence[Topic]:
        return await self._database.read(
            lambda connection: _page(connection, project_id, before, limit)
        )

    async def update(
        self, project_id: int, topic_id: str, fields: TopicFields, now_us: int
    ) -> Topic | None:
        async def work(connection: Connection) -> Topic | None:
            await connection.execute(_LOCK, project_id)
            held = await find_topic(connection, project_id, topic_id)
            if held is None or not changed(held, fields):
                return held
            await _refuse_taken(connection, project_id, fields.name, topic_id)
            values = {"name": held.name, "description": held.description}
            values |= {"default_subscribed": held.default_subscribed} | changed(held, fields)
            updated_us = max(now_us, held.updated_us)
            await connection.execute(_UPDATE, *values.values(), updated_us, topic_id)
            return await find_topic(connection, project_id, topic_id)

        return await self._database.write(work)

    async def delete(self, project_id: int, topic_id: str, now_us: int) -> bool:
        async def work(connection: Connection) -> bool:
            return await connection.fetchval(_DELETE, topic_id, project_id, now_us) is not None

        return await self._database.write(work)

    async def remove_deleted(self, limit: int) -> bool:
        async def work(connection: Connection) -> bool:
            topic_id = await connection.fetchval(_DELETED)
            if topic_id is None:
                return False
            done = await connection.execute(REMOVE, topic_id, limit)
            if int(done.rpartition(" ")[2]) < limit:
                await connection.execute("DELETE FROM topics WHERE id = $1", topic_id)
            return await connection.fetchval(_DELETED) is not None

        return await self._database.write(work)

    async def subscriptions(
        self, project_id: int, contact_id: str, *, before: int | None, limit: int
    ) -> Sequence[Subscription] | None:
        async def read(connection: Connection) -> Sequence[Subscription] | None:
            contact = await find_ref(connection, project_id, contact_id)
            if contact is None:
                return None
            topics = await _page(connection, project_id, before, limit)
            return await topic_subscriptions.stands(connection, contact, topics)

        return await self._database.read(read)

    async def subscribe(
        self, project_id: int, contact_id: str, topic_id: str, now_us: int, *, wanted: bool
    ) -> Subscription | None:
        async def work(connection: Connection) -> Subscription | None:
            contact = await change_ref(connection, project_id, contact_id)
            row = await connection.fetchrow(_HOLD, topic_id, project_id)
            if contact is None or row is None:
                return None
            held = topic(row)
            await topic_subscriptions.choose(
                connection, self._numbers, contact, [held], now_us, wanted=wanted
            )
            return (await topic_subscriptions.stands(connection, contact, [held]))[0]

        return await self._database.write(work)

    async def opt_out(self, project_id: int, contact_id: str, now_us: int) -> OptOut | None:
        async def work(connection: Connection) -> OptOut | None:
            contact = await change_ref(connection, project_id, contact_id)
            if contact is None:
                return None
            rows = await connection.fetch(f"{LIST} FOR SHARE", project_id, _AFTER_ALL, TOPICS_MAX)
            topics = [topic(row) for row in rows]
            return await topic_subscriptions.opt_out(
                connection, self._numbers, contact, topics, now_us
            )

        return await self._database.write(work)


async def find_topic(connection: Connection, project_id: int, topic_id: str) -> Topic | None:
    """One topic that is not deleted."""
    row = await connection.fetchrow(_GET, topic_id, project_id)
    return None if row is None else topic(row)


async def _page(
    connection: Connection, project_id: int, before: int | None, limit: int
) -> list[Topic]:
    below = _AFTER_ALL if before is None else before
    return [topic(row) for row in await connection.fetch(LIST, project_id, below, limit)]


async def _refuse_taken(
    connection: Connection, project_id: int, name: str | None, own_id: str | None
) -> None:
    holder = await connection.fetchval(_TAKEN, project_id, name)
    if holder not in (None, own_id):
        raise StoreConflictError("name")
