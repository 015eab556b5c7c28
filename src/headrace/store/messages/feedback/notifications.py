"""What was received about mail: stored and applied in one transaction, listed, removed.

The hash of the bytes identifies a mail or webhook, so that a repeat is recognized: an intake marks
a mail as read only after this commits, and reads it again after a crash.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.domain.email import normalize_email
from headrace.domain.ids import new_uuid, uuid_text
from headrace.domain.messages.feedback.form import Feedback, FeedbackKind, Source
from headrace.domain.messages.feedback.notification import KEPT_MAX, Effect, Received
from headrace.domain.messages.feedback.returned_mail import report_for
from headrace.domain.messages.smtp_replies import ReplyClass
from headrace.domain.messages.tokens import KEY_CHARACTERS
from headrace.store.access.policies import stored_policy
from headrace.store.contract.messages import Message, Notification
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import BIGINT_MAX
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Database, Row, Transaction
from headrace.store.messages.feedback.effects import Effects
from headrace.store.messages.feedback.unsubscribes import project_of
from headrace.store.messages.keys import StoredKeys
from headrace.store.messages.message_rows import MESSAGE, NOTIFICATION, find_message
from headrace.store.messages.message_rows import message as message_of_row
from headrace.store.messages.message_rows import notification as notification_of_row
from headrace.store.messages.removal import RETENTION_DAYS, RETENTION_POLICY

#: How soon a report is applied again whose message is still being sent.
WAIT_US = 1_000_000
#: Surplus is removed whenever a number is a multiple of this.
TRIM_EVERY = 100
_DAY_US = 86_400_000_000

_INSERT = sql(
    "INSERT INTO mail_notifications (id, project_id, digest, message_id, intake, source, event, "
    "kind, address, reason, status, diagnostic, reporter, provider_id, effect, reported_us, at_us, "
    "raw) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) "
    "ON CONFLICT (digest) DO NOTHING RETURNING number"
)
BY_DIGEST = sql(f"SELECT {NOTIFICATION} FROM mail_notifications WHERE digest = $1")
_FOLLOWED = sql("UPDATE mail_notifications SET effect = $2, due_us = $3 WHERE number = $1")
BY_NUMBER = sql(f"SELECT {NOTIFICATION} FROM mail_notifications WHERE number = $1")
GET = sql(f"SELECT {NOTIFICATION} FROM mail_notifications WHERE id = $2 AND project_id = $1")
# Scans at most the notifications that are kept of a project.
LIST = sql(
    f"SELECT {NOTIFICATION} FROM mail_notifications WHERE project_id = $1 AND number < $2 "
    "AND ($4::text IS NULL OR kind = $4::text) AND ($5::text IS NULL OR source = $5::text) "
    "AND ($6::text IS NULL OR effect = $6::text) ORDER BY number DESC LIMIT $3"
)
LIST_OF_MESSAGE = sql(
    f"SELECT {NOTIFICATION} FROM mail_notifications WHERE message_id = $1 AND number < $2 "
    "AND ($4::text IS NULL OR kind = $4::text) AND ($5::text IS NULL OR source = $5::text) "
    "AND ($6::text IS NULL OR effect = $6::text) ORDER BY number DESC LIMIT $3"
)
COUNTS = sql(
    "SELECT kind, count(*) FROM mail_notifications WHERE project_id = $1 "
    "GROUP BY kind ORDER BY kind"
)
DUE = sql("SELECT number FROM mail_notifications WHERE due_us <= $1 ORDER BY due_us LIMIT $2")
_TAKE = sql(
    f"SELECT {NOTIFICATION} FROM mail_notifications WHERE number = $1 AND due_us IS NOT NULL "
    "FOR UPDATE"
)
BY_RELAY_ID = sql("SELECT message_id FROM message_attempts WHERE relay_id = $1 LIMIT 2")
BY_MAIL_KEY = sql(f"SELECT {MESSAGE} FROM messages WHERE mail_key = $1 LIMIT 2")
DOMAIN_OWNERS = sql("SELECT min(project_id) FROM domains WHERE name = $1")
_FIRST_PROJECT = sql("SELECT id FROM projects ORDER BY id LIMIT 1")
_PROJECTS = sql("SELECT id FROM projects")
SURPLUS = sql(
    "SELECT number FROM mail_notifications WHERE project_id = $1 ORDER BY number DESC "
    "LIMIT 1 OFFSET $2"
)
TRIM = sql("DELETE FROM mail_notifications WHERE project_id = $1 AND number <= $2")
OLDEST = sql(
    "SELECT number, at_us FROM mail_notifications WHERE project_id = $1 ORDER BY number LIMIT $2"
)
REMOVE = sql("DELETE FROM mail_notifications WHERE number = ANY($1::bigint[])")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Filters of a list; None: any."""

    kind: FeedbackKind | None = None
    source: Source | None = None
    effect: Effect | None = None
    message_id: str | None = None


class Notifications:
    """Notifications of all projects."""

    def __init__(self, database: Database, system_events: SystemEvents, keys: StoredKeys) -> None:
        self._database = database
        self._system_events = system_events
        self._keys = keys

    async def take(self, received: Received, now_us: int) -> Notification:
        """Store what was received and apply it, once; a repeat returns what is stored.

        Only the report about the recipient of the message is applied, see `report_for`. What is
        about no known message belongs to the project of the key, else to the one with the sending
        domain of the returned mail, else to the first project.

        Raises:
            StoreError: nothing was stored.
        """
        keys = await self._keys.get()

        async def work(tx: Transaction) -> Notification:
            message = await _find(tx, received)
            report = received.reports[0]
            if message is not None and message.address is not None:
                report = report_for(received.reports, message.address)
            project_id = await _project_of(tx, received, message)
            number = await tx.value(
                _INSERT, *_values(received, report, message, project_id, now_us)
            )
            if number is None:
                row = await tx.row(BY_DIGEST, received.digest)
            else:
                effects = Effects(tx, self._system_events, keys, now_us)
                effect = await _apply(effects, received, report, message)
                await _follow(tx, number, effect, now_us)
                if number % TRIM_EVERY == 0:
                    await _trim(tx, project_id)
                row = await tx.row(BY_NUMBER, number)
            assert row is not None
            return notification_of_row(row)

        return await self._database.write(work)

    async def settle_waiting(self, now_us: int, limit: int) -> int:
        """Apply reports whose message was being sent; returns how many were tried."""
        rows = await self._database.read(lambda tx: tx.rows(DUE, now_us, limit))
        if not rows:
            return 0
        keys = await self._keys.get()

        async def work(tx: Transaction) -> None:
            effects = Effects(tx, self._system_events, keys, now_us)
            for (number,) in rows:
                # Another worker may have applied it meanwhile.
                row = await tx.row(_TAKE, number)
                if row is not None:
                    await _follow(tx, number, await _again(effects, row), now_us)

        await self._database.write(work)
        return len(rows)

    async def list(
        self, project_id: int, wanted: Wanted, *, before: int | None = None, limit: int
    ) -> Sequence[Notification]:
        """Notifications of a project, newest first, numbered below `before`."""
        place = BIGINT_MAX if before is None else before
        named = (wanted.kind, wanted.source, wanted.effect)
        filters = [None if one is None else one.value for one in named]

        async def read(tx: Transaction) -> Sequence[Row]:
            if wanted.message_id is not None:
                return await tx.rows(LIST_OF_MESSAGE, wanted.message_id, place, limit, *filters)
            return await tx.rows(LIST, project_id, place, limit, *filters)

        found = [notification_of_row(row) for row in await self._database.read(read)]
        return [one for one in found if one.project_id == project_id]

    async def get(self, project_id: int, notification_id: str) -> Notification | None:
        """One notification of a project."""
        row = await self._database.read(lambda tx: tx.row(GET, project_id, notification_id))
        return None if row is None else notification_of_row(row)

    async def counts(self, project_id: int) -> dict[FeedbackKind, int]:
        """How many of the kept notifications are of each kind."""
        rows = await self._database.read(lambda tx: tx.rows(COUNTS, project_id))
        return {FeedbackKind(kind): count for kind, count in rows}

    async def prune(self, now_us: int, limit: int) -> int:
        """Remove up to `limit` that are older than messages are kept; returns how many."""
        removed = 0
        for (project_id,) in await self._database.read(lambda tx: tx.rows(_PROJECTS)):
            left = limit - removed
            if left < 1:
                break
            removed += await self._prune(project_id, now_us, left)
        return removed

    async def _prune(self, project_id: int, now_us: int, limit: int) -> int:
        async def find(tx: Transaction) -> Sequence[int]:
            days = await stored_policy(tx, project_id, RETENTION_POLICY) or RETENTION_DAYS
            before_us = now_us - int(days) * _DAY_US
            rows = await tx.rows(OLDEST, project_id, limit)
            return [number for number, at_us in rows if at_us < before_us]

        numbers = list(await self._database.read(find))
        if not numbers:
            return 0
        await self._database.write(lambda tx: tx.run(REMOVE, numbers))
        return len(numbers)


async def _apply(
    effects: Effects, received: Received, report: Feedback, message: Message | None
) -> Effect:
    if received.unsubscribe is not None:
        return await effects.unsubscribe(received.unsubscribe, "mailto")
    if message is None:
        return Effect.NO_MESSAGE
    return await effects.apply(report, message.id)


async def _again(effects: Effects, row: Row) -> Effect:
    held = notification_of_row(row)
    if held.message_id is None:
        return Effect.NO_MESSAGE
    report = Feedback(
        kind=held.kind,
        source=held.source,
        reason=None if held.reason is None else ReplyClass(held.reason),
        status=held.status,
        diagnostic=held.diagnostic,
    )
    return await effects.apply(report, held.message_id)


async def _follow(tx: Transaction, number: int, effect: Effect, now_us: int) -> None:
    due_us = now_us + WAIT_US if effect is Effect.WAITING else None
    await tx.run(_FOLLOWED, number, effect.value, due_us)


async def _trim(tx: Transaction, project_id: int) -> None:
    last = await tx.value(SURPLUS, project_id, KEPT_MAX)
    if last is not None:
        await tx.run(TRIM, project_id, last)


async def _find(tx: Transaction, received: Received) -> Message | None:
    """The message of a report: by its token, else as far as the claims can be believed."""
    verified = received.reports[0].message_id
    if verified is not None:
        return await find_message(tx, verified)
    for report in received.reports:
        message = await _claimed(tx, report, by_provider_id=received.trusted)
        if message is None:
            continue
        if received.project_id is not None and message.project_id != received.project_id:
            continue
        if received.trusted or _is_recipient(report.address, message):
            return message
    return None


async def _claimed(tx: Transaction, report: Feedback, *, by_provider_id: bool) -> Message | None:
    """The message that a report claims to be about."""
    found = await _by_mail_key(tx, report)
    if found is None and by_provider_id and report.provider_id is not None:
        ids = {row[0] for row in await tx.rows(BY_RELAY_ID, report.provider_id)}
        if len(ids) == 1:
            return await find_message(tx, ids.pop())
    return found


async def _by_mail_key(tx: Transaction, report: Feedback) -> Message | None:
    if report.envelope_id is not None:
        found = await find_message(tx, report.envelope_id)
        if found is not None:
            return found
    key, _, domain = (report.original_message_id or "").partition("@")
    if len(key) != KEY_CHARACTERS:
        return None
    rows = await tx.rows(BY_MAIL_KEY, key.lower())
    named = [message_of_row(row) for row in rows]
    return next((one for one in named if one.domain == domain.lower()), None)


def _is_recipient(address: str | None, message: Message) -> bool:
    if address is None:
        return False
    try:
        normalized = normalize_email(address)
    except ValueError:
        normalized = address.lower()
    return normalized in {message.address, (message.recipient or "").lower()} - {None, ""}


async def _project_of(tx: Transaction, received: Received, message: Message | None) -> int:
    if message is not None:
        return message.project_id
    if received.unsubscribe is not None:
        owner = await project_of(tx, received.unsubscribe.contact_id)
        if owner is not None:
            return owner
    if received.project_id is not None:
        return received.project_id
    for report in received.reports:
        domain = (report.original_message_id or "").rpartition("@")[2].lower()
        owner = await tx.value(DOMAIN_OWNERS, domain) if domain else None
        if owner is not None:
            return int(owner)
    return int(await tx.value(_FIRST_PROJECT) or 0)


def _values(
    received: Received,
    report: Feedback,
    message: Message | None,
    project_id: int,
    now_us: int,
) -> tuple[object, ...]:
    return (
        *(uuid_text(new_uuid()), project_id, received.digest),
        *(None if message is None else message.id, received.intake.value),
        *(report.source.value, report.event, report.kind.value),
        # Without a message nothing would remove the address when the person is erased.
        None if message is None else report.address,
        *(None if report.reason is None else report.reason.value, report.status),
        *(report.diagnostic, report.reporter, report.provider_id, Effect.NOTHING.value),
        *(report.at_us, now_us, received.raw),
    )
