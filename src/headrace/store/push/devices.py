"""Devices of all apps: what clients register and report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import UNSET

from headrace.domain.contacts.contact import Contact, ContactWrite
from headrace.domain.contacts.properties import (
    PROPERTIES_BYTES_MAX,
    PROPERTIES_MAX,
    PropertyValue,
)
from headrace.domain.errors import ApiError
from headrace.domain.events.identity import IdentityType
from headrace.domain.push.client_requests import Address, Identity, Report
from headrace.domain.push.devices import Facts, address_hash, device_lane, state_of
from headrace.domain.push.kinds import DeviceReason, DeviceState, Environment, Platform
from headrace.store.contacts.contact_writes import ContactWriter, by_id, by_write
from headrace.store.contacts.identifiers import owner_of
from headrace.store.contacts.races import ContactRaceError, write_contacts
from headrace.store.contacts.refs import find_ref
from headrace.store.contract.push import (
    KEPT_BYTES_MAX,
    KEPT_EVENTS_MAX,
    Device,
    DeviceFilter,
    DeviceHistory,
    KeptEvent,
)
from headrace.store.engine.dialect import Statement, sql
from headrace.store.engine.numbers import BIGINT_MAX, RowNumbers
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Database, Transaction
from headrace.store.push.device_rows import (
    COLUMNS,
    device,
    devices_of_contact,
    find_device,
    insert_device,
    key_of,
    update_device,
)
from headrace.store.push.notification_view import NOTIFICATION, notification

#: Who wrote a contact, as its events say.
SOURCE = "client"
#: The last activity is written again when it is older than this.
SEEN_US = 60_000_000
#: Kept events that are read at a time.
KEPT_PAGE = 200

_KEY = "lane = $1 AND app_id = $2 AND {} = $3"
_DEVICE, _OF_DEVICE = _KEY.format("id"), _KEY.format("device_id")
# The address now leads to another device of the app.
REPLACE = sql(
    "UPDATE push_devices SET state = 'unsubscribed', reason = 'replaced', state_us = $4, "
    "updated_us = $4, address = NULL, address_hash = NULL, p256dh = NULL, auth = NULL "
    "WHERE app_id = $1 AND address_hash = $2 AND id <> $3"
)
_SEEN = sql(f"UPDATE push_devices SET seen_us = $4 WHERE {_DEVICE} AND seen_us < $4")
_KEEP = sql(
    "INSERT INTO push_device_events (lane, app_id, device_id, id, project_id, event, payload, "
    "received_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING"
)
KEPT = sql(
    "SELECT id, event, payload, received_us FROM push_device_events "
    f"WHERE {_OF_DEVICE} ORDER BY received_us, id LIMIT $4"
)
DROP_KEPT = sql(f"DELETE FROM push_device_events WHERE {_OF_DEVICE} AND id = ANY($4::text[])")
_COUNT_KEPT = sql(
    "UPDATE push_devices SET kept_events = greatest(kept_events - $4, 0), "
    "kept_bytes = CASE WHEN kept_events <= $4 THEN 0 ELSE greatest(kept_bytes - $5, 0) END "
    f"WHERE {_DEVICE}"
)
# Devices whose events wait although somebody is logged in: a server ended before it moved them.
_WAITING = (
    f"SELECT {COLUMNS} FROM push_devices {{}}WHERE kept_events > 0 AND contact_id IS NOT NULL "
    "AND seen_us > 0 "
    "ORDER BY seen_us LIMIT "
)
WAITING = sql(
    _WAITING.format("") + "$1",
    # Without statistics it would take the index on contacts, which has nearly all devices.
    sqlite=_WAITING.format("INDEXED BY push_devices_kept ") + "?1",
)
_COUNT = sql("SELECT count(*) FROM (SELECT 1 FROM push_devices WHERE app_id = $1 LIMIT $2) AS n")
_LIST = (
    f"SELECT {COLUMNS} FROM push_devices WHERE app_id = $1 AND (created_us, id) < ($2, $3) "
    "{}ORDER BY created_us DESC, id DESC LIMIT $4"
)
_CONDITIONS = ("AND environment = ${} ", "AND platform = ${} ", "AND state = ${} ")
#: Notifications that are shown with a device.
HISTORY_MAX = 20
NOTIFICATIONS = sql(
    f"SELECT {NOTIFICATION} FROM push_notifications WHERE app_id = $1 AND device_id = $2 "
    "AND device_id IS NOT NULL ORDER BY created_us DESC, id DESC LIMIT $3"
)
_DELETE = sql(f"DELETE FROM push_devices WHERE {_DEVICE}")
_DELETE_EVENTS = sql(f"DELETE FROM push_device_events WHERE {_OF_DEVICE}")


class Linking(msgspec.Struct, frozen=True, kw_only=True):
    """How a login finds its contact, by the policies of the project."""

    #: Whether an unknown identity creates a contact.
    create: bool
    #: Whether an unknown `external_id` joins the contact of the e-mail that has none.
    link: bool


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a device. None leaves a part as it is."""

    report: Report
    address: Address | None = None
    identity: Identity = Identity(keep=True)


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """A device after a change."""

    device: Device
    #: The contact that is logged in.
    contact: Contact | None = None
    #: Whether the device was unknown.
    created: bool = False


class Devices:
    """Devices of all apps."""

    def __init__(
        self, database: Database, system_events: SystemEvents, numbers: RowNumbers
    ) -> None:
        self._database = database
        self._system_events = system_events
        self._numbers = numbers

    # --- what clients send ---

    async def register(
        self,
        project_id: int,
        app_id: str,
        device_id: str,
        registration: Registration,
        now_us: int,
        linking: Linking,
        *,
        may_add: bool = True,
    ) -> Registered:
        """Write what a client says about its device, which is created if it is unknown.

        An address that another device of the app has leaves that one. Tags that waited for a
        contact become its properties.

        Raises:
            UnknownDeviceError: the device is unknown, and `may_add` is false.
        """
        key = (app_id, device_id)

        async def work(tx: Transaction) -> Registered:
            found = await find_device(tx, *key, lock=True)
            if found is None and not may_add:
                raise UnknownDeviceError
            held = found or _new(project_id, *key, registration.report, now_us)
            after = _changed(held, registration, now_us)
            if registration.address is not None:
                hashed = address_hash(registration.address.address)
                await tx.run(REPLACE, app_id, hashed, device_id, now_us)
            contact = None
            identity = registration.identity
            if identity.is_known:
                writer = ContactWriter(tx, self._system_events, self._numbers, now_us, SOURCE)
                tags = msgspec.json.decode(held.tags)
                contact = await _login(writer, project_id, identity, linking, tags)
            if contact is not None:
                own_id = contact.id
                if await _leads_to(tx, project_id, held.contact_id, contact.id):
                    own_id = held.contact_id or own_id
                after = msgspec.structs.replace(after, contact_id=own_id, tags="{}")
            elif identity.is_known or identity.keep:
                after = await _with_contact(tx, after)
            else:
                after = msgspec.structs.replace(after, contact_id=None)
            if found is not None:
                await update_device(tx, after)
            elif not await insert_device(tx, after):
                # Another request has just created it; the next attempt finds it.
                raise ContactRaceError
            return Registered(device=after, contact=contact, created=found is None)

        return await write_contacts(lambda: self._database.write(work))

    async def seen(self, held: Device, now_us: int) -> None:
        """Note that a client sent something; not more often than every `SEEN_US`."""
        if held.seen_us > now_us - SEEN_US:
            return
        key = key_of(held.app_id, held.id)
        await self._database.write(lambda tx: tx.run(_SEEN, *key, now_us))

    async def keep_event(
        self, project_id: int, app_id: str, device_id: str, event: KeptEvent, report: Report
    ) -> Device | None:
        """Keep an event with a device until somebody logs in on it.

        The device is created if it is unknown.

        Returns:
            The device when somebody is logged in, so that the event was not kept.

        Raises:
            TooManyKeptError: the device keeps `KEPT_EVENTS_MAX` events or `KEPT_BYTES_MAX` bytes.
        """

        async def work(tx: Transaction) -> Device | None:
            held = await _hold(tx, project_id, app_id, device_id, report, event.received_us)
            if held.contact_id is not None:
                return held
            size = len(event.payload.encode())
            key = key_of(app_id, device_id)
            values = (event.id, project_id, event.event, event.payload, event.received_us)
            if not await tx.run(_KEEP, *key, *values):
                return None
            if held.kept_events >= KEPT_EVENTS_MAX or held.kept_bytes + size > KEPT_BYTES_MAX:
                raise TooManyKeptError
            after = msgspec.structs.replace(
                held,
                kept_events=held.kept_events + 1,
                kept_bytes=held.kept_bytes + size,
                seen_us=max(held.seen_us, event.received_us),
            )
            await update_device(tx, after)
            return None

        return await self._database.write(work)

    async def kept_events(self, app_id: str, device_id: str) -> Sequence[KeptEvent]:
        """The first `KEPT_PAGE` events of a device, in order of receipt."""
        key = key_of(app_id, device_id)
        rows = await self._database.read(lambda tx: tx.rows(KEPT, *key, KEPT_PAGE))
        return [KeptEvent(id=a, event=b, payload=c, received_us=d) for a, b, c, d in rows]

    async def drop_kept(self, app_id: str, device_id: str, events: Sequence[KeptEvent]) -> None:
        """Remove kept events, which have become events of a contact."""
        key = key_of(app_id, device_id)

        async def work(tx: Transaction) -> None:
            await find_device(tx, app_id, device_id, lock=True)
            sizes = {each.id: len(each.payload.encode()) for each in events}
            dropped = await tx.run(DROP_KEPT, *key, list(sizes))
            if dropped:
                await tx.run(_COUNT_KEPT, *key, dropped, sum(sizes.values()))

        await self._database.write(work)

    async def waiting(self, limit: int) -> Sequence[Device]:
        """Devices with kept events on which somebody is logged in.

        A device whose contact was deleted keeps its events for the next one.
        """
        found = await self._database.read(lambda tx: _waiting(tx, limit))
        gone = [each for each in found if each.contact_id is None]
        if gone:

            async def work(tx: Transaction) -> None:
                for each in sorted(gone, key=lambda one: (one.lane, one.app_id, one.id)):
                    held = await find_device(tx, each.app_id, each.id, lock=True)
                    if held is not None:
                        await update_device(tx, await _with_contact(tx, held))

            await self._database.write(work)
        return [each for each in found if each.contact_id is not None]

    async def tag(
        self,
        project_id: int,
        app_id: str,
        device_id: str,
        tags: Mapping[str, PropertyValue | None],
        report: Report,
        now_us: int,
    ) -> bool:
        """Write tags to the contact, or keep them with the device until somebody logs in.

        Returns:
            False when they would be too much.
        """

        async def work(tx: Transaction) -> bool:
            held = await _hold(tx, project_id, app_id, device_id, report, now_us)
            contact = None
            if held.contact_id is not None:
                contact = await by_id(tx, project_id, held.contact_id, lock=True)
            if contact is not None:
                writer = ContactWriter(tx, self._system_events, self._numbers, now_us, SOURCE)
                try:
                    await writer.update(contact, ContactWrite(properties=dict(tags), are_tags=True))
                except ApiError:
                    return False
                return True
            merged = msgspec.json.decode(held.tags) | dict(tags)
            text = msgspec.json.encode(merged).decode()
            if len(merged) > PROPERTIES_MAX or len(text.encode()) > PROPERTIES_BYTES_MAX:
                return False
            await update_device(tx, msgspec.structs.replace(held, tags=text, updated_us=now_us))
            return True

        return await write_contacts(lambda: self._database.write(work))

    # --- reading ---

    async def get(self, app_id: str, device_id: str) -> Device | None:
        """One device; without a contact when that was deleted."""

        async def read(tx: Transaction) -> Device | None:
            held = await find_device(tx, app_id, device_id)
            return None if held is None else await _with_contact(tx, held)

        return await self._database.read(read)

    async def history(self, app_id: str, device_id: str) -> DeviceHistory | None:
        """One device with its newest notifications."""

        async def read(tx: Transaction) -> DeviceHistory | None:
            held = await find_device(tx, app_id, device_id)
            if held is None:
                return None
            rows = await tx.rows(NOTIFICATIONS, app_id, device_id, HISTORY_MAX)
            return DeviceHistory(device=held, notifications=tuple(map(notification, rows)))

        return await self._database.read(read)

    async def count(self, app_id: str, most: int) -> int:
        """Devices of an app; counting stops at `most`."""
        found: int = await self._database.read(lambda tx: tx.value(_COUNT, app_id, most))
        return found

    async def list(
        self, app_id: str, wanted: DeviceFilter, *, before: tuple[int, str] | None, limit: int
    ) -> Sequence[Device]:
        """Devices of an app, newest first, from a position `(created_us, id)` on."""
        place = before or (BIGINT_MAX, "")
        chosen = [each.value for each in _chosen(wanted) if each is not None]
        statement, values = list_of(wanted), (app_id, *place, limit, *chosen)
        rows = await self._database.read(lambda tx: tx.rows(statement, *values))
        return [device(row) for row in rows]

    async def of_contact(self, project_id: int, contact_id: str) -> Sequence[Device]:
        """Devices of a contact in all apps, oldest first; empty when there is none."""

        async def read(tx: Transaction) -> Sequence[Device]:
            ref = await find_ref(tx, project_id, contact_id)
            if ref is None:
                return []
            found = await devices_of_contact(tx, ref.id)
            return [each for each in found if each.project_id == project_id]

        return await self._database.read(read)

    async def delete(self, app_id: str, device_id: str) -> bool:
        """Delete a device with the events that it keeps. False when there is none."""
        key = key_of(app_id, device_id)

        async def work(tx: Transaction) -> bool:
            await tx.run(_DELETE_EVENTS, *key)
            return bool(await tx.run(_DELETE, *key))

        return await self._database.write(work)


def _chosen(wanted: DeviceFilter) -> tuple[StrEnum | None, ...]:
    return wanted.environment, wanted.platform, wanted.state


def list_of(wanted: DeviceFilter) -> Statement:
    """The statement that lists devices by a filter."""
    chosen = zip(_CONDITIONS, _chosen(wanted), strict=True)
    conditions = [condition for condition, value in chosen if value is not None]
    numbered = "".join(each.format(number) for number, each in enumerate(conditions, 5))
    return sql(_LIST.format(numbered))


class UnknownDeviceError(Exception):
    """There is no such device; nothing was written."""


class TooManyKeptError(Exception):
    """The device keeps as many events as it may; nothing was written."""


async def _hold(
    tx: Transaction, project_id: int, app_id: str, device_id: str, report: Report, now_us: int
) -> Device:
    """The locked device, created if it is unknown."""
    held = await find_device(tx, app_id, device_id, lock=True)
    if held is not None:
        return await _with_contact(tx, held)
    made = _new(project_id, app_id, device_id, report, now_us)
    if await insert_device(tx, made):
        return made
    # Another request has just created it.
    found = await find_device(tx, app_id, device_id, lock=True)
    assert found is not None
    return found


def _new(project_id: int, app_id: str, device_id: str, report: Report, now_us: int) -> Device:
    return Device(
        lane=device_lane(app_id, device_id),
        app_id=app_id,
        id=device_id,
        project_id=project_id,
        contact_id=None,
        platform=report.platform or Platform.WEB,
        environment=report.environment or Environment.PRODUCTION,
        state=DeviceState.UNSUBSCRIBED,
        reason=DeviceReason.NOT_REGISTERED,
        state_us=now_us,
        subscribed=True,
        permission=report.permission,
        address=None,
        p256dh=None,
        auth=None,
        expires_us=None,
        apns_environment=None,
        facts=report.facts,
        tags="{}",
        kept_events=0,
        kept_bytes=0,
        created_us=now_us,
        seen_us=now_us,
        updated_us=now_us,
        sent_us=None,
        failed_us=None,
        failure=None,
    )


async def _waiting(tx: Transaction, limit: int) -> list[Device]:
    rows = await tx.rows(WAITING, limit)
    return [await _with_contact(tx, device(row)) for row in rows]


async def _with_contact(tx: Transaction, held: Device) -> Device:
    """The device, without its contact if that was deleted: its user is unknown from then on."""
    if held.contact_id is None or await find_ref(tx, held.project_id, held.contact_id) is not None:
        return held
    return msgspec.structs.replace(held, contact_id=None)


def _changed(held: Device, registration: Registration, now_us: int) -> Device:
    report, address = registration.report, registration.address
    facts = {
        name: getattr(report.facts, name) or getattr(held.facts, name)
        for name in Facts.__struct_fields__
    }
    after = msgspec.structs.replace(
        held,
        platform=report.platform or held.platform,
        environment=report.environment or held.environment,
        permission=report.permission or held.permission,
        subscribed=held.subscribed if report.subscribed is None else report.subscribed,
        facts=Facts(**facts),
        seen_us=max(held.seen_us, now_us),
        updated_us=max(held.updated_us, now_us),
    )
    if address is not None:
        after = msgspec.structs.replace(
            after,
            address=address.address,
            p256dh=address.p256dh,
            auth=address.auth,
            expires_us=address.expires_us,
            apns_environment=address.apns_environment,
        )
    state, reason = state_of(after.address, after.permission, subscribed=after.subscribed)
    is_gone = held.reason in {DeviceReason.GONE, DeviceReason.EXPIRED}
    if is_gone and address is None and state is DeviceState.SUBSCRIBED:
        # Only a new registration of its address shows that the device can be reached again.
        state, reason = held.state, held.reason
    if (state, reason) == (held.state, held.reason):
        return after
    return msgspec.structs.replace(after, state=state, reason=reason, state_us=now_us)


async def _leads_to(tx: Transaction, project_id: int, contact_id: str | None, own_id: str) -> bool:
    """Whether an id is that of a contact, or of one that was merged into it."""
    if contact_id is None or contact_id == own_id:
        return contact_id is not None
    ref = await find_ref(tx, project_id, contact_id)
    return ref is not None and ref.id == own_id


async def _login(
    writer: ContactWriter,
    project_id: int,
    identity: Identity,
    linking: Linking,
    tags: dict[str, PropertyValue | None],
) -> Contact | None:
    """The contact of an identity, with the tags that waited for it.

    Anybody can call this without a key. So it fills identifiers that a contact lacks, as events do,
    and never changes one.
    """
    tx = writer.tx
    wanted = ContactWrite(
        external_id=identity.external_id or UNSET,
        email=identity.email or UNSET,
        email_original=identity.email_original,
        link=linking.link,
    )
    found = await by_write(tx, project_id, wanted)
    if found is None and not linking.create:
        return None
    email: Any = UNSET
    if identity.email is not None and (found is None or found.email is None):
        owner = await owner_of(tx, project_id, IdentityType.EMAIL, identity.email)
        if owner is None or (found is not None and owner == found.id):
            email = identity.email
    external_id: Any = UNSET
    if identity.external_id is not None and (found is None or found.external_id is None):
        external_id = identity.external_id
    write = ContactWrite(
        external_id=external_id,
        email=email,
        email_original=None if email is UNSET else identity.email_original,
        properties=tags,
        are_tags=True,
    )
    plain = msgspec.structs.replace(write, properties={})
    for each in (write, plain):
        try:
            if found is None:
                return await writer.create(project_id, each, looked_up=True)
            return await writer.update(found, each)
        except ApiError:
            # Raised before anything is written: the tags are too much for the contact.
            if each is plain:
                raise
    raise AssertionError
