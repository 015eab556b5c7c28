"""Handlers that workers have loaded, as subscribers of every project."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from headrace.store.contract_delivery import HANDLER_UNSEEN_US, NOT_LOADED, LoadedHandler
from headrace.store.rows.handlers import ACTOR, audit_detail, handler_id
from headrace.store.rows.subscribers import patterns_text
from headrace.store.sqlite.subscriber_rows import disable, note_change

_FIND = "SELECT events, enabled, disabled_reason FROM subscribers WHERE id = ?"
_INSERT = (
    "INSERT INTO subscribers (id, project_id, kind, target, events, seen_us, created_us, "
    "updated_us) SELECT ?1, 0, 'handler', ?2, ?3, ?4, "
    "max(?4, coalesce(max(created_us) + 1, 0)), ?4 FROM subscribers WHERE project_id = 0"
)
_UPDATE = (
    "UPDATE subscribers SET events = ?, enabled = 1, disabled_reason = NULL, disabled_us = NULL, "
    "updated_us = ? WHERE id = ?"
)
_SEEN = "UPDATE subscribers SET seen_us = ? WHERE id = ?"
_UNSEEN = (
    "SELECT id FROM subscribers WHERE project_id = 0 AND kind = 'handler' AND enabled = 1 "
    "AND seen_us <= ?"
)


def announce(
    connection: apsw.Connection,
    handlers: Sequence[LoadedHandler],
    running_since_us: int,
    now_us: int,
) -> Sequence[str]:
    """See `headrace.store.contract_delivery.SubscriberStore.announce_handlers`."""
    for handler in handlers:
        _upsert(connection, handler, now_us)
    if now_us - running_since_us >= HANDLER_UNSEEN_US:
        _disable_unseen(connection, now_us)
    return [handler_id(handler.name) for handler in handlers]


def _upsert(connection: apsw.Connection, handler: LoadedHandler, now_us: int) -> None:
    subscriber_id = handler_id(handler.name)
    events = patterns_text(handler.events)
    found: Any = connection.execute(_FIND, (subscriber_id,)).fetchone()
    detail = audit_detail(handler)
    if found is None:
        connection.execute(_INSERT, (subscriber_id, handler.name, events, now_us))
        note_change(connection, now_us, ACTOR, 0, "handler.create", detail)
        return
    connection.execute(_SEEN, (now_us, subscriber_id))
    held, enabled, reason = found
    if held != events or (not enabled and reason == NOT_LOADED):
        connection.execute(_UPDATE, (events, now_us, subscriber_id))
        note_change(connection, now_us, ACTOR, 0, "handler.update", detail)


def _disable_unseen(connection: apsw.Connection, now_us: int) -> None:
    unseen = connection.execute(_UNSEEN, (now_us - HANDLER_UNSEEN_US,)).fetchall()
    for (subscriber_id,) in unseen:
        disable(
            connection,
            str(subscriber_id),
            NOT_LOADED,
            now_us,
            unchanged_since_us=now_us,
            actor=ACTOR,
        )
