"""Checks the signature of Amazon SNS, which delivers the webhooks of SES.

The certificate is fetched by the caller, only from an address that `certificate_url_is_allowed`
accepts: a webhook that may name any address could be signed by anybody.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from headrace.domain import timestamps

#: How old a message may be; SNS retries within an hour by default.
AGE_MAX_US = 3600 * 1_000_000
#: How far its time may lie in the future.
AHEAD_MAX_US = 300 * 1_000_000

_URL = re.compile(
    r"https://sns\.[a-z]{2,4}(?:-[a-z]{2,12}){1,3}-[0-9]{1,2}\.amazonaws\.com(?:\.cn)?"
    r"/SimpleNotificationService-[A-Za-z0-9]{1,64}\.pem"
)
_CONFIRM_URL = re.compile(
    r"https://sns\.[a-z]{2,4}(?:-[a-z]{2,12}){1,3}-[0-9]{1,2}\.amazonaws\.com(?:\.cn)?"
    r"/\?Action=ConfirmSubscription&[A-Za-z0-9&=:%._~-]{1,2000}"
)
#: Members that are signed, in this order, by type of the message.
_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    **dict.fromkeys(
        ("SubscriptionConfirmation", "UnsubscribeConfirmation"),
        ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    ),
}
#: A notification without a subject is signed without one.
_OPTIONAL = "Subject"


def certificate_url_is_allowed(url: str) -> bool:
    """Whether a certificate may be fetched from here: a host of SNS, over https, a `.pem` file."""
    return _URL.fullmatch(url) is not None


def confirm_url_is_allowed(url: str) -> bool:
    """Whether a subscription may be confirmed by requesting this address."""
    return _CONFIRM_URL.fullmatch(url) is not None


def signed_text(message: Mapping[str, Any]) -> bytes | None:
    """What the signature of a message covers; None when a member is missing or no text."""
    kind = message.get("Type")
    names = _SIGNED.get(kind) if isinstance(kind, str) else None
    if names is None:
        return None
    lines: list[str] = []
    for name in names:
        value = message.get(name)
        if isinstance(value, str):
            lines += (name, value)
        elif value is not None or name != _OPTIONAL:
            return None
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")


def is_signed(
    message: Mapping[str, Any], certificate: bytes, topics: Collection[str], now_us: int
) -> bool:
    """Whether SNS signed a message of one of these topics, lately.

    Args:
        message: members of the body.
        certificate: PEM, fetched from the allowed `SigningCertURL` of the message.
        topics: ARNs that are expected. Others are rejected: everybody can create a topic, and its
            messages are signed as well.
        now_us: wall clock.
    """
    text = signed_text(message)
    if text is None or message["TopicArn"] not in topics or not _is_recent(message, now_us):
        return False
    url = message.get("SigningCertURL")
    if not isinstance(url, str) or not certificate_url_is_allowed(url):
        return False
    return _verified(message, text, certificate, now_us)


def _is_recent(message: Mapping[str, Any], now_us: int) -> bool:
    try:
        at_us = timestamps.parse(message["Timestamp"])
    except ValueError:
        return False
    return -AHEAD_MAX_US <= now_us - at_us <= AGE_MAX_US


def _verified(message: Mapping[str, Any], text: bytes, certificate: bytes, now_us: int) -> bool:
    # Loaded when a webhook comes: it costs a tenth of a second that no other command needs.
    from cryptography import x509  # noqa: PLC0415
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import padding, rsa  # noqa: PLC0415

    # Version 1 of SNS, still its default, signs with SHA-1.
    digests = {"1": hashes.SHA1(), "2": hashes.SHA256()}  # noqa: S303
    version, signature = message.get("SignatureVersion"), message.get("Signature")
    if not isinstance(version, str) or version not in digests or not isinstance(signature, str):
        return False
    try:
        parsed = x509.load_pem_x509_certificate(certificate)
        key = parsed.public_key()
        at = datetime.fromtimestamp(now_us / 1_000_000, UTC)
        if not parsed.not_valid_before_utc <= at <= parsed.not_valid_after_utc:
            return False
        if not isinstance(key, rsa.RSAPublicKey):
            return False
        key.verify(
            base64.b64decode(signature, validate=True), text, padding.PKCS1v15(), digests[version]
        )
    except (InvalidSignature, ValueError):
        return False
    return True
