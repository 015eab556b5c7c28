"""Webhooks and handlers in the embedded store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import apsw
import msgspec

from headrace.store.contract_delivery import (
    ROTATION_OVERLAP_US,
    SWITCHED_OFF,
    WEBHOOKS_MAX,
    LoadedHandler,
    NewWebhook,
    Subscriber,
    TooManyWebhooksError,
    WebhookChange,
)
from headrace.store.sqlite.loaded_handlers import announce
from headrace.store.sqlite.readers import Readers
from headrace.store.sqlite.subscriber_rows import COLUMNS, find_webhook, note_change, subscriber
from headrace.store.sqlite.writer import Writer

_LIST = (
    f"SELECT {COLUMNS} FROM subscribers WHERE project_id = ? AND kind = 'webhook' "  # noqa: S608
    "AND created_us < ? ORDER BY created_us DESC LIMIT ?"
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
            _insert(connection, webhook, now_us, created_us=max(now_us, row[1] + 1))
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

    async def update(
        self, project_id: int, subscriber_id: str, change: WebhookChange, *, actor: str
    ) -> Subscriber | None:
        now_us = self._clock_us()

        def work(connection: apsw.Connection) -> Subscriber | None:
            before = find_webhook(connection, project_id, subscriber_id, now_us)
            if before is None:
                return None
            changes = _changes(before, change)
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


def _insert(connection: apsw.Connection, webhook: NewWebhook, now_us: int, created_us: int) -> None:
    off = not webhook.enabled
    connection.execute(
        _INSERT,
        (
            webhook.id,
            webhook.project_id,
            webhook.url,
            _json(webhook.events),
            webhook.description,
            webhook.enabled,
            SWITCHED_OFF if off else None,
            now_us if off else None,
            webhook.secret,
            created_us,
            now_us,
        ),
    )


def _changes(before: Subscriber, change: WebhookChange) -> dict[str, dict[str, Any]]:
    """Field -> from and to, of the fields that really change."""
    held = {
        "url": before.target,
        "events": before.events,
        "description": before.description,
        "enabled": before.enabled,
    }
    wanted = {name: getattr(change, name) for name in held}
    return {
        name: {"from": value, "to": wanted[name]}
        for name, value in held.items()
        if wanted[name] is not None and wanted[name] != value
    }


def _update(
    connection: apsw.Connection, before: Subscriber, change: WebhookChange, now_us: int
) -> None:
    enabled = before.enabled if change.enabled is None else change.enabled
    switched_off = before.enabled and not enabled
    row: Any = connection.execute(
        "SELECT disabled_us FROM subscribers WHERE id = ?", (before.id,)
    ).fetchone()
    reason = SWITCHED_OFF if switched_off else before.disabled_reason
    connection.execute(
        _UPDATE,
        (
            before.target if change.url is None else change.url,
            _json(before.events if change.events is None else change.events),
            before.description if change.description is None else change.description,
            enabled,
            None if enabled else reason,
            None if enabled else (now_us if switched_off else row[0]),
            # What was learned about one URL says nothing about another.
            bool(change.enabled) or change.url is not None,
            now_us,
            before.id,
        ),
    )


def _json(events: Sequence[str]) -> str:
    return msgspec.json.encode(events).decode()
