"""Removal of messages, such as expired ones.

With a message, its attempts, hits, engagement, captured mails and notifications are removed; with
the last message of an e-mail, the e-mail and its unused contents. Links stay.
"""

from __future__ import annotations

from collections.abc import Sequence

from headrace.domain.messages.places import lane_of_uuid
from headrace.store.access.policies import stored_policy
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Row, Transaction
from headrace.store.messages.content.bodies import drop_parts
from headrace.store.messages.message_rows import key_of
from headrace.store.privacy.rows import added

#: Policy, and its default.
RETENTION_POLICY, RETENTION_DAYS = "run_retention_days", 90
_DAY_US = 86_400_000_000

_NAMED = "(SELECT k.lane, k.id FROM unnest($1::smallint[], $2::text[]) AS k (lane, id))"
_PROJECTS = sql("SELECT id FROM projects")
FINISHED = sql(
    "SELECT id, email_id, address FROM messages WHERE project_id = $1 AND finished_us < $2 "
    "ORDER BY finished_us LIMIT $3"
)
# Messages whose outcome will stay unknown.
UNKNOWN = sql(
    "SELECT id, email_id, address FROM messages WHERE project_id = $1 AND state = 'unknown' "
    "AND state IN ('skipped', 'bounced', 'failed', 'blocked', 'expired', 'unknown', 'cancelled', "
    "'complained') AND created_us < $2 AND lease_until_us = 0 ORDER BY created_us, id LIMIT $3"
)
REMOVE = tuple(
    (table, sql(f"DELETE FROM {table} WHERE (lane, {column}) IN {_NAMED}"))
    for table, column in (
        ("message_attempts", "message_id"),
        ("message_engagement", "message_id"),
        ("messages", "id"),
    )
)
REMOVE_HITS = sql("DELETE FROM message_hits WHERE message_id = ANY($1::text[])")
REMOVE_CAPTURED = sql("DELETE FROM captured_mails WHERE message_id = ANY($1::text[])")
REMOVE_NOTIFICATIONS = sql("DELETE FROM mail_notifications WHERE message_id = ANY($1::text[])")
REMOVE_EMAIL = sql(
    "DELETE FROM emails WHERE lane = $1 AND id = $2 "
    "AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.email_id = $2) "
    "AND NOT EXISTS (SELECT 1 FROM send_jobs j WHERE j.id = $2 "
    "AND j.status NOT IN ('done', 'stopped')) RETURNING created_us"
)
OLD_JOBS = sql(
    "SELECT id FROM send_jobs WHERE project_id = $1 AND status IN ('done', 'stopped') "
    "AND updated_us < $2 ORDER BY number LIMIT $3"
)
_REMOVE_JOBS = sql("DELETE FROM send_jobs WHERE id = ANY($1::text[])")


class Removal:
    """Removal of expired messages in all projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def prune(self, now_us: int, limit: int) -> int:
        """Remove up to `limit` messages past the project's retention; returns how many."""
        removed = 0
        for (project_id,) in await self._database.read(lambda tx: tx.rows(_PROJECTS)):
            left = limit - removed
            if left < 1:
                break
            removed += await self._prune(project_id, now_us, left)
        return removed

    async def _prune(self, project_id: int, now_us: int, limit: int) -> int:
        async def find(tx: Transaction) -> tuple[list[Row], list[str]]:
            days = await stored_policy(tx, project_id, RETENTION_POLICY) or RETENTION_DAYS
            before_us = now_us - int(days) * _DAY_US
            rows = list(await tx.rows(FINISHED, project_id, before_us, limit))
            if len(rows) < limit:
                rows += await tx.rows(UNKNOWN, project_id, before_us, limit - len(rows))
            jobs = await tx.rows(OLD_JOBS, project_id, before_us, limit)
            return rows, [row[0] for row in jobs]

        # Usually there is nothing: then the write lock of SQLite is not taken.
        rows, jobs = await self._database.read(find)
        if not rows and not jobs:
            return 0

        async def work(tx: Transaction) -> int:
            await tx.run(_REMOVE_JOBS, jobs)
            await remove_messages(tx, rows)
            await remove_emails(tx, project_id, {*jobs, *(row[1] for row in rows if row[1])})
            return len(rows) + len(jobs)

        return await self._database.write(work)


async def remove_messages(tx: Transaction, rows: Sequence[Row]) -> dict[str, int]:
    """Remove messages with all their rows; returns row counts by place."""
    ids = sorted(row[0] for row in rows)
    keys = columns_of(sorted(key_of(each) for each in ids), 2)
    # First, in the order in which waiting notifications lock them and their messages.
    counts = {"mail_notifications": await tx.run(REMOVE_NOTIFICATIONS, ids)}
    counts |= {table: await tx.run(statement, *keys) for table, statement in REMOVE}
    counts["message_hits"] = await tx.run(REMOVE_HITS, ids)
    counts["captured_mails"] = await tx.run(REMOVE_CAPTURED, ids)
    return added({}, counts)


async def remove_emails(tx: Transaction, project_id: int, ids: set[str]) -> set[str]:
    """Remove those e-mails that have no messages left; returns their ids."""
    removed: set[str] = set()
    for email_id in sorted(ids):
        created_us = await tx.value(REMOVE_EMAIL, lane_of_uuid(email_id), email_id)
        if created_us is not None:
            removed.add(email_id)
            await drop_parts(tx, project_id, [email_id], created_us)
    return removed
