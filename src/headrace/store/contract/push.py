"""Types of push for the pipeline and the edges. Times are microseconds since 1970 UTC."""

from __future__ import annotations

import msgspec

from headrace.domain.push.devices import Facts
from headrace.domain.push.kinds import (
    ApnsEnvironment,
    DeviceReason,
    DeviceState,
    Environment,
    NotificationState,
    Permission,
    Platform,
)

APPS_MAX = 100
#: Notifications of a device in an export.
COPIED_MAX = 1000
#: Events that are kept with a device until somebody logs in on it, and bytes of their payloads.
KEPT_EVENTS_MAX = 1000
KEPT_BYTES_MAX = 2 * 1024 * 1024


class PushApp(msgspec.Struct, frozen=True, kw_only=True):
    """An app or website that devices register with."""

    id: str
    project_id: int
    name: str
    #: Origins whose pages may use it; empty: every origin.
    origins: tuple[str, ...]
    #: Uncompressed point of P-256 (65 bytes) in base64url.
    vapid_public_key: str
    #: PEM, sealed; `PushApps.private_key` opens it.
    vapid_private_key: str
    #: Where a website serves the service worker, and its scope.
    worker_path: str
    worker_scope: str
    #: Public settings of Firebase for Android, as JSON text; None: none.
    fcm_app: str | None
    created_us: int
    updated_us: int


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A device of an app; it is identified by the app and its id."""

    lane: int
    app_id: str
    id: str
    project_id: int
    #: None: anonymous. May be the id of a contact that was merged into another.
    contact_id: str | None
    platform: Platform
    environment: Environment
    state: DeviceState
    reason: DeviceReason | None
    #: Since when it is in that state.
    state_us: int
    subscribed: bool
    permission: Permission | None
    #: Token of FCM or APNs, or the endpoint of Web Push.
    address: str | None
    #: Of Web Push, base64url without padding: the browser's public key and its secret.
    p256dh: str | None
    auth: str | None
    expires_us: int | None
    apns_environment: ApnsEnvironment | None
    facts: Facts
    #: Tags that wait for a contact, as JSON text of an object.
    tags: str
    kept_events: int
    kept_bytes: int
    created_us: int
    seen_us: int
    updated_us: int
    sent_us: int | None
    failed_us: int | None
    failure: str | None

    @property
    def is_native(self) -> bool:
        """Whether its address is a token of FCM or APNs."""
        return self.platform is not Platform.WEB


class DeviceFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which devices of an app to list; every field that is set must match."""

    environment: Environment | None = None
    platform: Platform | None = None
    state: DeviceState | None = None


class KeptEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a device on which nobody is logged in."""

    #: Idempotency key of the event that it becomes.
    id: str
    event: str
    #: JSON text of an object.
    payload: str
    received_us: int


class PushNotification(msgspec.Struct, frozen=True, kw_only=True):
    """A notification to one device."""

    lane: int
    id: str
    project_id: int
    app_id: str
    platform: Platform
    send_id: str | None
    message_id: str | None
    device_id: str | None
    contact_id: str | None
    #: Of a raw token or subscription, as JSON text.
    target: str | None
    state: NotificationState
    reason: str | None
    due_us: int | None
    horizon_us: int | None
    attempt: int
    claims: int
    crashes: int
    owner: str | None
    lease_until_us: int
    sent_us: int | None
    finished_us: int | None
    opened_us: int | None
    action_id: str | None
    open_due_us: int | None
    created_us: int


class PushAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One hand-over to a push service. Without an outcome it is in progress."""

    number: int
    service: str
    started_us: int
    ended_us: int | None
    outcome: str | None
    status: int | None
    code: str | None
    detail: str | None


class PushEngagement(msgspec.Struct, frozen=True, kw_only=True):
    """What a device reported about a notification, by kind and button."""

    kind: str
    action_id: str
    count: int
    first_us: int
    last_us: int


class DeviceHistory(msgspec.Struct, frozen=True, kw_only=True):
    """A device with its newest notifications, newest first."""

    device: Device
    notifications: tuple[PushNotification, ...]


class NotificationCopy(msgspec.Struct, frozen=True, kw_only=True):
    """A notification with all data about it, for the export of its recipient."""

    notification: PushNotification
    attempts: tuple[PushAttempt, ...]
    engagement: tuple[PushEngagement, ...]


class DeviceCopy(msgspec.Struct, frozen=True, kw_only=True):
    """A device with all data about it, for the export of its user."""

    device: Device
    kept: tuple[KeptEvent, ...]
    #: At most `COPIED_MAX`, newest first.
    notifications: tuple[NotificationCopy, ...]
