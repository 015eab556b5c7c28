"""Topics and the subscriptions of contacts.

Every change of a subscription inserts its system event in the same transaction. Setting the current
state emits none, and neither does deleting a topic or a contact, which unsubscribes nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.domain.contacts.topics import TOPICS_MAX, OptOut, Subscription, Topic, TopicFields
from headrace.domain.ids import new_uuid, uuid_text
from headrace.store.access.automation_use import reject_used
from headrace.store.contacts.groups import subscriptions
from headrace.store.contacts.groups.topic_rows import COLUMNS, changed, topic
from headrace.store.contacts.refs import change_ref, find_ref
from headrace.store.contract.errors import StoreConflictError
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import BIGINT_MAX
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Database, Transaction

_GET_TEXT = f"SELECT {COLUMNS} FROM topics WHERE id = $1 AND project_id = $2 AND deleted_us IS NULL"
_GET = sql(_GET_TEXT)
# Keeps a topic's default and deletion fixed while a contact's choice depends on it.
_HOLD = sql(f"{_GET_TEXT} FOR SHARE")
_LIST_TEXT = (
    f"SELECT {COLUMNS} FROM topics WHERE project_id = $1 AND deleted_us IS NULL "
    "AND created_us < $2 ORDER BY created_us DESC LIMIT $3"
)
LIST = sql(_LIST_TEXT)
_HOLD_ALL = sql(f"{_LIST_TEXT} FOR SHARE")
_INSERT = sql(f"INSERT INTO topics ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)")
_TAKEN = sql("SELECT id FROM topics WHERE project_id = $1 AND name = $2 AND deleted_us IS NULL")
_COUNT = sql(
    "SELECT count(*), coalesce(max(created_us), 0) FROM topics "
    "WHERE project_id = $1 AND deleted_us IS NULL"
)
# Serializes the assignment of names and creation times in a project.
_LOCK = sql("SELECT 1 FROM projects WHERE id = $1 FOR NO KEY UPDATE")
_UPDATE = sql(
    "UPDATE topics SET name = $1, description = $2, default_subscribed = $3, updated_us = $4 "
    "WHERE id = $5"
)
_DELETE = sql(
    "UPDATE topics SET deleted_us = $3 WHERE id = $1 AND project_id = $2 AND deleted_us IS NULL"
)
_DELETED = sql("SELECT id FROM topics WHERE deleted_us IS NOT NULL ORDER BY deleted_us LIMIT 1")
REMOVE = sql(
    "DELETE FROM topic_subscriptions WHERE (lane, contact_id, topic_id) IN "
    "(SELECT lane, contact_id, topic_id FROM topic_subscriptions WHERE topic_id = $1 LIMIT $2)"
)
_REMOVE_TOPIC = sql("DELETE FROM topics WHERE id = $1")


class TooManyTopicsError(Exception):
    """The project has `TOPICS_MAX` topics."""


class Topics:
    """Topics of all projects. A name that is taken raises `StoreConflictError`."""

    def __init__(self, database: Database, system_events: SystemEvents) -> None:
        self._database = database
        self._system_events = system_events

    async def create(self, project_id: int, fields: TopicFields, now_us: int) -> Topic:
        """Create a topic; `fields.name` is given.

        Raises:
            TooManyTopicsError: there are `TOPICS_MAX` already.
        """

        async def work(tx: Transaction) -> Topic:
            await tx.rows(_LOCK, project_id)
            await _reject_taken(tx, project_id, fields.name, None)
            count, newest_us = await tx.row(_COUNT, project_id) or (0, 0)
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
            await tx.run(_INSERT, *(getattr(made, name) for name in COLUMNS.split(", ")))
            return made

        return await self._database.write(work)

    async def get(self, project_id: int, topic_id: str) -> Topic | None:
        """One topic, None when the project has no such topic."""
        return await self._database.read(lambda tx: find_topic(tx, project_id, topic_id))

    async def list(self, project_id: int, *, before: int | None, limit: int) -> Sequence[Topic]:
        """Topics of a project, newest first, created before `before`."""
        return await self._database.read(lambda tx: _page(tx, project_id, before, limit))

    async def update(
        self, project_id: int, topic_id: str, fields: TopicFields, now_us: int
    ) -> Topic | None:
        """Write to a topic; None when there is none.

        A changed default applies at once to all contacts without a choice, and emits no events.
        """

        async def work(tx: Transaction) -> Topic | None:
            await tx.rows(_LOCK, project_id)
            held = await find_topic(tx, project_id, topic_id)
            if held is None or not changed(held, fields):
                return held
            await _reject_taken(tx, project_id, fields.name, topic_id)
            values: dict[str, Any] = {
                "name": held.name,
                "description": held.description,
                "default_subscribed": held.default_subscribed,
            }
            values |= changed(held, fields)
            await tx.run(_UPDATE, *values.values(), max(now_us, held.updated_us), topic_id)
            return await find_topic(tx, project_id, topic_id)

        return await self._database.write(work)

    async def delete(
        self, project_id: int, topic_id: str, now_us: int, *, force: bool = False
    ) -> bool:
        """Delete a topic; `remove_deleted` removes its subscriptions. False when there is none.

        Args:
            force: also if automations use it.

        Raises:
            UsedByAutomationsError: automations use it.
        """

        async def work(tx: Transaction) -> bool:
            if not force:
                await reject_used(tx, project_id, topic_id)
            return await tx.run(_DELETE, topic_id, project_id, now_us) > 0

        return await self._database.write(work)

    async def remove_deleted(self, limit: int) -> bool:
        """Remove up to `limit` rows of deleted topics; returns whether there are more."""

        async def work(tx: Transaction) -> bool:
            topic_id = await tx.value(_DELETED)
            if topic_id is None:
                return False
            if await tx.run(REMOVE, topic_id, limit) < limit:
                await tx.run(_REMOVE_TOPIC, topic_id)
            return await tx.value(_DELETED) is not None

        # Usually there is nothing to remove: then the write lock of SQLite is not taken.
        if await self._database.read(lambda tx: tx.value(_DELETED)) is None:
            return False
        return await self._database.write(work)

    async def subscriptions(
        self, project_id: int, contact_id: str, *, before: int | None, limit: int
    ) -> Sequence[Subscription] | None:
        """A contact's subscriptions in the order of `list`; None without the contact."""

        async def read(tx: Transaction) -> Sequence[Subscription] | None:
            contact = await find_ref(tx, project_id, contact_id)
            if contact is None:
                return None
            topics = await _page(tx, project_id, before, limit)
            return await subscriptions.subscription_states(tx, contact, topics)

        return await self._database.read(read)

    async def subscribe(
        self, project_id: int, contact_id: str, topic_id: str, now_us: int, *, wanted: bool
    ) -> Subscription | None:
        """Subscribe a contact, or unsubscribe it; None without the contact or the topic."""

        async def work(tx: Transaction) -> Subscription | None:
            contact = await change_ref(tx, project_id, contact_id)
            row = await tx.row(_HOLD, topic_id, project_id)
            if contact is None or row is None:
                return None
            held = topic(row)
            await subscriptions.choose(
                tx, self._system_events, contact, [held], now_us, wanted=wanted
            )
            return (await subscriptions.subscription_states(tx, contact, [held]))[0]

        return await self._database.write(work)

    async def opt_out(self, project_id: int, contact_id: str, now_us: int) -> OptOut | None:
        """Unsubscribe a contact from everything; None without the contact."""

        async def work(tx: Transaction) -> OptOut | None:
            contact = await change_ref(tx, project_id, contact_id)
            if contact is None:
                return None
            rows = await tx.rows(_HOLD_ALL, project_id, BIGINT_MAX, TOPICS_MAX)
            topics = [topic(row) for row in rows]
            return await subscriptions.opt_out(tx, self._system_events, contact, topics, now_us)

        return await self._database.write(work)


async def find_topic(tx: Transaction, project_id: int, topic_id: str) -> Topic | None:
    """One topic that is not deleted."""
    row = await tx.row(_GET, topic_id, project_id)
    return None if row is None else topic(row)


async def _page(tx: Transaction, project_id: int, before: int | None, limit: int) -> list[Topic]:
    below = BIGINT_MAX if before is None else before
    return [topic(row) for row in await tx.rows(LIST, project_id, below, limit)]


async def _reject_taken(
    tx: Transaction, project_id: int, name: str | None, own_id: str | None
) -> None:
    holder = await tx.value(_TAKEN, project_id, name)
    if holder not in (None, own_id):
        raise StoreConflictError("name")
