"""Webhooks and handlers in the embedded store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import apsw
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
from headrace.store.rows.subscribers import (
    COLUMNS,
    changed_values,
    changes_of,
    new_values,
    subscriber,
)
from headrace.store.sqlite.loaded_handlers import announce
from headrace.store.sqlite.readers import Readers
from headrace.store.sqlite.subscriber_rows import find_webhook, note_change
from headrace.store.sqlite.writer import Writer

_LIST = (
    f"SELECT {COLUMNS} FROM subscribers WHERE project_id = ? AND kind = 'webhook' "  # noqa: S608
    "AND created_us < ? ORDER BY created_us DESC LIMIT ?"
)
_HANDLERS = (
    f"SELECT {COLUMNS} FROM subscribers WHERE project_id = 0 AND kind = 'handler' "  # noqa: S608
    f"ORDER BY target LIMIT {HANDLERS_LISTED_MAX}"
)
_INSERT = (
    "INSERT INTO subscribers (id, project_id, kind, target, events, description, enabled, "
    "disabled_reason, disabled_us, secret, created_us, updated_us) "
    "VALUES (?, ?, 'webhook', ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_UPDATE = (
    "UPDATE subscribers SET target = ?, events = ?, description = ?, enabled = ?, "
    "disabled_reason = ?, disabled_us = ?, breaker = CASE WHEN ? THEN NULL ELSE breaker END, "
    "updated_us = ? WHERE id = ?"
)
_ROTATE = (
    "UPDATE subscribers SET previous_secret = secret, previous_until_us = ?, secret = ?, "
    "updated_us = ? WHERE id = ?"
)
_AFTER_ALL = 2**62


class SqliteSubscribers:
    """See `headrace.store.contract_delivery.SubscriberStore`."""

    def __init__(self, writer: Writer, readers: Readers, clock_us: Callable[[], int]) -> None:
        self._writer = writer
        self._readers = readers
        self._clock_us = clock_us

    async def create(self, webhook: NewWebhook, *, actor: str) -> Subscriber:
        now_us = self._clock_us()

        def work(connection: apsw.Connection) -> Subscriber:
            row: Any = connection.execute(
                "SELECT count(*), coalesce(max(created_us), 0) FROM subscribers "
                "WHERE project_id = ? AND kind = 'webhook'",
                (webhook.project_id,),
            ).fetchone()
            if row[0] >= WEBHOOKS_MAX:
                raise TooManyWebhooksError
            connection.execute(_INSERT, new_values(webhook, now_us, max(now_us, row[1] + 1)))
            detail = {"subscriber": webhook.id, "url": webhook.url, "events": webhook.events}
            project_id = webhook.project_id
            note_change(connection, now_us, actor, project_id, "webhook.create", detail)
            return _required(connection, project_id, webhook.id, now_us)

        return await self._writer.run(work)

    async def get(self, project_id: int, subscriber_id: str) -> Subscriber | None:
        now_us = self._clock_us()
        return await self._readers.run(
            lambda connection: find_webhook(connection, project_id, subscriber_id, now_us)
        )

    async def list(
        self, project_id: int, *, before: int | None, limit: int
    ) -> Sequence[Subscriber]:
        now_us = self._clock_us()
        values = (project_id, _AFTER_ALL if before is None else before, limit)
        return await self._readers.run(
            lambda connection: [
                subscriber(row, now_us) for row in connection.execute(_LIST, values)
            ]
        )

    async def handlers(self) -> Sequence[Subscriber]:
        now_us = self._clock_us()

        def read(connection: apsw.Connection) -> Sequence[Subscriber]:
            return [subscriber(row, now_us) for row in connection.execute(_HANDLERS)]

        return await self._readers.run(read)

    async def update(
        self, project_id: int, subscriber_id: str, change: WebhookChange, *, actor: str
    ) -> Subscriber | None:
        now_us = self._clock_us()

        def work(connection: apsw.Connection) -> Subscriber | None:
            before = find_webhook(connection, project_id, subscriber_id, now_us)
            if before is None:
                return None
            changes = changes_of(before, change)
            # Enabling one that is enabled already still closes its breaker.
            if changes or (change.enabled and before.breaker is not None):
                _update(connection, before, change, now_us)
                detail = {"subscriber": subscriber_id, "changes": changes}
                note_change(connection, now_us, actor, project_id, "webhook.update", detail)
            return _required(connection, project_id, subscriber_id, now_us)

        return await self._writer.run(work)

    async def rotate_secret(
        self, project_id: int, subscriber_id: str, secret: str, *, actor: str
    ) -> Subscriber | None:
        now_us = self._clock_us()

        def work(connection: apsw.Connection) -> Subscriber | None:
            if find_webhook(connection, project_id, subscriber_id, now_us) is None:
                return None
            until_us = now_us + ROTATION_OVERLAP_US
            connection.execute(_ROTATE, (until_us, secret, now_us, subscriber_id))
            detail = {"subscriber": subscriber_id, "previous_until_us": until_us}
            note_change(connection, now_us, actor, project_id, "webhook.rotate_secret", detail)
            return _required(connection, project_id, subscriber_id, now_us)

        return await self._writer.run(work)

    async def delete(self, project_id: int, subscriber_id: str, *, actor: str) -> bool:
        now_us = self._clock_us()

        def work(connection: apsw.Connection) -> bool:
            before = find_webhook(connection, project_id, subscriber_id, now_us)
            if before is None:
                return False
            connection.execute("DELETE FROM subscribers WHERE id = ?", (subscriber_id,))
            detail = {"subscriber": subscriber_id, "url": before.target}
            note_change(connection, now_us, actor, project_id, "webhook.delete", detail)
            return True

        return await self._writer.run(work)

    async def announce_handlers(
        self, handlers: Sequence[LoadedHandler], *, running_since_us: int
    ) -> Sequence[str]:
        now_us = self._clock_us()
        return await self._writer.run(
            lambda connection: announce(connection, handlers, running_since_us, now_us)
        )

    async def version(self) -> int:
        def read(connection: apsw.Connection) -> int:
            row = connection.execute(
                "SELECT value FROM meta WHERE name = 'subscribers_version'"
            ).fetchone()
            return 0 if row is None else int(row[0])

        return await self._readers.run(read)


def _required(
    connection: apsw.Connection, project_id: int, subscriber_id: str, now_us: int
) -> Subscriber:
    found = find_webhook(connection, project_id, subscriber_id, now_us)
    assert found is not None
    return found


def _update(
    connection: apsw.Connection, before: Subscriber, change: WebhookChange, now_us: int
) -> None:
    row: Any = connection.execute(
        "SELECT disabled_us FROM subscribers WHERE id = ?", (before.id,)
    ).fetchone()
    values = changed_values(before, change, row[0], now_us)
    connection.execute(_UPDATE, (*msgspec.structs.astuple(values), now_us, before.id))
