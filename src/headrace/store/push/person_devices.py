"""Devices of a person with their notifications, for erasure and export."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.store.contract.push import (
    COPIED_MAX,
    KEPT_EVENTS_MAX,
    Device,
    DeviceCopy,
    KeptEvent,
    NotificationCopy,
    PushAttempt,
    PushEngagement,
)
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction
from headrace.store.privacy.rows import added
from headrace.store.push.device_rows import OF_CONTACT, device, key_of
from headrace.store.push.devices import KEPT, NOTIFICATIONS
from headrace.store.push.notification_view import notification
from headrace.store.push.removal import remove_devices, remove_notifications

#: The project, too: an id of a contact may be of another one.
_OF = "contact_id = ANY($1::text[]) AND contact_id IS NOT NULL AND project_id = $2"
DEVICES = sql(f"SELECT lane, app_id, id FROM push_devices WHERE {_OF} LIMIT $3")
TO_CONTACT = sql(f"SELECT lane, id FROM push_notifications WHERE {_OF} LIMIT $3")
TO_DEVICE = sql(
    "SELECT lane, id FROM push_notifications WHERE app_id = $1 AND device_id = $2 "
    "AND device_id IS NOT NULL LIMIT $3"
)
# Notifications to the person by any of the two ways, once each.
_NOTIFIED = (
    "(SELECT n.lane, n.id FROM unnest($1::text[]) AS k (id) "
    "JOIN push_notifications n ON n.contact_id = k.id AND n.project_id = $2 "
    "UNION SELECT n.lane, n.id FROM unnest($1::text[]) AS k (id) "
    "JOIN push_devices d ON d.contact_id = k.id AND d.project_id = $2 "
    "JOIN push_notifications n ON n.app_id = d.app_id AND n.device_id = d.id "
    "WHERE n.device_id IS NOT NULL)"
)
COUNTS = {
    "push_devices": sql(f"SELECT count(*) FROM push_devices WHERE {_OF}"),
    "push_device_events": sql(
        "SELECT count(*) FROM unnest($1::text[]) AS k (id) "
        "JOIN push_devices d ON d.contact_id = k.id AND d.project_id = $2 "
        "JOIN push_device_events e ON e.lane = d.lane AND e.app_id = d.app_id "
        "AND e.device_id = d.id"
    ),
    "push_notifications": sql(f"SELECT count(*) FROM {_NOTIFIED} AS o"),
} | {
    table: sql(
        f"SELECT count(*) FROM {_NOTIFIED} AS o "
        f"JOIN {table} a ON a.lane = o.lane AND a.notification_id = o.id"
    )
    for table in ("push_attempts", "push_engagement")
}
_ATTEMPT = ", ".join(field.name for field in msgspec.structs.fields(PushAttempt))
ATTEMPTS = sql(
    f"SELECT {_ATTEMPT} FROM push_attempts WHERE lane = $1 AND notification_id = $2 ORDER BY number"
)
_ENGAGEMENT = ", ".join(field.name for field in msgspec.structs.fields(PushEngagement))
ENGAGEMENT = sql(
    f"SELECT {_ENGAGEMENT} FROM push_engagement WHERE lane = $1 AND notification_id = $2 "
    "ORDER BY kind, action_id"
)


async def has_devices(tx: Transaction, project_id: int, contact_ids: Sequence[str]) -> bool:
    """Whether a device of one of the contacts, or a notification to one, is kept."""
    ids = list(contact_ids)
    found = await tx.row(DEVICES, ids, project_id, 1) or await tx.row(
        TO_CONTACT, ids, project_id, 1
    )
    return found is not None


async def erase_devices(
    tx: Transaction, project_id: int, contact_ids: Sequence[str], limit: int
) -> dict[str, int] | None:
    """Remove up to `limit` devices or notifications; rows by place, None when none is left."""
    ids = list(contact_ids)
    notified = await tx.rows(TO_CONTACT, ids, project_id, limit)
    if notified:
        return added({}, await remove_notifications(tx, notified))
    devices = await tx.rows(DEVICES, ids, project_id, limit)
    for _, app_id, device_id in devices:
        notified = await tx.rows(TO_DEVICE, app_id, device_id, limit)
        if notified:
            return added({}, await remove_notifications(tx, notified))
    return added({}, await remove_devices(tx, devices)) if devices else None


async def count_devices(
    tx: Transaction, project_id: int, contact_ids: Sequence[str]
) -> dict[str, int]:
    """Rows by place that `erase_devices` would remove, all of them."""
    ids = list(contact_ids)
    return added(
        {}, {table: await tx.value(each, ids, project_id) for table, each in COUNTS.items()}
    )


async def copy_devices(
    tx: Transaction, project_id: int, contact_ids: Sequence[str]
) -> list[DeviceCopy]:
    """Devices of a person with everything that is kept about them."""
    rows = await tx.rows(OF_CONTACT, list(contact_ids))
    found = [device(row) for row in rows]
    return [await _copy(tx, one) for one in found if one.project_id == project_id]


async def _copy(tx: Transaction, of: Device) -> DeviceCopy:
    kept = await tx.rows(KEPT, *key_of(of.app_id, of.id), KEPT_EVENTS_MAX)
    rows = await tx.rows(NOTIFICATIONS, of.app_id, of.id, COPIED_MAX)
    return DeviceCopy(
        device=of,
        kept=tuple(KeptEvent(id=a, event=b, payload=c, received_us=d) for a, b, c, d in kept),
        notifications=tuple([await _notification_copy(tx, row) for row in rows]),
    )


async def _notification_copy(tx: Transaction, row: Sequence[object]) -> NotificationCopy:
    held = notification(row)
    attempts = await tx.rows(ATTEMPTS, held.lane, held.id)
    engagement = await tx.rows(ENGAGEMENT, held.lane, held.id)
    names, kinds = _ATTEMPT.split(", "), _ENGAGEMENT.split(", ")
    return NotificationCopy(
        notification=held,
        attempts=tuple(PushAttempt(**dict(zip(names, one, strict=True))) for one in attempts),
        engagement=tuple(
            PushEngagement(**dict(zip(kinds, one, strict=True))) for one in engagement
        ),
    )
