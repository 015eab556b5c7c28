"""Handlers that workers have loaded, as subscribers of every project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.store.contract_delivery import HANDLER_UNSEEN_US, NOT_LOADED, LoadedHandler
from headrace.store.postgres.database import Connection, Database
from headrace.store.postgres.subscriber_rows import disable, lock_changes, note_change
from headrace.store.rows.handlers import ACTOR, audit_detail, handler_id
from headrace.store.rows.subscribers import patterns_text

_SEEN = (
    "UPDATE subscribers SET seen_us = greatest(seen_us, $1) WHERE id = ANY($2::text[]) "
    "RETURNING id, events, enabled, disabled_reason"
)
_INSERT = (
    "INSERT INTO subscribers (id, project_id, kind, target, events, seen_us, created_us, "
    "updated_us) SELECT $1, 0, 'handler', $2, $3, $4, "
    "greatest($4, coalesce(max(created_us) + 1, 0)), $4 FROM subscribers WHERE project_id = 0"
)
_UPDATE = (
    "UPDATE subscribers SET events = $1, enabled = true, disabled_reason = NULL, "
    "disabled_us = NULL, updated_us = $2 WHERE id = $3"
)
_UNSEEN = (
    "SELECT id FROM subscribers WHERE project_id = 0 AND kind = 'handler' AND enabled "
    "AND seen_us <= $1 ORDER BY id"
)


async def announce(
    database: Database,
    handlers: Sequence[LoadedHandler],
    running_since_us: int,
    now_us: int,
) -> None:
    """See `headrace.store.contract_delivery.SubscriberStore.announce_handlers`.

    Nearly always nothing changes: then the lock of subscribers is left alone.
    """
    by_id = {handler_id(handler.name): handler for handler in handlers}

    async def look(connection: Connection) -> tuple[bool, bool]:
        seen = await _seen(connection, by_id, now_us)
        changes = any(_differs(seen.get(name), handler) for name, handler in by_id.items())
        return changes, bool(await _unseen(connection, running_since_us, now_us))

    async def change(connection: Connection) -> None:
        await lock_changes(connection)
        seen = await _seen(connection, by_id, now_us)
        for name, handler in by_id.items():
            if _differs(seen.get(name), handler):
                await _write(connection, handler, now_us, known=name in seen)
        for name in await _unseen(connection, running_since_us, now_us):
            since = {"unchanged_since_us": now_us}
            await disable(connection, name, NOT_LOADED, now_us, actor=ACTOR, **since)

    if any(await database.write(look)):
        await database.write(change)


async def _seen(
    connection: Connection, by_id: Mapping[str, LoadedHandler], now_us: int
) -> dict[str, Any]:
    """Mark what is known already; `(events, enabled, reason)` of each."""
    rows = await connection.fetch(_SEEN, now_us, sorted(by_id))
    return {name: held for name, *held in rows}


def _differs(held: Any, handler: LoadedHandler) -> bool:
    if held is None:
        return True
    events, enabled, reason = held
    return events != patterns_text(handler.events) or (not enabled and reason == NOT_LOADED)


async def _write(
    connection: Connection, handler: LoadedHandler, now_us: int, *, known: bool
) -> None:
    subscriber_id, events = handler_id(handler.name), patterns_text(handler.events)
    if known:
        await connection.execute(_UPDATE, events, now_us, subscriber_id)
    else:
        await connection.execute(_INSERT, subscriber_id, handler.name, events, now_us)
    action = "handler.update" if known else "handler.create"
    await note_change(connection, now_us, ACTOR, 0, action, audit_detail(handler))


async def _unseen(connection: Connection, running_since_us: int, now_us: int) -> list[str]:
    if now_us - running_since_us < HANDLER_UNSEEN_US:
        return []
    rows = await connection.fetch(_UNSEEN, now_us - HANDLER_UNSEEN_US)
    return [name for (name,) in rows]
