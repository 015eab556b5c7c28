"""Ids of push apps and devices, and the lanes of their rows."""

from __future__ import annotations

import re
import secrets
from hashlib import blake2b, sha256

import msgspec

from headrace.domain.push.kinds import DeviceReason, DeviceState, Permission

APP_ID_CHARACTERS = 10
#: Letters and digits that are not mistaken for one another.
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_APP_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DEVICE_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def new_app_id() -> str:
    """A new random id of a push app; it is public."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(APP_ID_CHARACTERS))


def is_app_id(text: str) -> bool:
    """Whether it can be the id of a push app."""
    return _APP_ID.fullmatch(text) is not None


def is_device_id(text: str) -> bool:
    """Whether it can be the id of a device; clients may choose their own."""
    return _DEVICE_ID.fullmatch(text) is not None


def device_lane(app_id: str, device_id: str) -> int:
    """Lane (0-255) of a device and of all that belongs to it."""
    return blake2b(f"{app_id}\x00{device_id}".encode(), digest_size=8).digest()[7]


def address_hash(address: str) -> bytes:
    """Hash of a token or an endpoint, by which a device is found."""
    return sha256(address.encode()).digest()


class Facts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a client reports about itself."""

    locale: str | None = None
    timezone: str | None = None
    sdk_version: str | None = None
    os_version: str | None = None
    app_version: str | None = None
    model: str | None = None
    package: str | None = None


def state_of(
    address: str | None, permission: Permission | None, *, subscribed: bool
) -> tuple[DeviceState, DeviceReason | None]:
    """Whether a device can be sent to, from what its client last reported; and why not."""
    if address is None:
        return DeviceState.UNSUBSCRIBED, DeviceReason.NOT_REGISTERED
    if not subscribed:
        return DeviceState.UNSUBSCRIBED, DeviceReason.OPTED_OUT
    if permission is Permission.DENIED:
        return DeviceState.UNSUBSCRIBED, DeviceReason.PERMISSION_DENIED
    return DeviceState.SUBSCRIBED, None
