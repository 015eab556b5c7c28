"""Messages that go: those past their time, and those of a person who is forgotten.

With a message go its attempts, hits, engagement and captured mails; with the last message of an
e-mail the e-mail, and the contents that nobody else uses. Links stay, and so do suppressions: of a
forgotten person as a keyed hash.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.domain.identity import IdentityType
from headrace.domain.messages.addresses import Mailbox
from headrace.domain.messages.places import lane_of_uuid
from headrace.store.access.policies import stored_policy
from headrace.store.contacts.erasure_rows import Subject, added
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Row, Transaction
from headrace.store.messages.bodies import drop_parts
from headrace.store.messages.message_rows import GET_EMAIL, content_text, email, key_of

#: Policy, and its default.
RETENTION_POLICY, RETENTION_DAYS = "run_retention_days", 90
_DAY_US = 86_400_000_000

_NAMED = "(SELECT k.lane, k.id FROM unnest($1::smallint[], $2::text[]) AS k (lane, id))"
_PROJECTS = sql("SELECT id FROM projects")
FINISHED = sql(
    "SELECT id, email_id, address FROM messages WHERE project_id = $1 AND finished_us < $2 "
    "ORDER BY finished_us LIMIT $3"
)
# Of which nobody will know any more.
UNKNOWN = sql(
    "SELECT id, email_id, address FROM messages WHERE project_id = $1 AND state = 'unknown' "
    "AND state IN ('skipped', 'bounced', 'failed', 'blocked', 'expired', 'unknown', 'cancelled', "
    "'complained') AND created_us < $2 AND lease_until_us = 0 ORDER BY created_us, id LIMIT $3"
)
OF_CONTACTS = sql(
    "SELECT id, email_id, address FROM messages WHERE contact_id = ANY($1::text[]) LIMIT $2"
)
OF_ADDRESSES = sql(
    "SELECT id, email_id, address FROM messages WHERE project_id = $1 AND contact_id IS NULL "
    "AND address = ANY($2::text[]) LIMIT $3"
)
REMOVE = tuple(
    (table, sql(f"DELETE FROM {table} WHERE (lane, {column}) IN {_NAMED}"))  # noqa: S608
    for table, column in (
        ("message_attempts", "message_id"),
        ("message_engagement", "message_id"),
        ("messages", "id"),
    )
)
REMOVE_HITS = sql("DELETE FROM message_hits WHERE message_id = ANY($1::text[])")
REMOVE_CAPTURED = sql("DELETE FROM captured_mails WHERE message_id = ANY($1::text[])")
REMOVE_EMAIL = sql(
    "DELETE FROM emails WHERE lane = $1 AND id = $2 "
    "AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.email_id = $2) "
    "AND NOT EXISTS (SELECT 1 FROM send_jobs j WHERE j.id = $2 "
    "AND j.status IN ('scheduled', 'running')) RETURNING created_us"
)
OLD_JOBS = sql(
    "SELECT id FROM send_jobs WHERE project_id = $1 AND status IN ('done', 'stopped') "
    "AND updated_us < $2 ORDER BY number LIMIT $3"
)
_REMOVE_JOBS = sql("DELETE FROM send_jobs WHERE id = ANY($1::text[])")
OTHERS = sql("SELECT id FROM messages WHERE email_id = $1 LIMIT $2")
_REWRITE = sql("UPDATE emails SET content = $3 WHERE lane = $1 AND id = $2")
FORGET_ADDRESSES = sql(
    "UPDATE suppressions SET email = NULL, note = '', evidence = '' "
    "WHERE project_id = $1 AND email = ANY($2::text[])"
)
#: Recipients of one e-mail.
_OTHERS_MAX = 200
#: Stands in an e-mail to several for the address of one who was forgotten.
ERASED = Mailbox("erased@invalid.invalid")


class Removal:
    """Removal of what is past its time, in all projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def prune(self, now_us: int, limit: int) -> int:
        """Remove up to `limit` messages that ended so long ago as the project wants; how many."""
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

        # Nearly always there is nothing: then the write lock of SQLite is left alone.
        rows, jobs = await self._database.read(find)
        if not rows and not jobs:
            return 0

        async def work(tx: Transaction) -> int:
            await tx.run(_REMOVE_JOBS, jobs)
            await remove_messages(tx, rows)
            await remove_emails(tx, project_id, {*jobs, *(row[1] for row in rows if row[1])})
            return len(rows) + len(jobs)

        return await self._database.write(work)


class PersonMessages:
    """See `headrace.store.contacts.person_messages.PersonMessages`."""

    async def had_messages(self, tx: Transaction, contact_ids: Sequence[str]) -> bool:
        return await tx.row(OF_CONTACTS, list(contact_ids), 1) is not None

    async def erase(self, tx: Transaction, subject: Subject, limit: int) -> dict[str, int] | None:
        rows = list(await tx.rows(OF_CONTACTS, list(subject.contact_ids), limit))
        if len(rows) < limit and subject.emails:
            named = (subject.project_id, list(subject.emails), limit - len(rows))
            rows += await tx.rows(OF_ADDRESSES, *named)
        # A suppression of an address that the person had earlier still holds as a hash.
        earlier = (value for kind, value in subject.learned if kind == IdentityType.EMAIL)
        addresses = {*subject.emails, *earlier, *(row[2] for row in rows if row[2])}
        forgotten = await tx.run(FORGET_ADDRESSES, subject.project_id, sorted(addresses))
        if not rows:
            return {"suppressions": forgotten} if forgotten else None
        counts = await remove_messages(tx, rows)
        email_ids = {row[1] for row in rows if row[1]}
        removed = await remove_emails(tx, subject.project_id, email_ids)
        for email_id in sorted(email_ids - removed):
            await _forget_recipients(tx, email_id, addresses)
        return added(counts, {"emails": len(removed), "suppressions": forgotten})


async def remove_messages(tx: Transaction, rows: Sequence[Row]) -> dict[str, int]:
    """Remove messages with all that is only about them; rows by place."""
    ids = sorted(row[0] for row in rows)
    keys = columns_of(sorted(key_of(each) for each in ids), 2)
    counts = {table: await tx.run(statement, *keys) for table, statement in REMOVE}
    counts["message_hits"] = await tx.run(REMOVE_HITS, ids)
    counts["captured_mails"] = await tx.run(REMOVE_CAPTURED, ids)
    return added({}, counts)


async def remove_emails(tx: Transaction, project_id: int, ids: set[str]) -> set[str]:
    """Remove those e-mails that have no message any more; which they are."""
    removed: set[str] = set()
    for email_id in sorted(ids):
        created_us = await tx.value(REMOVE_EMAIL, lane_of_uuid(email_id), email_id)
        if created_us is not None:
            removed.add(email_id)
            await drop_parts(tx, project_id, [email_id], created_us)
    return removed


async def _forget_recipients(tx: Transaction, email_id: str, addresses: set[str]) -> None:
    """Take addresses out of an e-mail that is also somebody else's."""
    row = await tx.row(GET_EMAIL, *key_of(email_id))
    if row is None:
        return
    before = email(row).content
    after = msgspec.structs.replace(
        before,
        to=_without(before.to, addresses),
        cc=_without(before.cc, addresses),
        bcc=_without(before.bcc, addresses),
    )
    if after != before:
        await tx.run(_REWRITE, *key_of(email_id), content_text(after))
        others = await tx.rows(OTHERS, email_id, _OTHERS_MAX)
        await tx.run(REMOVE_CAPTURED, [each[0] for each in others])


def _without(mailboxes: Sequence[Mailbox], addresses: set[str]) -> tuple[Mailbox, ...]:
    return tuple(ERASED if one.address in addresses else one for one in mailboxes)
