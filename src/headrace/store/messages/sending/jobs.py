"""Sends to audiences: messages are created slice by slice, with the position in the transaction.

A member of several audiences gets one message, because its id follows from the e-mail and the
address. Memberships and exclusions are read with the slice, consent when sending.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.domain.messages.addresses import Mailbox
from headrace.domain.messages.email_request import EmailRequest
from headrace.domain.messages.places import email_id, lane_of_uuid
from headrace.domain.messages.tokens import message_id
from headrace.store.access.audit import write_audit
from headrace.store.contacts.races import ContactRaceError, write_contacts
from headrace.store.contract.messages import Email
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import BIGINT_MAX
from headrace.store.engine.transaction import Database, Row, Transaction
from headrace.store.messages.content.bodies import keep_parts, parts_of
from headrace.store.messages.content.domains import BY_NAME, domain
from headrace.store.messages.message_rows import GET_EMAIL, email
from headrace.store.messages.sending.emails import (
    REQUEST_HASH,
    NewMessage,
    content_of,
    insert_email,
    insert_messages,
    request_hash,
)

COLUMNS = (
    "number, id, project_id, audiences, excluded, per_second, place, position, total, done, made, "
    "status, actor, due_us, created_us, updated_us"
)
#: Contacts that a dry run shows.
SAMPLE = 10
#: Counting stops here.
COUNTED_MAX = 10_000_000
#: Messages that one count by state reads.
OUTCOMES_MAX = 100_000

_GET_TEXT = f"SELECT {COLUMNS} FROM send_jobs"
GET = sql(f"{_GET_TEXT} WHERE id = $1 AND project_id = $2")
_HOLD = sql(f"{_GET_TEXT} WHERE id = $1 FOR UPDATE")
LIST = sql(f"{_GET_TEXT} WHERE project_id = $1 AND number < $2 ORDER BY number DESC LIMIT $3")
OPEN = sql(
    f"{_GET_TEXT} WHERE status IN ('scheduled', 'running') AND due_us <= $1 "
    "ORDER BY number LIMIT $2"
)
_INSERT = sql(
    "INSERT INTO send_jobs (id, project_id, audiences, excluded, per_second, total, status, "
    "actor, due_us, created_us, updated_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)"
)
_MOVE = sql(
    "UPDATE send_jobs SET place = $2, position = $3, done = $4, made = $5, status = $6, "
    "updated_us = $7 WHERE id = $1"
)
_STOP = sql(
    "UPDATE send_jobs SET status = 'stopped', updated_us = $3 WHERE id = $1 AND project_id = $2 "
    "AND status IN ('draft', 'scheduled', 'running', 'paused')"
)
_START = sql(
    "UPDATE send_jobs SET per_second = $3, total = $4, updated_us = $5, "
    "status = CASE WHEN due_us > $5 THEN 'scheduled' ELSE 'running' END "
    "WHERE id = $1 AND project_id = $2 AND status IN ('draft', 'paused')"
)
_PAUSE = sql(
    "UPDATE send_jobs SET status = 'paused', updated_us = $3 "
    "WHERE id = $1 AND project_id = $2 AND status IN ('scheduled', 'running')"
)
# Messages of the job that no worker has begun to send.
CANCEL_MADE = sql(
    "UPDATE messages SET state = 'cancelled', reason = 'cancelled_by', due_us = NULL, "
    "finished_us = $2 WHERE email_id = $1 AND due_us IS NOT NULL "
    "AND state IN ('queued', 'deferred')"
)
OUTCOMES = sql(
    "SELECT state, reason, count(*) FROM (SELECT state, reason FROM messages WHERE email_id = $1 "
    "LIMIT $2) AS counted GROUP BY state, reason ORDER BY count(*) DESC, state, reason"
)
_OUTSIDE = (
    "NOT EXISTS (SELECT 1 FROM audience_members x WHERE x.lane = m.lane "
    "AND x.contact_id = m.contact_id AND x.audience_id = ANY($2::text[]))"
)
COUNT = sql(
    "SELECT count(*) FROM (SELECT DISTINCT m.contact_number FROM audience_members m "
    f"WHERE m.audience_id = ANY($1::text[]) AND {_OUTSIDE} LIMIT $3) AS counted"
)
MEMBERS = sql(
    "SELECT m.contact_number, m.lane, m.contact_id FROM audience_members m "
    "WHERE m.audience_id = $1 AND m.contact_number > $2 ORDER BY m.contact_number LIMIT $3"
)
INSIDE = sql(
    "SELECT x.contact_id FROM unnest($1::smallint[], $2::text[]) AS k (lane, id) "
    "JOIN audience_members x ON x.lane = k.lane AND x.contact_id = k.id "
    "WHERE x.audience_id = ANY($3::text[])"
)
ADDRESSES = sql(
    "SELECT c.id, c.email, c.email_original "
    "FROM unnest($1::smallint[], $2::text[]) AS k (lane, id) "
    "JOIN contacts c ON c.lane = k.lane AND c.id = k.id WHERE c.project_id = $3"
)


class SendJob(msgspec.Struct, frozen=True, kw_only=True):
    """One send to audiences. Its id is that of the e-mail."""

    number: int
    id: str
    project_id: int
    audiences: tuple[str, ...]
    excluded: tuple[str, ...]
    per_second: int | None
    #: Position: which of the audiences, and after which contact.
    place: int
    position: int
    total: int
    done: int
    made: int
    #: `draft`, `scheduled`, `running`, `paused`, `done` or `stopped`.
    status: str
    actor: str
    due_us: int
    created_us: int
    updated_us: int


class Preview(msgspec.Struct, frozen=True):
    """The recipients of a job."""

    count: int
    #: Ids of some of the contacts.
    sample: list[str]


class SendJobs:
    """Jobs of all projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def preview(self, project_id: int, request: EmailRequest) -> Preview:
        """The recipients of what `create` would send."""
        audiences, excluded = list(request.audiences), list(request.excluded_audiences)

        async def read(tx: Transaction) -> Preview:
            sample: list[str] = []
            for audience in audiences:
                rows = await tx.rows(MEMBERS, audience, -1, SAMPLE * 10)
                wanted = await wanted_members(tx, rows, excluded)
                sample += [each for each in wanted if each not in sample]
            count = await tx.value(COUNT, audiences, excluded, COUNTED_MAX)
            return Preview(count, sample[:SAMPLE])

        del project_id
        return await self._database.read(read, snapshot=True)

    async def create(
        self,
        project_id: int,
        request: EmailRequest,
        now_us: int,
        *,
        actor: str,
        draft: bool = False,
    ) -> tuple[SendJob, bool, bool]:
        """Begin a job, or find that of the first request with its key.

        Args:
            draft: whether it waits for `start`.

        Returns:
            The job, whether it was there already, and whether the key was used for something else.
        """
        job_id = email_id(project_id, request.idempotency_key)
        count = (await self.preview(project_id, request)).count

        async def work(tx: Transaction) -> tuple[SendJob, bool, bool]:
            row = await tx.row(GET, job_id, project_id)
            if row is not None:
                held = await tx.value(REQUEST_HASH, lane_of_uuid(job_id), job_id)
                return job(row), True, held is None or bytes(held) != request_hash(request)
            content = content_of(request)
            made = Email(id=job_id, project_id=project_id, content=content, created_us=now_us)
            if not await insert_email(tx, made, request_hash(request)):
                raise ContactRaceError
            await keep_parts(tx, project_id, job_id, parts_of(request), now_us)
            due_us = max(now_us, request.scheduled_us or 0)
            begun = "scheduled" if due_us > now_us else "running"
            await tx.run(
                *(_INSERT, job_id, project_id, _text(request.audiences)),
                *(_text(request.excluded_audiences), request.per_second, count),
                *("draft" if draft else begun, actor, due_us, now_us),
            )
            detail = {"job": job_id, "audiences": list(request.audiences), "count": count}
            action = "email.draft" if draft else "email.audiences"
            await write_audit(tx, now_us, actor, project_id, action, detail)
            row = await tx.row(GET, job_id, project_id)
            assert row is not None
            return job(row), False, False

        return await write_contacts(lambda: self._database.write(work))

    async def get(self, project_id: int, job_id: str) -> SendJob | None:
        """One job, None when the project has no such job."""
        row = await self._database.read(lambda tx: tx.row(GET, job_id, project_id))
        return None if row is None else job(row)

    async def list(self, project_id: int, *, before: int | None, limit: int) -> Sequence[SendJob]:
        """Jobs of a project, newest first, numbered below `before`."""
        place = BIGINT_MAX if before is None else before
        rows = await self._database.read(lambda tx: tx.rows(LIST, project_id, place, limit))
        return [job(row) for row in rows]

    async def running(self, now_us: int, limit: int) -> Sequence[SendJob]:
        """Jobs of all projects that are due and not done, oldest first."""
        rows = await self._database.read(lambda tx: tx.rows(OPEN, now_us, limit))
        return [job(row) for row in rows]

    async def stop(
        self, project_id: int, job_id: str, now_us: int, *, actor: str
    ) -> SendJob | None:
        """Create no more messages, and cancel those that wait; None when there is no such job."""

        async def work(tx: Transaction) -> SendJob | None:
            if await tx.run(_STOP, job_id, project_id, now_us):
                cancelled = await tx.run(CANCEL_MADE, job_id, now_us)
                detail = {"job": job_id, "cancelled": cancelled}
                await write_audit(tx, now_us, actor, project_id, "email.stop", detail)
            row = await tx.row(GET, job_id, project_id)
            return None if row is None else job(row)

        return await self._database.write(work)

    async def start(
        self, project_id: int, job_id: str, per_second: int | None, now_us: int, *, actor: str
    ) -> bool:
        """Begin a draft, or continue a paused job; False when it is neither.

        Args:
            per_second: its rate from now on; None: the fastest.
        """
        held = await self.get(project_id, job_id)
        if held is None:
            return False
        lists = [list(held.audiences), list(held.excluded)]
        total = await self._database.read(lambda tx: tx.value(COUNT, *lists, COUNTED_MAX))

        async def work(tx: Transaction) -> bool:
            if not await tx.run(_START, job_id, project_id, per_second, total, now_us):
                return False
            detail = {"job": job_id, "count": total, "per_second": per_second}
            await write_audit(tx, now_us, actor, project_id, "email.start", detail)
            return True

        return await self._database.write(work)

    async def pause(self, project_id: int, job_id: str, now_us: int, *, actor: str) -> bool:
        """Create no more messages until `start`; those created are sent. False: it does not run."""

        async def work(tx: Transaction) -> bool:
            if not await tx.run(_PAUSE, job_id, project_id, now_us):
                return False
            await write_audit(tx, now_us, actor, project_id, "email.pause", {"job": job_id})
            return True

        return await self._database.write(work)

    async def outcomes(self, job_id: str) -> Sequence[tuple[str, str | None, int]]:
        """How many messages of a job have each state and reason, of the first `OUTCOMES_MAX`."""
        rows = await self._database.read(lambda tx: tx.rows(OUTCOMES, job_id, OUTCOMES_MAX))
        return [(row[0], row[1], row[2]) for row in rows]

    async def advance(self, job_id: str, limit: int, now_us: int) -> tuple[int, bool]:
        """Create the messages of up to `limit` further contacts.

        Returns:
            How many contacts were examined, and whether the job continues.
        """
        return await self._database.write(lambda tx: _advance(tx, job_id, limit, now_us))


async def _advance(tx: Transaction, job_id: str, limit: int, now_us: int) -> tuple[int, bool]:
    row = await tx.row(_HOLD, job_id)
    if row is None:
        return 0, False
    held = job(row)
    if held.status not in {"scheduled", "running"} or held.due_us > now_us:
        return 0, False
    place, position = held.place, held.position
    looked, made = 0, 0
    if place < len(held.audiences):
        rows = await tx.rows(MEMBERS, held.audiences[place], position, limit)
        looked = len(rows)
        made = await _make(tx, held, rows, now_us)
        position = rows[-1][0] if looked == limit else -1
        place += looked < limit
    has_more = place < len(held.audiences)
    progress = (place, position, held.done + looked, held.made + made)
    await tx.run(_MOVE, job_id, *progress, "running" if has_more else "done", now_us)
    return looked, has_more


async def _make(tx: Transaction, held: SendJob, rows: Sequence[Row], now_us: int) -> int:
    """Create the messages of members of an audience; returns how many are wanted."""
    found = await tx.row(GET_EMAIL, lane_of_uuid(held.id), held.id)
    wanted = await wanted_members(tx, rows, held.excluded)
    if found is None or not wanted:
        return 0
    content = email(found).content
    keys = sorted((row[1], row[2]) for row in rows if row[2] in set(wanted))
    lanes, ids = [key[0] for key in keys], [key[1] for key in keys]
    sender = await tx.row(BY_NAME, held.project_id, content.sender.domain)
    new = []
    for contact_id, address, original in await tx.rows(ADDRESSES, lanes, ids, held.project_id):
        if address is None:
            continue
        local = None if original is None else original.rpartition("@")[0]
        recipient = Mailbox(address, "", local)
        new.append(
            NewMessage(
                id=message_id(held.id, "", address),
                project_id=held.project_id,
                content=content,
                recipient=recipient,
                role="to",
                contact_id=contact_id,
                domain=None if sender is None else domain(sender),
                due_us=now_us,
                email_id=held.id,
            )
        )
    await insert_messages(tx, sorted(new, key=lambda one: one.id), now_us)
    return len(new)


async def wanted_members(
    tx: Transaction, rows: Sequence[Row], excluded: Sequence[str]
) -> list[str]:
    """Ids of those members that are in no excluded audience."""
    if not excluded or not rows:
        return [row[2] for row in rows]
    keys = sorted((row[1], row[2]) for row in rows)
    columns = [[key[place] for key in keys] for place in range(2)]
    inside = {row[0] for row in await tx.rows(INSIDE, *columns, list(excluded))}
    return [row[2] for row in rows if row[2] not in inside]


def _text(ids: Sequence[str]) -> str:
    return msgspec.json.encode(ids).decode()


def job(row: Row) -> SendJob:
    """The job of a row of `COLUMNS`."""
    values: dict[str, Any] = dict(zip(COLUMNS.split(", "), row, strict=True))
    for name in ("audiences", "excluded"):
        values[name] = msgspec.json.decode(values[name], type=tuple[str, ...])
    return SendJob(**values)
