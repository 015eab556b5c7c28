"""Webhooks and handlers. Every change is audited and changes `version()`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from headrace.domain.access.sealing import KeyRing, Purpose
from headrace.domain.deliveries import own_headers
from headrace.domain.deliveries.body_format import BodyFormat
from headrace.domain.deliveries.own_headers import Headers
from headrace.store.access.sealing import SecretKeyError, opened
from headrace.store.contract.deliveries import (
    HANDLERS_LISTED_MAX,
    ROTATION_OVERLAP_US,
    WEBHOOKS_MAX,
    LoadedHandler,
    NewWebhook,
    Subscriber,
    TooManyWebhooksError,
    WebhookChange,
)
from headrace.store.deliveries.loaded_handlers import announce
from headrace.store.deliveries.subscriber_rows import (
    COLUMNS,
    HeaderColumns,
    Unseen,
    audit_entries,
    changed_values,
    changes_of,
    find_webhook,
    lock_changes,
    new_values,
    note_change,
    subscriber,
)
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import BIGINT_MAX
from headrace.store.engine.transaction import Database, Transaction, Work

T = TypeVar("T")

LIST = sql(
    f"SELECT {COLUMNS} FROM subscribers WHERE project_id = $1 AND kind = 'webhook' "
    "AND created_us < $2 ORDER BY created_us DESC LIMIT $3"
)
_HANDLERS = sql(
    f"SELECT {COLUMNS} FROM subscribers WHERE project_id = 0 AND kind = 'handler' "
    f"ORDER BY target LIMIT {HANDLERS_LISTED_MAX}"
)
_COUNT = sql(
    "SELECT count(*), coalesce(max(created_us), 0) FROM subscribers "
    "WHERE project_id = $1 AND kind = 'webhook'"
)
_INSERT = sql(
    "INSERT INTO subscribers (id, project_id, kind, target, events, description, enabled, "
    "disabled_reason, disabled_us, secret, created_us, updated_us, paused_us, "
    "header_names, header_values, format) "
    "VALUES ($1, $2, 'webhook', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, "
    "$13, $14, $15)"
)
_UNSEEN = sql("SELECT disabled_us, resume_from_us FROM subscribers WHERE id = $1")
_UPDATE = sql(
    "UPDATE subscribers SET target = $1, events = $2, description = $3, enabled = $4, "
    "disabled_reason = $5, disabled_us = $6, breaker = CASE WHEN $7 THEN NULL ELSE breaker END, "
    "paused_us = $8, resume_per_second = $9, resume_from_us = $10, header_names = $11, "
    "header_values = $12, format = $13, version = $14, earlier = $15, updated_us = $16 "
    "WHERE id = $17"
)
_ROTATE = sql(
    "UPDATE subscribers SET previous_secret = secret, previous_until_us = $1, secret = $2, "
    "updated_us = $3 WHERE id = $4"
)
_DELETE = sql("DELETE FROM subscribers WHERE id = $1")
_VERSION = sql("SELECT value FROM meta WHERE name = 'subscribers_version'")


class Subscribers:
    """Webhooks of all projects, and the handlers that receive events of every project.

    Args:
        clock_us: the clock of the store.
        keys: seal the secrets of webhooks, which stay sealed until a request is signed.
    """

    def __init__(self, database: Database, clock_us: Callable[[], int], keys: KeyRing) -> None:
        self._database = database
        self._clock_us = clock_us
        self._keys = keys

    async def create(self, webhook: NewWebhook, *, actor: str) -> Subscriber:
        """Create a webhook.

        Raises:
            TooManyWebhooksError: the project has as many as it may.
        """
        now_us, project_id = self._clock_us(), webhook.project_id
        sealed = self._keys.seal(webhook.secret, Purpose.WEBHOOK)
        webhook = msgspec.structs.replace(webhook, secret=sealed)
        headers = self._columns(webhook.headers)

        async def work(tx: Transaction) -> Subscriber:
            count, last_us = await tx.row(_COUNT, project_id) or (0, 0)
            if count >= WEBHOOKS_MAX:
                raise TooManyWebhooksError
            await tx.run(_INSERT, *new_values(webhook, headers, now_us, max(now_us, last_us + 1)))
            detail: dict[str, Any] = {
                "subscriber": webhook.id,
                "url": webhook.url,
                "events": webhook.events,
            }
            if webhook.paused:
                detail["paused"] = True
            if webhook.format is not BodyFormat.HEADRACE:
                detail["format"] = webhook.format
            if webhook.headers:
                detail["headers"] = [name for name, _ in webhook.headers]
            await note_change(tx, now_us, actor, project_id, "webhook.create", detail)
            return await _required(tx, project_id, webhook.id, now_us)

        return await self._change(work)

    async def get(self, project_id: int, subscriber_id: str) -> Subscriber | None:
        """One webhook, None when the project has no such webhook."""
        now_us = self._clock_us()
        return await self._database.read(
            lambda tx: find_webhook(tx, project_id, subscriber_id, now_us)
        )

    async def list(
        self, project_id: int, *, before: int | None, limit: int
    ) -> Sequence[Subscriber]:
        """Webhooks of a project, newest first, below `created_us` of `before`."""
        now_us = self._clock_us()
        below = BIGINT_MAX if before is None else before

        async def read(tx: Transaction) -> Sequence[Subscriber]:
            rows = await tx.rows(LIST, project_id, below, limit)
            return [subscriber(row, now_us) for row in rows]

        return await self._database.read(read)

    async def handlers(self) -> Sequence[Subscriber]:
        """Handlers that workers have registered, by name, at most `HANDLERS_LISTED_MAX`."""
        now_us = self._clock_us()

        async def read(tx: Transaction) -> Sequence[Subscriber]:
            return [subscriber(row, now_us) for row in await tx.rows(_HANDLERS)]

        return await self._database.read(read)

    async def update(
        self, project_id: int, subscriber_id: str, change: WebhookChange, *, actor: str
    ) -> Subscriber | None:
        """Change a webhook; returns it, None when there is none. No change writes nothing.

        Raises:
            UnknownHeaderError: the value of a header is to be kept that the webhook does not have.
            SecretKeyError: the same, and this process does not have the key of the values.
        """
        now_us = self._clock_us()

        async def work(tx: Transaction) -> Subscriber | None:
            before = await find_webhook(tx, project_id, subscriber_id, now_us)
            if before is None:
                return None
            headers = self._headers_after(before, change)
            changes = changes_of(before, change, headers)
            # Enabling an enabled one still closes its breaker.
            if changes or (change.enabled and before.breaker is not None):
                row = await tx.row(_UNSEEN, subscriber_id) or (None, None)
                columns = _columns_of(before)
                if headers is not None:
                    columns = self._columns(headers)
                values = changed_values(before, change, Unseen(row[0], row[1], columns), now_us)
                await tx.run(_UPDATE, *msgspec.structs.astuple(values), now_us, subscriber_id)
                for action, detail in audit_entries(subscriber_id, changes, change):
                    await note_change(tx, now_us, actor, project_id, action, detail)
            return await _required(tx, project_id, subscriber_id, now_us)

        return await self._change(work)

    async def rotate_secret(
        self, project_id: int, subscriber_id: str, secret: str, *, actor: str
    ) -> Subscriber | None:
        """Make `secret` the first one; the previous one still signs for `ROTATION_OVERLAP_US`."""
        now_us = self._clock_us()
        until_us = now_us + ROTATION_OVERLAP_US
        sealed = self._keys.seal(secret, Purpose.WEBHOOK)

        async def work(tx: Transaction) -> Subscriber | None:
            if await find_webhook(tx, project_id, subscriber_id, now_us) is None:
                return None
            await tx.run(_ROTATE, until_us, sealed, now_us, subscriber_id)
            detail = {"subscriber": subscriber_id, "previous_until_us": until_us}
            await note_change(tx, now_us, actor, project_id, "webhook.rotate_secret", detail)
            return await _required(tx, project_id, subscriber_id, now_us)

        return await self._change(work)

    async def delete(self, project_id: int, subscriber_id: str, *, actor: str) -> bool:
        """Delete a webhook. See `Deliveries.expire_unroutable` for what waits."""
        ""
        now_us = self._clock_us()

        async def work(tx: Transaction) -> bool:
            before = await find_webhook(tx, project_id, subscriber_id, now_us)
            if before is None:
                return False
            await tx.run(_DELETE, subscriber_id)
            detail = {"subscriber": subscriber_id, "url": before.target}
            await note_change(tx, now_us, actor, project_id, "webhook.delete", detail)
            return True

        return await self._change(work)

    async def announce_handlers(
        self, handlers: Sequence[LoadedHandler], *, running_since_us: int
    ) -> Sequence[str]:
        """Register the handlers that this worker has loaded; called at start and every half minute.

        Inserts new ones, updates changed patterns, and enables those again that were disabled as
        `NOT_LOADED`. Then disables as `NOT_LOADED` every handler that no worker has registered for
        `HANDLER_UNSEEN_US`, unless this worker itself has run for less: after a downtime the
        workers that have it get as long to come back.

        Returns:
            The subscriber ids of `handlers`, in their order.
        """
        return await announce(self._database, handlers, running_since_us, self._clock_us())

    async def version(self) -> int:
        """Changes with every change of a subscriber; cheap enough to poll every second."""
        return int(await self._database.read(lambda tx: tx.value(_VERSION)) or 0)

    def _headers_after(self, before: Subscriber, change: WebhookChange) -> Headers | None:
        """All own headers after a change; None: as before."""
        wanted = change.headers
        if wanted is None:
            return None
        held: Headers | None = ()
        if before.header_values is not None:
            try:
                text = opened(self._keys, before.header_values, Purpose.WEBHOOK)
            except SecretKeyError:
                if any(value is None for _, value in wanted):
                    raise
                # All of them are replaced, so what they were does not matter.
                held = None
            else:
                values = own_headers.decode(text)
                held = tuple(zip(before.header_names, values, strict=True))
        after = own_headers.merged(wanted, held or ())
        return None if after == held else after

    def _columns(self, headers: Headers) -> HeaderColumns:
        if not headers:
            return HeaderColumns(None, None)
        values = own_headers.encode([value for _, value in headers])
        names = own_headers.encode([name for name, _ in headers])
        return HeaderColumns(names, self._keys.seal(values, Purpose.WEBHOOK))

    async def _change(self, work: Work[T]) -> T:
        async def alone(tx: Transaction) -> T:
            await lock_changes(tx)
            return await work(tx)

        return await self._database.write(alone)


def _columns_of(webhook: Subscriber) -> HeaderColumns:
    if webhook.header_values is None:
        return HeaderColumns(None, None)
    return HeaderColumns(own_headers.encode(webhook.header_names), webhook.header_values)


async def _required(
    tx: Transaction, project_id: int, subscriber_id: str, now_us: int
) -> Subscriber:
    found = await find_webhook(tx, project_id, subscriber_id, now_us)
    assert found is not None
    return found
