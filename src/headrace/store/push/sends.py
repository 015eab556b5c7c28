"""Requests to send pushes: one content, and a message for each contact or device.

The id of a request follows from its idempotency key, that of a message from the request and its
target, and that of a notification from the request and the device. So a repeat finds the rows of
the first request and inserts none.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from hashlib import blake2b

import msgspec

from headrace.domain.events.identity import IdentityType, contact_lane
from headrace.domain.ids import new_uuid, uuid_text
from headrace.domain.messages.kinds import Channel
from headrace.domain.messages.places import lane_of_uuid
from headrace.domain.messages.tokens import message_id
from headrace.domain.push.content import PushContent
from headrace.domain.push.request import PushRequest
from headrace.store.access.audit import write_audit
from headrace.store.access.policies import stored_policy
from headrace.store.contacts.identifiers import owner_of
from headrace.store.contacts.races import ContactRaceError, write_contacts
from headrace.store.contacts.refs import find_ref
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Row, Transaction
from headrace.store.messages.message_rows import find_message
from headrace.store.messages.removal import RETENTION_DAYS, RETENTION_POLICY
from headrace.store.messages.sending.emails import INSERT_MESSAGE
from headrace.store.messages.sending.jobs import COUNT, COUNTED_MAX, INSIDE
from headrace.store.push.device_rows import contacts_of_addresses, find_devices
from headrace.store.push.notification_rows import (
    NOTIFICATIONS_MAX,
    PushMessage,
    TargetKind,
    destinations,
    insert_notifications,
    push_text,
)

#: UUIDv5 needs a namespace; this random one is for push requests of Headrace.
_NAMESPACE = uuid.UUID("b7d7a4f2-2c0e-4d55-8f0d-3e7c5a6b9c12")

#: Notifications that one count by state reads.
COUNTED_STATES_MAX = 100_000

_INSERT = sql(
    "INSERT INTO push_sends (lane, id, project_id, app_id, request_hash, content, counts, "
    "created_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (lane, id) DO NOTHING"
)
GET = sql(
    "SELECT id, project_id, app_id, request_hash, content, counts, created_us FROM push_sends "
    "WHERE lane = $1 AND id = $2"
)
_INSERT_JOB = sql(
    "INSERT INTO push_jobs (id, project_id, audiences, excluded, total, status, actor, due_us, "
    "created_us, updated_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)"
)
_PROJECTS = sql("SELECT id FROM projects ORDER BY id")
_UNUSED = (
    "NOT EXISTS (SELECT 1 FROM push_notifications n WHERE n.send_id = s.id) "
    "AND NOT EXISTS (SELECT 1 FROM push_jobs j WHERE j.id = s.id "
    "AND j.status IN ('scheduled', 'running'))"
)
OLD = sql(
    "SELECT s.lane, s.id FROM push_sends s WHERE s.project_id = $1 AND s.created_us < $2 "
    f"AND {_UNUSED} ORDER BY s.created_us LIMIT $3"
)
_REMOVE = sql(f"DELETE FROM push_sends AS s WHERE s.lane = $1 AND s.id = $2 AND {_UNUSED}")
_REMOVE_JOB = sql("DELETE FROM push_jobs WHERE id = $1")
_DAY_US = 86_400_000_000
JOB_STATUS = sql("SELECT status FROM push_jobs WHERE id = $1")
COUNTS = sql(
    "SELECT state, count(*) FROM (SELECT state FROM push_notifications WHERE send_id = $1 "
    "LIMIT $2) AS counted GROUP BY state"
)
NOTIFICATIONS = sql(
    "SELECT id, platform, device_id, contact_id, state, reason, sent_us, opened_us "
    "FROM push_notifications WHERE send_id = $1 ORDER BY id LIMIT $2"
)


class SendCounts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was counted when a request was stored, and whether it was stopped since."""

    #: Contacts, devices or tokens that the request named.
    targets: int = 0
    #: Of these, those that are unknown.
    unknown: int = 0
    #: Of these, contacts without a device.
    without_device: int = 0
    #: Whether it was stopped: messages that have not been sent are cancelled.
    stopped: bool = False


class SentNotification(msgspec.Struct, frozen=True, kw_only=True):
    """One notification of a request. Times are microseconds since 1970."""

    id: str
    platform: str
    device_id: str | None
    contact_id: str | None
    state: str
    reason: str | None
    sent_us: int | None
    opened_us: int | None


class PushSend(msgspec.Struct, frozen=True, kw_only=True):
    """A request with its notifications."""

    id: str
    project_id: int
    app_id: str
    content: PushContent
    counts: SendCounts
    created_us: int
    #: Of a send to audiences: `scheduled`, `running`, `done` or `stopped`.
    job_status: str | None = None
    #: Notifications by state, of the first `COUNTED_STATES_MAX`.
    states: dict[str, int]
    #: The first `NOTIFICATIONS_MAX`.
    notifications: Sequence[SentNotification]
    #: Whether it was there already.
    deduplicated: bool = False
    #: Whether the key was used for something else then.
    mismatch: bool = False


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A message to make."""

    id: str
    kind: TargetKind
    contact_id: str | None
    push: PushMessage


class PushSends:
    """Push requests of all projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def send(
        self, project_id: int, request: PushRequest, now_us: int, *, actor: str
    ) -> PushSend:
        """Write a request with its messages, or find the first with its key."""

        async def work(tx: Transaction) -> PushSend:
            own_id = send_id(project_id, request.idempotency_key)
            hashed = request_hash(request)
            before = await find_send(tx, project_id, own_id)
            if before is not None:
                held = await tx.row(GET, lane_of_uuid(own_id), own_id)
                mismatch = held is not None and bytes(held[3]) != hashed
                return msgspec.structs.replace(before, deduplicated=True, mismatch=mismatch)
            due_us = max(now_us, request.scheduled_us or 0)
            if request.audiences:
                total = await create_job(tx, project_id, own_id, request, due_us, now_us, actor)
                counts = SendCounts(targets=total)
            else:
                targets, counts = await _targets(tx, project_id, own_id, request)
                without = await make_messages(
                    tx, project_id, targets, request.content, due_us, now_us
                )
                counts = msgspec.structs.replace(counts, without_device=without)
            values = (lane_of_uuid(own_id), own_id, project_id, request.app_id, hashed)
            content = msgspec.json.encode(request.content).decode()
            text = msgspec.json.encode(counts).decode()
            if not await tx.run(_INSERT, *values, content, text, now_us):
                # Another request with the same key was faster; the next attempt finds its rows.
                raise ContactRaceError
            sent = await find_send(tx, project_id, own_id)
            assert sent is not None
            return sent

        return await write_contacts(lambda: self._database.write(work))

    async def get(self, project_id: int, wanted_id: str) -> PushSend | None:
        """One request; None when the project has no such request."""
        return await self._database.read(
            lambda tx: find_send(tx, project_id, wanted_id), snapshot=True
        )

    async def prune(self, now_us: int, limit: int) -> int:
        """Remove requests and jobs past the retention whose notifications are gone."""

        async def find(tx: Transaction) -> list[tuple[int, str]]:
            found: list[tuple[int, str]] = []
            for (project_id,) in await tx.rows(_PROJECTS):
                days = await stored_policy(tx, project_id, RETENTION_POLICY) or RETENTION_DAYS
                before_us = now_us - int(days) * _DAY_US
                rows = await tx.rows(OLD, project_id, before_us, limit - len(found))
                found += [(row[0], row[1]) for row in rows]
                if len(found) >= limit:
                    break
            return found

        # Usually there is nothing: then the write lock of SQLite is not taken.
        found = await self._database.read(find)
        if not found:
            return 0
        return await self._database.write(lambda tx: remove_sends(tx, [each[1] for each in found]))


async def remove_sends(tx: Transaction, ids: Sequence[str]) -> int:
    """Remove those requests that have no notification left and make none; returns how many."""
    removed = 0
    for each in sorted(ids):
        if await tx.run(_REMOVE, lane_of_uuid(each), each):
            await tx.run(_REMOVE_JOB, each)
            removed += 1
    return removed


def send_id(project_id: int, idempotency_key: str | None) -> str:
    """Id of a request: the same for the same key of a project, random without one."""
    if idempotency_key is None:
        return uuid_text(new_uuid())
    return str(uuid.uuid5(_NAMESPACE, f"{project_id}:{idempotency_key}"))


def request_hash(request: PushRequest) -> bytes:
    """Hash that distinguishes a repeat from a key reused for another request."""
    return blake2b(msgspec.json.encode(request, order="sorted"), digest_size=16).digest()


async def find_send(tx: Transaction, project_id: int, wanted_id: str) -> PushSend | None:
    """A request with its notifications."""
    row = await tx.row(GET, lane_of_uuid(wanted_id), wanted_id)
    if row is None or row[1] != project_id:
        return None
    own_id, _, app_id, _, content, counts, created_us = row
    states = await tx.rows(COUNTS, own_id, COUNTED_STATES_MAX)
    notifications = await tx.rows(NOTIFICATIONS, own_id, NOTIFICATIONS_MAX)
    return PushSend(
        id=own_id,
        project_id=project_id,
        app_id=app_id,
        content=msgspec.json.decode(content, type=PushContent),
        counts=msgspec.json.decode(counts, type=SendCounts),
        created_us=created_us,
        job_status=await tx.value(JOB_STATUS, own_id),
        states={each[0]: each[1] for each in states},
        notifications=[_notification(each) for each in notifications],
    )


async def _targets(
    tx: Transaction, project_id: int, own_id: str, request: PushRequest
) -> tuple[list[Target], SendCounts]:
    """The messages of a request: one for each contact, device or token, in order of their ids."""
    base = push_of(own_id, request.app_id, request.content)
    found: dict[str, Target] = {}
    named = unknown = 0
    addresses = [raw.address for raw in request.raw]
    owners = await contacts_of_addresses(tx, request.app_id, addresses) if addresses else {}
    for raw in request.raw:
        named += 1
        target = Target(
            id=message_id(own_id, "", raw.address),
            kind=TargetKind.RAW,
            # Of a registered device: what its contact opted out of applies.
            contact_id=owners.get(raw.address),
            push=msgspec.structs.replace(base, raw=raw),
        )
        found[target.id] = target
    if request.device_ids:
        devices = await find_devices(tx, request.app_id, request.device_ids)
        named += len(request.device_ids)
        unknown += len(request.device_ids) - len(devices)
        for device in devices:
            target = Target(
                id=message_id(own_id, "", device.id),
                kind=TargetKind.DEVICE,
                contact_id=device.contact_id,
                push=msgspec.structs.replace(base, device_id=device.id),
            )
            found[target.id] = target
    for contact_id in await _contacts(tx, project_id, request):
        named += 1
        if contact_id is None:
            unknown += 1
            continue
        target = contact_target(own_id, contact_id, base)
        found[target.id] = target
    ordered = [found[each] for each in sorted(found)]
    return ordered, SendCounts(targets=named, unknown=unknown)


def push_of(own_id: str, app_id: str, content: PushContent) -> PushMessage:
    """What the messages of a request have in common."""
    return PushMessage(
        app_id=app_id,
        environment=content.environment,
        platforms=content.platforms,
        send_id=own_id,
    )


def contact_target(own_id: str, contact_id: str, push: PushMessage) -> Target:
    """The message to all devices of a contact."""
    return Target(
        id=message_id(own_id, "", contact_id),
        kind=TargetKind.CONTACT,
        contact_id=contact_id,
        push=push,
    )


async def _contacts(tx: Transaction, project_id: int, request: PushRequest) -> list[str | None]:
    """Ids of the contacts that a request names; None for each that is unknown."""
    found: list[str | None] = []
    for contact_id in request.contact_ids:
        ref = await find_ref(tx, project_id, contact_id)
        found.append(None if ref is None else ref.id)
    named = ((IdentityType.EXTERNAL_ID, request.external_ids), (IdentityType.EMAIL, request.emails))
    for kind, values in named:
        found += [await owner_of(tx, project_id, kind, value) for value in values]
    if not request.excluded_audiences:
        return found
    return await _outside(tx, project_id, found, request.excluded_audiences)


async def _outside(
    tx: Transaction, project_id: int, contact_ids: Sequence[str | None], excluded: Sequence[str]
) -> list[str | None]:
    """Without those in one of the audiences."""
    known = sorted({each for each in contact_ids if each is not None})
    keys = sorted((contact_lane(project_id, each), each) for each in known)
    rows = await tx.rows(INSIDE, *columns_of(keys, 2), list(excluded)) if keys else []
    inside = {row[0] for row in rows}
    return [each for each in contact_ids if each not in inside]


async def create_job(
    tx: Transaction,
    project_id: int,
    own_id: str,
    request: PushRequest,
    due_us: int,
    now_us: int,
    actor: str,
) -> int:
    """Insert the job of a request to audiences; returns how many contacts they have now."""
    audiences, excluded = list(request.audiences), list(request.excluded_audiences)
    total: int = await tx.value(COUNT, audiences, excluded, COUNTED_MAX)
    status = "scheduled" if due_us > now_us else "running"
    await tx.run(
        *(_INSERT_JOB, own_id, project_id, msgspec.json.encode(audiences).decode()),
        *(msgspec.json.encode(excluded).decode(), total, status, actor, due_us, now_us),
    )
    detail = {"send": own_id, "audiences": audiences, "count": total}
    await write_audit(tx, now_us, actor, project_id, "push.audiences", detail)
    return total


async def make_messages(
    tx: Transaction,
    project_id: int,
    targets: Sequence[Target],
    content: PushContent,
    due_us: int,
    now_us: int,
) -> int:
    """Insert messages and their notifications; returns how many contacts have no device."""
    await tx.run_many(
        INSERT_MESSAGE,
        [
            (
                *(lane_of_uuid(one.id), one.id, project_id, Channel.PUSH.value, content.kind.value),
                *(None, None, None, None, push_text(one.push), one.contact_id, None, None),
                *(one.kind.value, content.topic_id, None, None, None, None),
                *(due_us, None, now_us),
            )
            for one in targets
        ],
    )
    without = 0
    for one in targets:
        held = await find_message(tx, one.id)
        assert held is not None
        found = await destinations(tx, held, one.push)
        without += not found
        await insert_notifications(tx, held, one.push, found, now_us)
    return without


def _notification(row: Row) -> SentNotification:
    names = (
        *("id", "platform", "device_id", "contact_id", "state", "reason", "sent_us"),
        "opened_us",
    )
    return SentNotification(**dict(zip(names, row, strict=True)))
