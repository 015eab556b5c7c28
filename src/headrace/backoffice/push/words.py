"""Why a device cannot be sent to, in words."""

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


def reason_words(reason: DeviceReason) -> str:
    """The reason as part of a sentence."""
    return _WORDS.get(reason, reason.value.replace("_", " "))
