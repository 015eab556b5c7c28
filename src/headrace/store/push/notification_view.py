"""Notifications as they are shown."""

from __future__ import annotations

import msgspec

from headrace.domain.push.kinds import NotificationState, Platform
from headrace.store.contract.push import PushNotification
from headrace.store.engine.transaction import Row

_FIELDS = tuple(field.name for field in msgspec.structs.fields(PushNotification))
NOTIFICATION = ", ".join(_FIELDS)


def notification(row: Row) -> PushNotification:
    """The notification of a row of `NOTIFICATION`."""
    values = dict(zip(_FIELDS, row, strict=True))
    values["platform"] = Platform(values["platform"])
    values["state"] = NotificationState(values["state"])
    return PushNotification(**values)
