"""Rows of devices."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec

from headrace.domain.push.devices import Facts, address_hash, device_lane
from headrace.domain.push.kinds import (
    ApnsEnvironment,
    DeviceReason,
    DeviceState,
    Environment,
    Permission,
    Platform,
)
from headrace.store.contacts.identifiers import ids_of
from headrace.store.contract.push import Device
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Row, Transaction

FIELDS = tuple(field.name for field in msgspec.structs.fields(Device))
COLUMNS = ", ".join(FIELDS)
#: Devices of one contact that are read at a time.
OF_CONTACT_MAX = 1000

_KEY = "lane = $1 AND app_id = $2 AND id = $3"
GET = sql(f"SELECT {COLUMNS} FROM push_devices WHERE {_KEY}")
HOLD = sql(f"SELECT {COLUMNS} FROM push_devices WHERE {_KEY} FOR UPDATE")
_D = ", ".join(f"d.{name}" for name in FIELDS)
MANY = sql(
    f"SELECT {_D} FROM unnest($1::smallint[], $2::text[]) AS k (lane, id) "
    "JOIN push_devices d ON d.lane = k.lane AND d.app_id = $3 AND d.id = k.id"
)
OF_CONTACT = sql(
    f"SELECT {_D} FROM unnest($1::text[]) AS k (id) "
    f"JOIN push_devices d ON d.contact_id = k.id LIMIT {OF_CONTACT_MAX}"
)
CONTACTS = sql(
    "SELECT address_hash, contact_id FROM push_devices WHERE app_id = $1 "
    "AND address_hash = ANY($2::bytea[]) AND contact_id IS NOT NULL"
)
UNSUBSCRIBE = sql(
    "UPDATE push_devices SET state = 'unsubscribed', reason = $4, state_us = $5, updated_us = $5 "
    f"WHERE {_KEY} AND state = 'subscribed'"
)
SENT = sql(f"UPDATE push_devices SET sent_us = $4 WHERE {_KEY}")
FAILED = sql(f"UPDATE push_devices SET failed_us = $4, failure = $5 WHERE {_KEY}")


_NAMES = (*FIELDS, "address_hash")
_PLACES = ", ".join(f"${number}" for number in range(1, len(_NAMES) + 1))
_INSERT = sql(
    f"INSERT INTO push_devices ({', '.join(_NAMES)}) VALUES ({_PLACES}) ON CONFLICT DO NOTHING"
)
#: What never changes.
_FIXED = ("lane", "app_id", "id", "project_id", "created_us")
_WRITTEN = tuple(name for name in _NAMES if name not in _FIXED)
_UPDATE = sql(
    f"UPDATE push_devices SET {', '.join(f'{name} = ${n}' for n, name in enumerate(_WRITTEN, 4))} "
    f"WHERE {_KEY}"
)


def key_of(app_id: str, device_id: str) -> tuple[int, str, str]:
    """Key of a device's row."""
    return device_lane(app_id, device_id), app_id, device_id


def device(row: Row) -> Device:
    """The device of a row of `COLUMNS`."""
    values = dict(zip(FIELDS, row, strict=True))
    values["platform"] = Platform(values["platform"])
    values["environment"] = Environment(values["environment"])
    values["state"] = DeviceState(values["state"])
    values["subscribed"] = bool(values["subscribed"])
    for name, kind in (
        ("reason", DeviceReason),
        ("permission", Permission),
        ("apns_environment", ApnsEnvironment),
    ):
        values[name] = None if values[name] is None else kind(values[name])
    values["facts"] = msgspec.json.decode(values["facts"], type=Facts)
    return Device(**values)


def _value(of: Device, name: str) -> Any:
    if name == "address_hash":
        return None if of.address is None else address_hash(of.address)
    value = getattr(of, name)
    if name == "facts":
        return msgspec.json.encode(value).decode()
    return value.value if isinstance(value, StrEnum) else value


async def insert_device(tx: Transaction, made: Device) -> bool:
    """Insert a device; False when another request has just done so."""
    return bool(await tx.run(_INSERT, *(_value(made, name) for name in _NAMES)))


async def update_device(tx: Transaction, held: Device) -> None:
    """Write the changeable columns of a locked device."""
    values = (_value(held, name) for name in _WRITTEN)
    await tx.run(_UPDATE, *key_of(held.app_id, held.id), *values)


async def find_device(
    tx: Transaction, app_id: str, device_id: str, *, lock: bool = False
) -> Device | None:
    """One device; with `lock` its row is locked until the end of the transaction."""
    row = await tx.row(HOLD if lock else GET, *key_of(app_id, device_id))
    return None if row is None else device(row)


async def find_devices(tx: Transaction, app_id: str, device_ids: Sequence[str]) -> list[Device]:
    """The devices that exist, in no order."""
    keys = [(device_lane(app_id, each), each) for each in device_ids]
    return [device(row) for row in await tx.rows(MANY, *columns_of(keys, 2), app_id)]


async def contacts_of_addresses(
    tx: Transaction, app_id: str, addresses: Sequence[str]
) -> dict[str, str]:
    """Contacts that are logged in on devices of these tokens or endpoints, by address."""
    hashes = {address_hash(each): each for each in addresses}
    rows = await tx.rows(CONTACTS, app_id, list(hashes))
    return {hashes[bytes(row[0])]: row[1] for row in rows}


async def devices_of_contact(tx: Transaction, contact_id: str) -> list[Device]:
    """Devices of a contact in all apps, those of contacts merged into it included; oldest first.

    Args:
        contact_id: not one that was merged into another.
    """
    ids = await ids_of(tx, contact_id)
    found = [device(row) for row in await tx.rows(OF_CONTACT, ids)]
    return sorted(found, key=lambda each: (each.created_us, each.app_id, each.id))


async def unsubscribe(
    tx: Transaction, app_id: str, device_id: str, reason: DeviceReason, now_us: int
) -> bool:
    """Note that a device cannot be sent to; False when it was not subscribed."""
    return bool(await tx.run(UNSUBSCRIBE, *key_of(app_id, device_id), reason.value, now_us))
