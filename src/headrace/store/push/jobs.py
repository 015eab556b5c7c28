"""Sends to audiences: messages are made slice by slice, with the position in the transaction.

A member of several audiences gets one message, because its id follows from the request and the
contact. Memberships and exclusions are read with the slice, consent when sending.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.domain.messages.places import lane_of_uuid
from headrace.domain.push.content import PushContent
from headrace.store.access.audit import write_audit
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Transaction
from headrace.store.messages.sending.jobs import (
    COLUMNS,
    MEMBERS,
    SendJob,
    job,
    wanted_members,
)
from headrace.store.push.sends import GET, contact_target, make_messages, push_of

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


class PushJobs:
    """Sends to audiences of all projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def running(self, now_us: int, limit: int) -> Sequence[SendJob]:
        """Jobs of all projects that are due and not done, oldest first."""
        rows = await self._database.read(lambda tx: tx.rows(OPEN, now_us, limit))
        return [job(row) for row in rows]

    async def stop(self, project_id: int, job_id: str, now_us: int, *, actor: str) -> bool:
        """Make no more messages; those made are sent. False when it does not run."""

        async def work(tx: Transaction) -> bool:
            if not await tx.run(_STOP, job_id, project_id, now_us):
                return False
            await write_audit(tx, now_us, actor, project_id, "push.stop", {"send": job_id})
            return True

        return await self._database.write(work)

    async def advance(self, job_id: str, limit: int, now_us: int) -> tuple[int, bool]:
        """Make the messages of up to `limit` further contacts.

        Returns:
            How many contacts were examined, and whether the job continues.
        """
        return await self._database.write(lambda tx: _advance(tx, job_id, limit, now_us))


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
