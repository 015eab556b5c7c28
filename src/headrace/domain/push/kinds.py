"""Closed lists about push; their values are stored and shown."""

from __future__ import annotations

from enum import StrEnum


class Platform(StrEnum):
    """What a device runs."""

    ANDROID = "android"
    IOS = "ios"
    WEB = "web"


class Environment(StrEnum):
    """Which build of an app a device has. Sends go to one of them."""

    PRODUCTION = "production"
    DEVELOPMENT = "development"


class ApnsEnvironment(StrEnum):
    """Which service of Apple knows a token."""

    PRODUCTION = "production"
    SANDBOX = "sandbox"


class Permission(StrEnum):
    """What the user allows, as the client reports it."""

    AUTHORIZED = "authorized"
    DENIED = "denied"
    NOT_DETERMINED = "not_determined"
    PROVISIONAL = "provisional"
    EPHEMERAL = "ephemeral"
    UNKNOWN = "unknown"
    UNSUPPORTED = "unsupported"


class DeviceState(StrEnum):
    """Whether a device can be sent to."""

    #: It has a token or a subscription, and its user has not switched push off.
    SUBSCRIBED = "subscribed"
    #: It has not, or its service said that it is gone; the reason says which.
    UNSUBSCRIBED = "unsubscribed"


class DeviceReason(StrEnum):
    """Why a device is unsubscribed."""

    #: It has not registered a token or a subscription.
    NOT_REGISTERED = "not_registered"
    #: Its user switched push off in the app.
    OPTED_OUT = "opted_out"
    #: Its user does not allow notifications.
    PERMISSION_DENIED = "permission_denied"
    #: The service answered that the subscription or the token is gone: 404 or 410.
    GONE = "gone"
    #: The subscription had an end and reached it.
    EXPIRED = "expired"
    #: Another device registered the same token or subscription.
    REPLACED = "replaced"
    #: The address of the subscription is not that of an allowed push service.
    ENDPOINT_REFUSED = "endpoint_refused"


class NotificationState(StrEnum):
    """State of a notification to one device; the comments say what sets it."""

    #: Stored, not sent yet.
    QUEUED = "queued"
    #: Claimed by a worker.
    SENDING = "sending"
    #: Waits for a time: a retry or a guardrail.
    DEFERRED = "deferred"
    #: The push service took it.
    SENT = "sent"
    #: A guardrail ended it.
    SKIPPED = "skipped"
    #: The push service rejected it, or it cannot be sent.
    FAILED = "failed"
    #: Its retries reached their horizon.
    EXPIRED = "expired"
    CANCELLED = "cancelled"


#: System events of push; delivery, click, dismiss and skip only where the project asks for them.
PUSH_SEND = "sendrealm.push.send"
PUSH_OPEN = "sendrealm.push.open"
PUSH_DELIVERY = "sendrealm.push.delivery"
PUSH_CLICK = "sendrealm.push.click"
PUSH_DISMISS = "sendrealm.push.dismiss"
PUSH_SKIP = "sendrealm.push.skip"
