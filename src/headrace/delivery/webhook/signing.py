"""Signatures of Standard Webhooks, made with the standard's own library."""

from __future__ import annotations

import base64
import binascii
import secrets as system_random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook

from headrace.delivery.contract import DeliveryError, FailureCause

SECRET_PREFIX = "whsec_"  # noqa: S105 - a prefix, no secret
SECRET_BYTES = 32
#: Bounds in the standard.
_SECRET_BYTES_MIN = 24
_SECRET_BYTES_MAX = 64


def new_secret(random_bytes: Callable[[int], bytes] = system_random.token_bytes) -> str:
    """Make a secret for one endpoint, in the form shown to its owner."""
    return SECRET_PREFIX + base64.b64encode(random_bytes(SECRET_BYTES)).decode()


def check_secret(secret: str) -> str:
    """Return the secret unchanged.

    Raises:
        ValueError: it is not `whsec_` and base64 of 24 to 64 bytes. The message does not repeat it.
    """
    try:
        raw = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not secret.startswith(SECRET_PREFIX) or not (
        _SECRET_BYTES_MIN <= len(raw) <= _SECRET_BYTES_MAX
    ):
        message = (
            f"must be {SECRET_PREFIX} followed by base64 of "
            f"{_SECRET_BYTES_MIN} to {_SECRET_BYTES_MAX} bytes"
        )
        raise ValueError(message)
    return secret


def signature_headers(
    delivery_id: str, body: bytes, secrets: Sequence[str], now_us: int
) -> dict[str, str]:
    """Headers that authenticate a body.

    Args:
        delivery_id: identifies the message; without dots, which separate the signed parts.
        body: exactly the bytes sent.
        secrets: both during a rotation, the newest first; a receiver with either one accepts.
        now_us: wall clock; receivers reject a signature that is minutes old.

    Raises:
        DeliveryError: there is no secret, or one cannot be read.
    """
    if not secrets:
        raise DeliveryError(FailureCause.SECRET_UNUSABLE, "the endpoint has no signing secret")
    at_s = now_us // 1_000_000
    at = datetime.fromtimestamp(at_s, UTC)
    text = body.decode()
    signatures: list[str] = []
    for secret in secrets:
        try:
            signatures.append(Webhook(check_secret(secret)).sign(delivery_id, at, text))
        except ValueError as error:
            raise DeliveryError(
                FailureCause.SECRET_UNUSABLE, f"the endpoint's signing secret {error}"
            ) from None
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": " ".join(signatures),
    }
