"""What devices report about notifications, and the event about the opening of one.

A notification is opened once, whatever is reported afterwards. Its event is emitted two seconds
later, so that the button of the same tap is part of it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.domain.messages.places import lane_of_uuid
from headrace.domain.push.client_events import ACTION, CLICK, DELIVERY, DISMISS, OPEN, TAP_US
from headrace.domain.push.kinds import (
    PUSH_CLICK,
    PUSH_DELIVERY,
    PUSH_DISMISS,
    PUSH_OPEN,
    Platform,
)
from headrace.store.access.sending_policies import wants_event
from headrace.store.contacts.refs import find_ref
from headrace.store.contract.processing import SystemEvent
from headrace.store.engine.dialect import sql
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Database, Row, Transaction
from headrace.store.push.device_rows import find_device

_COLUMNS = (
    "id, project_id, app_id, device_id, contact_id, message_id, platform, opened_us, action_id, "
    "open_due_us"
)
_HOLD = sql(f"SELECT {_COLUMNS} FROM push_notifications WHERE lane = $1 AND id = $2 FOR UPDATE")
_COUNT = sql(
    "INSERT INTO push_engagement (lane, notification_id, kind, action_id, count, first_us, "
    "last_us) VALUES ($1, $2, $3, $4, 1, $5, $5) "
    "ON CONFLICT (lane, notification_id, kind, action_id) DO UPDATE SET "
    "count = push_engagement.count + 1, "
    "last_us = greatest(push_engagement.last_us, excluded.last_us) RETURNING count"
)
_OPENED = sql(
    "UPDATE push_notifications SET opened_us = $3, action_id = $4, open_due_us = $5 "
    "WHERE lane = $1 AND id = $2"
)
_EMITTED = sql("UPDATE push_notifications SET open_due_us = NULL WHERE lane = $1 AND id = $2")
NEAR = sql(
    "SELECT kind, action_id FROM push_engagement WHERE lane = $1 AND notification_id = $2 "
    "AND last_us >= $3"
)
DUE = sql(
    "SELECT lane, id FROM push_notifications WHERE open_due_us <= $1 ORDER BY open_due_us LIMIT $2"
)
_MESSAGE = sql(
    "SELECT automation_id, run_id, step_key, template_version_id FROM messages "
    "WHERE lane = $1 AND id = $2"
)
#: Buttons of one notification that are counted apart; there are three at most.
BUTTONS_MAX = 10
_BUTTONS = sql(
    "SELECT count(*) FROM push_engagement WHERE lane = $1 AND notification_id = $2 AND kind = $3"
)
_OPTIONAL = {DELIVERY: PUSH_DELIVERY, CLICK: PUSH_CLICK, DISMISS: PUSH_DISMISS}


class _Notification(msgspec.Struct, frozen=True):
    """A notification whose row is locked."""

    id: str
    project_id: int
    app_id: str
    device_id: str | None
    contact_id: str | None
    message_id: str | None
    platform: str
    opened_us: int | None
    action_id: str | None
    open_due_us: int | None

    @property
    def key(self) -> tuple[int, str]:
        return lane_of_uuid(self.id), self.id

    def awaits_button(self, now_us: int) -> bool:
        """Whether it was opened so lately that a button is part of the same tap."""
        is_recent = self.open_due_us is not None and now_us <= self.open_due_us
        return is_recent and self.action_id is None


class Reports:
    """Reports of devices in all projects."""

    def __init__(self, database: Database, system_events: SystemEvents) -> None:
        self._database = database
        self._system_events = system_events

    async def note(
        self,
        app_id: str,
        device_id: str,
        notification_id: str,
        kind: str,
        action_id: str | None,
        now_us: int,
    ) -> bool:
        """Count a report.

        Args:
            kind: one of `headrace.domain.push.client_events.REPORTS`.

        Returns:
            False when the device got no such notification.
        """

        async def work(tx: Transaction) -> bool:
            held = await _hold(tx, notification_id)
            if held is None or held.app_id != app_id or held.device_id not in {None, device_id}:
                return False
            button = action_id or ""
            if button and await tx.value(_BUTTONS, *held.key, kind) >= BUTTONS_MAX:
                button = ""
            count = await tx.value(_COUNT, *held.key, kind, button, now_us)
            if kind == OPEN and held.opened_us is None:
                near = await tx.rows(NEAR, *held.key, now_us - TAP_US)
                buttons = [row[1] for row in near if row[0] in {CLICK, ACTION} and row[1]]
                action = buttons[0] if buttons else None
                await tx.run(_OPENED, *held.key, now_us, action, now_us + TAP_US)
            elif kind in {CLICK, ACTION} and button and held.awaits_button(now_us):
                await tx.run(_OPENED, *held.key, held.opened_us, button, held.open_due_us)
            if count == 1:
                await self._emit_optional(tx, held, device_id, kind, action_id, now_us)
            return True

        return await self._database.write(work)

    async def _emit_optional(
        self,
        tx: Transaction,
        held: _Notification,
        device_id: str,
        kind: str,
        action_id: str | None,
        now_us: int,
    ) -> None:
        name = _OPTIONAL.get(kind)
        if name is None or not await wants_event(tx, held.project_id, name):
            return
        own = msgspec.structs.replace(held, device_id=held.device_id or device_id)
        events = await push_event(tx, own, name, action_id=action_id)
        await self._system_events.insert(tx, events, now_us)

    async def settle(self, now_us: int, limit: int) -> int:
        """Emit the events of openings that are due; returns how many openings."""
        rows = await self._database.read(lambda tx: tx.rows(DUE, now_us, limit))
        if not rows:
            return 0

        async def work(tx: Transaction) -> int:
            settled = 0
            for _, notification_id in sorted((row[0], row[1]) for row in rows):
                held = await _hold(tx, notification_id)
                # Another worker may have emitted it meanwhile.
                if held is not None and held.open_due_us is not None:
                    await self._settle(tx, held, now_us)
                    settled += 1
            return settled

        return await self._database.write(work)

    async def _settle(self, tx: Transaction, held: _Notification, now_us: int) -> None:
        opened_us = held.opened_us or 0
        if held.platform == Platform.IOS.value:
            # A dismissal on iOS is reported as an opening, too.
            near = {row[0] for row in await tx.rows(NEAR, *held.key, opened_us - TAP_US)}
            if DISMISS in near and not near & {CLICK, ACTION}:
                await tx.run(_OPENED, *held.key, None, None, None)
                return
        await tx.run(_EMITTED, *held.key)
        events = await push_event(tx, held, PUSH_OPEN, action_id=held.action_id)
        await self._system_events.insert(tx, events, now_us)


async def _hold(tx: Transaction, notification_id: str) -> _Notification | None:
    row: Row | None = await tx.row(_HOLD, lane_of_uuid(notification_id), notification_id)
    return None if row is None else _Notification(*row)


async def push_event(
    tx: Transaction, held: _Notification, name: str, **payload: Any
) -> list[SystemEvent]:
    """The event about a notification; empty without a known contact."""
    contact_id = held.contact_id
    if contact_id is None and held.device_id is not None:
        device = await find_device(tx, held.app_id, held.device_id)
        contact_id = None if device is None else device.contact_id
    if contact_id is None:
        return []
    contact = await find_ref(tx, held.project_id, contact_id)
    if contact is None:
        return []
    of_message: Row = (None, None, None, None)
    if held.message_id is not None:
        found = await tx.row(_MESSAGE, lane_of_uuid(held.message_id), held.message_id)
        of_message = found or of_message
    automation_id, run_id, step_key, template_version_id = of_message
    members = {
        "message_id": held.message_id,
        "channel": "push",
        "contact_id": contact.id,
        "automation_id": automation_id,
        "run_id": run_id,
        "step_key": step_key,
        "template_version_id": template_version_id,
        "app_id": held.app_id,
        "device_id": held.device_id,
        "platform": held.platform,
        "notification_id": held.id,
        **payload,
    }
    return [contact.event(name, msgspec.json.encode(members).decode())]
