"""Registers Python handlers that workers have loaded as subscribers of every project."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.store.contract.deliveries import HANDLER_UNSEEN_US, NOT_LOADED, LoadedHandler
from headrace.store.deliveries.subscriber_rows import (
    disable,
    lock_changes,
    note_change,
    patterns_text,
)
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Transaction

#: Names of handlers become ids in this namespace, the same in every process and release.
_NAMESPACE = uuid.UUID("5f0a4c1e-6d0b-5c83-9a57-0d9b1f7a2c44")
#: Who announces them.
_ACTOR = "worker"
_SEEN = sql(
    "UPDATE subscribers SET seen_us = greatest(seen_us, $1) WHERE id = ANY($2::text[]) "
    "RETURNING id, events, enabled, disabled_reason"
)
_INSERT = sql(
    "INSERT INTO subscribers (id, project_id, kind, target, events, seen_us, created_us, "
    "updated_us) SELECT $1, 0, 'handler', $2, $3, $4, "
    "greatest($4, coalesce(max(created_us) + 1, 0)), $4 FROM subscribers WHERE project_id = 0"
)
_UPDATE = sql(
    "UPDATE subscribers SET events = $1, enabled = true, disabled_reason = NULL, "
    "disabled_us = NULL, updated_us = $2 WHERE id = $3"
)
_UNSEEN = sql(
    "SELECT id FROM subscribers WHERE project_id = 0 AND kind = 'handler' AND enabled "
    "AND seen_us <= $1 ORDER BY id"
)


async def announce(
    database: Database, handlers: Sequence[LoadedHandler], running_since_us: int, now_us: int
) -> list[str]:
    """See `Subscribers.announce_handlers`.

    Usually nothing changes: then the lock of subscribers is not taken.
    """
    by_id = {_handler_id(handler.name): handler for handler in handlers}

    async def mark_known(tx: Transaction) -> bool:
        seen = await _seen(tx, by_id, now_us)
        changes = any(_differs(seen.get(name), handler) for name, handler in by_id.items())
        return changes or bool(await _unseen(tx, running_since_us, now_us))

    async def change(tx: Transaction) -> None:
        await lock_changes(tx)
        seen = await _seen(tx, by_id, now_us)
        for name, handler in by_id.items():
            if _differs(seen.get(name), handler):
                await _write(tx, name, handler, now_us, known=name in seen)
        for name in await _unseen(tx, running_since_us, now_us):
            since = {"unchanged_since_us": now_us}
            await disable(tx, name, NOT_LOADED, now_us, actor=_ACTOR, **since)

    if await database.write(mark_known):
        await database.write(change)
    return [_handler_id(handler.name) for handler in handlers]


def _handler_id(name: str) -> str:
    """Subscriber id of a handler."""
    return str(uuid.uuid5(_NAMESPACE, name))


async def _seen(
    tx: Transaction, by_id: Mapping[str, LoadedHandler], now_us: int
) -> dict[str, Sequence[Any]]:
    """Mark known handlers as seen; returns `(events, enabled, reason)` of each."""
    rows = await tx.rows(_SEEN, now_us, sorted(by_id))
    return {name: held for name, *held in rows}


def _differs(held: Sequence[Any] | None, handler: LoadedHandler) -> bool:
    if held is None:
        return True
    events, enabled, reason = held
    return bool(events != patterns_text(handler.events) or (not enabled and reason == NOT_LOADED))


async def _write(
    tx: Transaction, subscriber_id: str, handler: LoadedHandler, now_us: int, *, known: bool
) -> None:
    events = patterns_text(handler.events)
    if known:
        await tx.run(_UPDATE, events, now_us, subscriber_id)
    else:
        await tx.run(_INSERT, subscriber_id, handler.name, events, now_us)
    action = "handler.update" if known else "handler.create"
    detail = {"subscriber": subscriber_id, "handler": handler.name, "events": handler.events}
    await note_change(tx, now_us, _ACTOR, 0, action, detail)


async def _unseen(tx: Transaction, running_since_us: int, now_us: int) -> list[str]:
    if now_us - running_since_us < HANDLER_UNSEEN_US:
        return []
    return [row[0] for row in await tx.rows(_UNSEEN, now_us - HANDLER_UNSEEN_US)]
