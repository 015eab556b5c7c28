"""Sends to audiences: messages are made slice by slice, with the position in the transaction.

A member of several audiences gets one message, because its id follows from the request and the
contact. Memberships and exclusions are read with the slice, consent when sending.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.domain.messages.places import lane_of_uuid
from headrace.domain.push.content import PushContent
from headrace.domain.push.kinds import NotificationState
from headrace.store.access.audit import write_audit
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Transaction
from headrace.store.messages.message_rows import key_of
from headrace.store.messages.sending.jobs import (
    COLUMNS,
    MEMBERS,
    SendJob,
    job,
    wanted_members,
)
from headrace.store.push.notification_rows import move_open
from headrace.store.push.sends import (
    GET,
    PushSend,
    SendCounts,
    contact_target,
    find_send,
    make_messages,
    push_of,
)

OPEN = sql(
    f"SELECT {COLUMNS} FROM push_jobs WHERE status IN ('scheduled', 'running') AND due_us <= $1 "
    "ORDER BY number LIMIT $2"
)
_HOLD = sql(f"SELECT {COLUMNS} FROM push_jobs WHERE id = $1 FOR UPDATE")
_MOVE = sql(
    "UPDATE push_jobs SET place = $2, position = $3, done = $4, made = $5, status = $6, "
    "updated_us = $7 WHERE id = $1"
)
_STOP = sql(
    "UPDATE push_jobs SET status = 'stopped', updated_us = $3 WHERE id = $1 AND project_id = $2 "
    "AND status IN ('scheduled', 'running')"
)
_HOLD_SEND = sql("SELECT project_id, counts FROM push_sends WHERE lane = $1 AND id = $2 FOR UPDATE")
_STOP_SEND = sql("UPDATE push_sends SET counts = $3 WHERE lane = $1 AND id = $2")
WAITING = sql(
    "SELECT id, message_id FROM push_notifications WHERE send_id = $1 AND id > $2 "
    "AND state IN ('queued', 'deferred') ORDER BY id LIMIT $3"
)
_CANCEL_MESSAGE = sql(
    "UPDATE messages SET state = 'cancelled', reason = 'cancelled_by', due_us = NULL, "
    "finished_us = $3 WHERE lane = $1 AND id = $2 AND due_us IS NOT NULL "
    "AND state IN ('queued', 'deferred')"
)
#: Notifications that a stop cancels at once, and those of one transaction.
CANCELLED_MAX, CANCEL_SLICE = 10_000, 500


class PushJobs:
    """Sends to audiences of all projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def running(self, now_us: int, limit: int) -> Sequence[SendJob]:
        """Jobs of all projects that are due and not done, oldest first."""
        rows = await self._database.read(lambda tx: tx.rows(OPEN, now_us, limit))
        return [job(row) for row in rows]

    async def stop(
        self, project_id: int, send_id: str, now_us: int, *, actor: str
    ) -> PushSend | None:
        """Make no more messages of a request, and cancel those that wait.

        The first `CANCELLED_MAX` are cancelled here, others when a worker takes them. One that a
        worker has taken is sent.

        Returns:
            The request after it; None when the project has no such request.
        """

        async def begin(tx: Transaction) -> bool:
            held = await tx.row(_HOLD_SEND, lane_of_uuid(send_id), send_id)
            if held is None or held[0] != project_id:
                return False
            counts = msgspec.json.decode(held[1], type=SendCounts)
            if not counts.stopped:
                text = msgspec.json.encode(msgspec.structs.replace(counts, stopped=True)).decode()
                await tx.run(_STOP_SEND, lane_of_uuid(send_id), send_id, text)
                await write_audit(tx, now_us, actor, project_id, "push.stop", {"send": send_id})
            await tx.run(_STOP, send_id, project_id, now_us)
            return True

        if not await self._database.write(begin):
            return None
        after = ""
        for _ in range(CANCELLED_MAX // CANCEL_SLICE):

            async def cancel(tx: Transaction, after: str = after) -> str | None:
                return await _cancel(tx, send_id, after, now_us)

            following = await self._database.write(cancel)
            if following is None:
                break
            after = following
        return await self._database.read(
            lambda tx: find_send(tx, project_id, send_id), snapshot=True
        )

    async def advance(self, job_id: str, limit: int, now_us: int) -> tuple[int, bool]:
        """Make the messages of up to `limit` further contacts.

        Returns:
            How many contacts were examined, and whether the job continues.
        """
        return await self._database.write(lambda tx: _advance(tx, job_id, limit, now_us))


async def _cancel(tx: Transaction, send_id: str, after: str, now_us: int) -> str | None:
    """Cancel a slice; returns the notification after which the next begins, None at the end."""
    rows = await tx.rows(WAITING, send_id, after, CANCEL_SLICE)
    state = NotificationState.CANCELLED.value
    for message_id in sorted({row[1] for row in rows if row[1] is not None}):
        if await tx.run(_CANCEL_MESSAGE, *key_of(message_id), now_us):
            await move_open(tx, message_id, state, "cancelled_by", now_us)
    return rows[-1][0] if len(rows) == CANCEL_SLICE else None


async def _advance(tx: Transaction, job_id: str, limit: int, now_us: int) -> tuple[int, bool]:
    row = await tx.row(_HOLD, job_id)
    if row is None:
        return 0, False
    held = job(row)
    send = await tx.row(GET, lane_of_uuid(job_id), job_id)
    if held.status not in {"scheduled", "running"} or held.due_us > now_us or send is None:
        return 0, False
    place, position = held.place, held.position
    looked, made = 0, 0
    if place < len(held.audiences):
        rows = await tx.rows(MEMBERS, held.audiences[place], position, limit)
        looked = len(rows)
        content = msgspec.json.decode(send[4], type=PushContent)
        push = push_of(job_id, send[2], content)
        wanted = await wanted_members(tx, rows, held.excluded)
        targets = sorted(
            (contact_target(job_id, each, push) for each in wanted), key=lambda one: one.id
        )
        made = len(targets)
        await make_messages(tx, held.project_id, targets, content, now_us, now_us)
        position = rows[-1][0] if looked == limit else -1
        place += looked < limit
    has_more = place < len(held.audiences)
    progress = (place, position, held.done + looked, held.made + made)
    await tx.run(_MOVE, job_id, *progress, "running" if has_more else "done", now_us)
    return looked, has_more
