"""Why a device cannot be sent to, and why a notification was not sent, in words."""

from __future__ import annotations

from headrace.domain.push.kinds import DeviceReason

_WORDS = {
    DeviceReason.NOT_REGISTERED: "no token or subscription yet",
    DeviceReason.OPTED_OUT: "switched off in the app",
    DeviceReason.PERMISSION_DENIED: "notifications are not allowed",
    DeviceReason.GONE: "the push service says that it is gone",
    DeviceReason.EXPIRED: "the subscription ended",
    DeviceReason.REPLACED: "another device has its token now",
    DeviceReason.ENDPOINT_REFUSED: "the address may not be called",
}


_NOT_SENT = {
    "cancelled_by": "it was cancelled",
    "contact_deleted": "the contact was deleted",
    "no_device": "the device cannot be sent to",
}


def not_sent_words(reason: str) -> str:
    """The reason of a notification as part of a sentence."""
    return _NOT_SENT.get(reason, reason.replace("_", " "))


def reason_words(reason: DeviceReason) -> str:
    """The reason as part of a sentence."""
    return _WORDS.get(reason, reason.value.replace("_", " "))
