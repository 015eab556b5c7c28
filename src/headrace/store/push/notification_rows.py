"""Rows of notifications, and what a push message sends.

A message is a push to one contact, or to one device without a contact; it has a notification for
each device, which keeps its id over all attempts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from headrace.domain.messages.places import lane_of_uuid
from headrace.domain.messages.tokens import message_id
from headrace.domain.push.kinds import DeviceState, Environment, Platform
from headrace.domain.push.request import RawTarget
from headrace.store.contract.messages import Message
from headrace.store.contract.push import Device
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction
from headrace.store.push.device_rows import devices_of_contact, find_device

#: Devices that one message is sent to, the newest.
DEVICES_MAX = 20
#: Notifications that one transaction counts or reads of a request.
NOTIFICATIONS_MAX = 1000

_INSERT = sql(
    "INSERT INTO push_notifications (lane, id, project_id, app_id, platform, send_id, message_id, "
    "device_id, contact_id, target, state, created_us) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'queued', $11) "
    "ON CONFLICT (lane, id) DO NOTHING"
)
STATES = sql("SELECT id, state FROM push_notifications WHERE message_id = $1")
_OPEN = "state IN ('queued', 'sending', 'deferred')"
# Of a message that was skipped or deferred, or that cannot be sent.
MOVE_OPEN = sql(
    "UPDATE push_notifications SET state = $2, reason = $3, finished_us = $4 "
    f"WHERE message_id = $1 AND {_OPEN}"
)
# For a message that is sent again: devices that got it are not sent to once more.
REOPEN = sql(
    "UPDATE push_notifications SET state = 'queued', reason = NULL, finished_us = NULL "
    "WHERE message_id = $1 AND state IN ('failed', 'expired', 'skipped', 'cancelled')"
)
_BEGIN = sql(
    "UPDATE push_notifications SET state = 'sending', reason = NULL, attempt = $3 "
    f"WHERE lane = $1 AND id = $2 AND {_OPEN}"
)
END = sql(
    "UPDATE push_notifications SET state = $3, reason = $4, finished_us = $5, attempt = $6 "
    f"WHERE lane = $1 AND id = $2 AND {_OPEN}"
)
SENT = sql(
    "UPDATE push_notifications SET state = 'sent', reason = NULL, sent_us = $3, "
    "finished_us = $3, attempt = $4 "
    "WHERE lane = $1 AND id = $2 AND sent_us IS NULL"
)
ADD_ATTEMPT = sql(
    "INSERT INTO push_attempts (lane, notification_id, number, claim, service, started_us, "
    "ended_us, outcome, status, code, detail) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) "
    "ON CONFLICT (lane, notification_id, number) DO NOTHING"
)


class TargetKind(StrEnum):
    """What a message is for; in the column `role` of messages."""

    #: All devices of the contact that are subscribed when it is sent.
    CONTACT = "contact"
    DEVICE = "device"
    #: A token or subscription of the request.
    RAW = "raw"


class StepContent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the step of a run sends: a template, rendered at each attempt."""

    template_version_id: str
    variables: dict[str, Any] = {}
    #: Of the event that began the run.
    payload: dict[str, Any] = {}
    ttl_s: int
    urgency: str


class PushMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a message sends and to which devices; in the column `content` of messages."""

    app_id: str
    environment: Environment = Environment.PRODUCTION
    #: Empty: all.
    platforms: tuple[Platform, ...] = ()
    #: Request that has the content; None: a step has it.
    send_id: str | None = None
    step: StepContent | None = None
    #: Of `TargetKind.DEVICE`.
    device_id: str | None = None
    #: Of `TargetKind.RAW`.
    raw: RawTarget | None = None

    def notification_id(self, message: Message, target: str) -> str:
        """Id of the notification to a device or address: the same at each attempt."""
        return message_id(self.send_id or message.id, "", target)


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """One device of a message."""

    notification_id: str
    platform: Platform
    device_id: str | None
    #: Token of FCM or APNs, or the endpoint of Web Push.
    address: str
    p256dh: str | None = None
    auth: str | None = None
    sandbox: bool = False
    locale: str | None = None
    timezone: str | None = None


def read_push(text: str) -> PushMessage:
    """Decode the column `content` of a push message."""
    return msgspec.json.decode(text, type=PushMessage)


def push_text(push: PushMessage) -> str:
    """Encode for the store."""
    return msgspec.json.encode(push).decode()


def key_of(notification_id: str) -> tuple[int, str]:
    """Key of a notification's row."""
    return lane_of_uuid(notification_id), notification_id


async def destinations(tx: Transaction, message: Message, push: PushMessage) -> list[Destination]:
    """The devices that can get a message now, those of an earlier attempt included."""
    if push.raw is not None:
        raw = push.raw
        return [
            Destination(
                notification_id=push.notification_id(message, raw.address),
                platform=raw.platform,
                device_id=None,
                address=raw.address,
                p256dh=raw.p256dh,
                auth=raw.auth,
                sandbox=push.environment is Environment.DEVELOPMENT,
            )
        ]
    devices: list[Device] = []
    if push.device_id is not None:
        found = await find_device(tx, push.app_id, push.device_id)
        devices = [] if found is None else [found]
    elif message.contact_id is not None:
        devices = await devices_of_contact(tx, message.contact_id)
    return [
        _destination(one, push.notification_id(message, one.id))
        for one in devices[-DEVICES_MAX:]
        if _can_get(one, message, push)
    ]


def _can_get(device: Device, message: Message, push: PushMessage) -> bool:
    return (
        device.project_id == message.project_id
        and device.app_id == push.app_id
        and device.state is DeviceState.SUBSCRIBED
        and device.address is not None
        and device.environment is push.environment
        and (not push.platforms or device.platform in push.platforms)
    )


def _destination(device: Device, notification_id: str) -> Destination:
    return Destination(
        notification_id=notification_id,
        platform=device.platform,
        device_id=device.id,
        address=device.address or "",
        p256dh=device.p256dh,
        auth=device.auth,
        sandbox=device.apns_environment == "sandbox",
        locale=device.facts.locale,
        timezone=device.facts.timezone,
    )


async def insert_notifications(
    tx: Transaction,
    message: Message,
    push: PushMessage,
    wanted: Iterable[Destination],
    now_us: int,
) -> None:
    """Insert the notifications of a message; existing ones are not changed."""
    await tx.run_many(
        _INSERT,
        [
            (
                *(*key_of(one.notification_id), message.project_id, push.app_id),
                *(one.platform.value, push.send_id, message.id, one.device_id),
                message.contact_id,
                None if push.raw is None else msgspec.json.encode(push.raw).decode(),
                now_us,
            )
            for one in wanted
        ],
    )


async def reopen(tx: Transaction, of: str) -> None:
    """Queue those notifications of a message again that no device got."""
    await tx.run(REOPEN, of)


async def begin(tx: Transaction, ids: Sequence[str], attempt: int) -> None:
    """Note that notifications are being sent."""
    await tx.run_many(_BEGIN, [(*key_of(one), attempt) for one in ids])


async def move_open(
    tx: Transaction, of: str, state: str, reason: str | None, finished_us: int | None
) -> None:
    """Change the state of those notifications of a message that are not finished."""
    await tx.run(MOVE_OPEN, of, state, reason, finished_us)
