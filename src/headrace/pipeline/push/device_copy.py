"""A device in the export of its user."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.domain.timestamps import to_text
from headrace.store.contract.push import DeviceCopy, NotificationCopy

_TIMES = {"created_us", "seen_us", "updated_us", "state_us", "sent_us", "failed_us", "expires_us"}
_PLAIN = (
    *("app_id", "platform", "environment", "contact_id", "state", "reason", "subscribed"),
    *("permission", "address", "p256dh", "auth", "apns_environment", "failure"),
)


def device_view(copy: DeviceCopy) -> dict[str, Any]:
    """A device with everything that is kept about it."""
    device = copy.device
    view: dict[str, Any] = {"device_id": device.id}
    view |= {name: getattr(device, name) for name in _PLAIN}
    view |= {_named(name): _time(getattr(device, name)) for name in sorted(_TIMES)}
    view["facts"] = msgspec.to_builtins(device.facts)
    view["tags"] = msgspec.Raw(device.tags.encode())
    view["kept_events"] = [
        {
            "event": each.event,
            "payload": msgspec.Raw(each.payload.encode()),
            "received_at": to_text(each.received_us),
        }
        for each in copy.kept
    ]
    view["notifications"] = [_notification(each) for each in copy.notifications]
    return view


def _notification(copy: NotificationCopy) -> dict[str, Any]:
    of = copy.notification
    return {
        "id": of.id,
        "state": of.state,
        "reason": of.reason,
        "created_at": to_text(of.created_us),
        "sent_at": _time(of.sent_us),
        "opened_at": _time(of.opened_us),
        "action_id": of.action_id,
        "attempts": [
            {
                "number": each.number,
                "service": each.service,
                "outcome": each.outcome,
                "status": each.status,
                "code": each.code,
                "detail": each.detail,
                "started_at": to_text(each.started_us),
            }
            for each in copy.attempts
        ],
        "reports": [
            {
                "kind": each.kind,
                "action_id": each.action_id or None,
                "count": each.count,
                "first_at": to_text(each.first_us),
                "last_at": to_text(each.last_us),
            }
            for each in copy.engagement
        ],
    }


def _named(column: str) -> str:
    return column.removesuffix("_us") + "_at"


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else to_text(at_us)
