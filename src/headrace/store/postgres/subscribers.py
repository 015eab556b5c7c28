"""Webhooks and handlers on PostgreSQL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

from headrace.store.contract_delivery import (
    HANDLERS_LISTED_MAX,
    ROTATION_OVERLAP_US,
    WEBHOOKS_MAX,
    LoadedHandler,
    NewWebhook,
    Subscriber,
    TooManyWebhooksError,
    WebhookChange,
)
from headrace.store.postgres.database import Connection, Database
from headrace.store.postgres.loaded_handlers import announce
from headrace.store.postgres.subscriber_rows import find_webhook, lock_changes, note_change
from headrace.store.rows.handlers import handler_id
from headrace.store.rows.subscribers import (
    COLUMNS,
    changed_values,
    changes_of,
    new_values,
    subscriber,
)

T = TypeVar("T")

_LIST = (
    f"SELECT {COLUMNS} FROM subscribers WHERE project_id = $1 AND kind = 'webhook' "  # noqa: S608
    "AND created_us < $2 ORDER BY created_us DESC LIMIT $3"
)
_HANDLERS = (
    f"SELECT {COLUMNS} FROM subscribers WHERE project_id = 0 AND kind = 'handler' "  # noqa: S608
    f"ORDER BY target LIMIT {HANDLERS_LISTED_MAX}"
)
_COUNT = (
    "SELECT count(*), coalesce(max(created_us), 0) FROM subscribers "
    "WHERE project_id = $1 AND kind = 'webhook'"
)
_INSERT = (
    "INSERT INTO subscribers (id, project_id, kind, target, events, description, enabled, "
    "disabled_reason, disabled_us, secret, created_us, updated_us) "
    "VALUES ($1, $2, 'webhook', $3, $4, $5, $6, $7, $8, $9, $10, $11)"
)
_UPDATE = (
    "UPDATE subscribers SET target = $1, events = $2, description = $3, enabled = $4, "
    "disabled_reason = $5, disabled_us = $6, breaker = CASE WHEN $7 THEN NULL ELSE breaker END, "
    "updated_us = $8 WHERE id = $9"
)
_ROTATE = (
    "UPDATE subscribers SET previous_secret = secret, previous_until_us = $1, secret = $2, "
    "updated_us = $3 WHERE id = $4"
)
_AFTER_ALL = 2**62


class PostgresSubscribers:
    """See `headrace.store.contract_delivery.SubscriberStore`."""

    def __init__(self, database: Database, clock_us: Callable[[], int]) -> None:
        self._database = database
        self._clock_us = clock_us

    async def create(self, webhook: NewWebhook, *, actor: str) -> Subscriber:
        now_us, project_id = self._clock_us(), webhook.project_id

        async def work(connection: Connection) -> Subscriber:
            count, last_us = await connection.fetchrow(_COUNT, project_id)
            if count >= WEBHOOKS_MAX:
                raise TooManyWebhooksError
            values = new_values(webhook, now_us, max(now_us, last_us + 1))
            await connection.execute(_INSERT, *values)
            detail = {"subscriber": webhook.id, "url": webhook.url, "events": webhook.events}
            await note_change(connection, now_us, actor, project_id, "webhook.create", detail)
            return await _required(connection, project_id, webhook.id, now_us)

        return await self._change(work)

    async def get(self, project_id: int, subscriber_id: str) -> Subscriber | None:
        now_us = self._clock_us()

        async def read(connection: Connection) -> Subscriber | None:
            return await find_webhook(connection, project_id, subscriber_id, now_us)

        return await self._database.read(read)

    async def list(
        self, project_id: int, *, before: int | None, limit: int
    ) -> Sequence[Subscriber]:
        now_us = self._clock_us()
        below = _AFTER_ALL if before is None else before

        async def read(connection: Connection) -> Sequence[Subscriber]:
            rows = await connection.fetch(_LIST, project_id, below, limit)
            return [subscriber(row, now_us) for row in rows]

        return await self._database.read(read)

    async def handlers(self) -> Sequence[Subscriber]:
        now_us = self._clock_us()

        async def read(connection: Connection) -> Sequence[Subscriber]:
            return [subscriber(row, now_us) for row in await connection.fetch(_HANDLERS)]

        return await self._database.read(read)

    async def update(
        self, project_id: int, subscriber_id: str, change: WebhookChange, *, actor: str
    ) -> Subscriber | None:
        now_us = self._clock_us()

        async def work(connection: Connection) -> Subscriber | None:
            before = await find_webhook(connection, project_id, subscriber_id, now_us)
            if before is None:
                return None
            changes = changes_of(before, change)
            # Enabling one that is enabled already still closes its breaker.
            if changes or (change.enabled and before.breaker is not None):
                await _update(connection, before, change, now_us)
                detail = {"subscriber": subscriber_id, "changes": changes}
                await note_change(connection, now_us, actor, project_id, "webhook.update", detail)
            return await _required(connection, project_id, subscriber_id, now_us)

        return await self._change(work)

    async def rotate_secret(
        self, project_id: int, subscriber_id: str, secret: str, *, actor: str
    ) -> Subscriber | None:
        now_us = self._clock_us()
        until_us = now_us + ROTATION_OVERLAP_US

        async def work(connection: Connection) -> Subscriber | None:
            if await find_webhook(connection, project_id, subscriber_id, now_us) is None:
                return None
            await connection.execute(_ROTATE, until_us, secret, now_us, subscriber_id)
            detail = {"subscriber": subscriber_id, "previous_until_us": until_us}
            action = "webhook.rotate_secret"
            await note_change(connection, now_us, actor, project_id, action, detail)
            return await _required(connection, project_id, subscriber_id, now_us)

        return await self._change(work)

    async def delete(self, project_id: int, subscriber_id: str, *, actor: str) -> bool:
        now_us = self._clock_us()

        async def work(connection: Connection) -> bool:
            before = await find_webhook(connection, project_id, subscriber_id, now_us)
            if before is None:
                return False
            await connection.execute("DELETE FROM subscribers WHERE id = $1", subscriber_id)
            detail = {"subscriber": subscriber_id, "url": before.target}
            await note_change(connection, now_us, actor, project_id, "webhook.delete", detail)
            return True

        return await self._change(work)

    async def announce_handlers(
        self, handlers: Sequence[LoadedHandler], *, running_since_us: int
    ) -> Sequence[str]:
        await announce(self._database, handlers, running_since_us, self._clock_us())
        return [handler_id(handler.name) for handler in handlers]

    async def version(self) -> int:
        async def read(connection: Connection) -> int:
            sql = "SELECT value FROM meta WHERE name = 'subscribers_version'"
            return int(await connection.fetchval(sql) or 0)

        return await self._database.read(read)

    async def _change(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async def alone(connection: Connection) -> T:
            await lock_changes(connection)
            return await work(connection)

        return await self._database.write(alone)


async def _required(
    connection: Connection, project_id: int, subscriber_id: str, now_us: int
) -> Subscriber:
    found = await find_webhook(connection, project_id, subscriber_id, now_us)
    assert found is not None
    return found


async def _update(
    connection: Connection, before: Subscriber, change: WebhookChange, now_us: int
) -> None:
    disabled_us = await connection.fetchval(
        "SELECT disabled_us FROM subscribers WHERE id = $1", before.id
    )
    values = changed_values(before, change, disabled_us, now_us)
    await connection.execute(_UPDATE, *msgspec.structs.astuple(values), now_us, before.id)
