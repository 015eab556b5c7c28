"""Removal of devices, what they keep, and notifications, past the project's retention.

A device on which somebody is logged in stays as long as its app. Others go when they have not been
seen for as long as events are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

from headrace.store.access.policies import read_policies, stored_policy
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Row, Transaction
from headrace.store.push.sends import remove_sends

#: Policy of notifications, and its default; the same as that of messages.
_POLICY, _DAYS = "run_retention_days", 90
_DAY_US = 86_400_000_000

_PROJECTS = sql("SELECT id FROM projects")
UNSEEN = sql(
    "SELECT lane, app_id, id FROM push_devices WHERE project_id = $1 AND contact_id IS NULL "
    "AND seen_us < $2 ORDER BY seen_us LIMIT $3"
)
OLD_EVENTS = sql(
    "SELECT lane, app_id, device_id, id FROM push_device_events WHERE project_id = $1 "
    "AND received_us < $2 ORDER BY received_us LIMIT $3"
)
# Devices of apps that were deleted. Their ids are found one by one by the index on apps.
NEXT_APP = sql("SELECT app_id FROM push_devices WHERE app_id > $1 ORDER BY app_id LIMIT 1")
_IS_APP = sql("SELECT 1 FROM push_apps WHERE id = $1")
OF_APP = sql("SELECT lane, app_id, id FROM push_devices WHERE app_id = $1 LIMIT $2")
FINISHED = sql(
    "SELECT lane, id FROM push_notifications WHERE project_id = $1 AND finished_us < $2 "
    "ORDER BY finished_us LIMIT $3"
)
_DEVICES = (
    "(SELECT k.lane, k.app_id, k.id FROM unnest($1::smallint[], $2::text[], $3::text[]) "
    "AS k (lane, app_id, id))"
)
_NOTIFICATIONS = "(SELECT k.lane, k.id FROM unnest($1::smallint[], $2::text[]) AS k (lane, id))"
REMOVE_EVENTS_OF = sql(
    f"DELETE FROM push_device_events WHERE (lane, app_id, device_id) IN {_DEVICES}"
)
REMOVE_DEVICES = sql(f"DELETE FROM push_devices WHERE (lane, app_id, id) IN {_DEVICES}")
_REMOVE_EVENT = sql(
    "DELETE FROM push_device_events WHERE lane = $1 AND app_id = $2 AND device_id = $3 AND id = $4"
)
_UNCOUNT = sql(
    "UPDATE push_devices SET kept_events = greatest(kept_events - 1, 0) "
    "WHERE lane = $1 AND app_id = $2 AND id = $3"
)
_SENDS_OF = sql(
    "SELECT DISTINCT send_id FROM push_notifications WHERE send_id IS NOT NULL "
    f"AND (lane, id) IN {_NOTIFICATIONS}"
)
REMOVE_NOTIFICATIONS = tuple(
    (table, sql(f"DELETE FROM {table} WHERE (lane, {column}) IN {_NOTIFICATIONS}"))
    for table, column in (
        ("push_attempts", "notification_id"),
        ("push_engagement", "notification_id"),
        ("push_notifications", "id"),
    )
)


async def remove_devices(tx: Transaction, keys: Sequence[Row]) -> dict[str, int]:
    """Remove devices, by `lane, app_id, id`, with what they keep; rows by place."""
    columns = columns_of(sorted((key[0], key[1], key[2]) for key in keys), 3)
    return {
        "push_device_events": await tx.run(REMOVE_EVENTS_OF, *columns),
        "push_devices": await tx.run(REMOVE_DEVICES, *columns),
    }


async def remove_notifications(tx: Transaction, keys: Sequence[Row]) -> dict[str, int]:
    """Remove notifications, by `lane, id`, with all their rows; rows by place."""
    columns = columns_of(sorted((key[0], key[1]) for key in keys), 2)
    sends = [row[0] for row in await tx.rows(_SENDS_OF, *columns)]
    counts = {table: await tx.run(each, *columns) for table, each in REMOVE_NOTIFICATIONS}
    # What they said goes with the last of them.
    await remove_sends(tx, sends)
    return counts


class PushRemoval:
    """Removal in all projects."""

    def __init__(self, database: Database) -> None:
        self._database = database
        #: The app that was looked at last.
        self._after = ""

    async def prune(self, now_us: int, limit: int) -> int:
        """Remove up to `limit` rows of each kind; returns how many."""
        removed = await self._prune_apps(limit)
        for (project_id,) in await self._database.read(lambda tx: tx.rows(_PROJECTS)):
            if removed >= limit:
                break
            removed += await self._prune(project_id, now_us, limit - removed)
        return removed

    async def _prune_apps(self, limit: int) -> int:
        """Remove devices of the next app, if it was deleted."""

        async def find(tx: Transaction) -> tuple[str, Sequence[Row]]:
            row = await tx.row(NEXT_APP, self._after)
            if row is None:
                return "", []
            if await tx.row(_IS_APP, row[0]) is not None:
                return row[0], []
            # The same one again, until it has no devices.
            return self._after, await tx.rows(OF_APP, row[0], limit)

        self._after, keys = await self._database.read(find)
        if not keys:
            return 0
        counts = await self._database.write(lambda tx: remove_devices(tx, keys))
        return counts["push_devices"]

    async def _prune(self, project_id: int, now_us: int, limit: int) -> int:
        async def find(tx: Transaction) -> list[Sequence[Row]]:
            policies = await read_policies(tx, project_id)
            days = await stored_policy(tx, project_id, _POLICY) or _DAYS
            before_us = now_us - policies.event_retention_days * _DAY_US
            return [
                await tx.rows(OLD_EVENTS, project_id, before_us, limit),
                await tx.rows(UNSEEN, project_id, before_us, limit),
                await tx.rows(FINISHED, project_id, now_us - int(days) * _DAY_US, limit),
            ]

        # Usually there is nothing: then the write lock of SQLite is not taken.
        events, devices, notifications = await self._database.read(find)
        if not events and not devices and not notifications:
            return 0

        async def work(tx: Transaction) -> int:
            for lane, app_id, device_id, event_id in sorted(tuple(row) for row in events):
                if await tx.run(_REMOVE_EVENT, lane, app_id, device_id, event_id):
                    await tx.run(_UNCOUNT, lane, app_id, device_id)
            await remove_devices(tx, devices)
            await remove_notifications(tx, notifications)
            return len(events) + len(devices) + len(notifications)

        return await self._database.write(work)
