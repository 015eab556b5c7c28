"""Checks who sent a webhook: a password (Postmark) or Standard Webhooks (Resend)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence

#: How far the time of a signature may be from now, in either direction (Standard Webhooks).
TOLERANCE_US = 300 * 1_000_000
#: Signatures in one header that are compared.
SIGNATURES_MAX = 10

_PREFIX = "whsec_"
_SECRET_BYTES_MIN = 16
_HEADER_CHARACTERS_MAX = 4000
_DIGITS_MAX = 12


def password_matches(authorization: str, user: str, password: str) -> bool:
    """Whether a header `Authorization: Basic …` has this user and password.

    The comparison takes the same time wherever they differ. An empty password matches nothing.
    """
    scheme, _, value = authorization[:_HEADER_CHARACTERS_MAX].strip().partition(" ")
    if scheme.lower() != "basic" or not password:
        return False
    try:
        sent = base64.b64decode(value.strip(), validate=True)
    except ValueError:
        return False
    return hmac.compare_digest(_digest(sent), _digest(f"{user}:{password}".encode()))


def standard_webhook_is_signed(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_us: int
) -> bool:
    """Whether a webhook is signed with one of these secrets, at about this time.

    Args:
        headers: of the request, names in lower case; `svix-` is read where `webhook-` is missing.
        body: exactly the bytes received.
        secrets: `whsec_` and base64; more than one during a rotation.
        now_us: wall clock.
    """
    identifier, at, signatures = (
        headers.get(f"webhook-{name}") or headers.get(f"svix-{name}") or ""
        for name in ("id", "timestamp", "signature")
    )
    if not identifier or not (at.isascii() and at.isdigit() and len(at) <= _DIGITS_MAX):
        return False
    if abs(int(at) * 1_000_000 - now_us) > TOLERANCE_US:
        return False
    content = f"{identifier}.{at}.".encode() + body
    sent = signatures[:_HEADER_CHARACTERS_MAX].split(" ")[:SIGNATURES_MAX]
    return any(_signs(key, content, sent) for secret in secrets if (key := _key(secret)))


def secret_is_usable(secret: str) -> bool:
    """Whether a secret can sign: base64 of enough bytes, with or without `whsec_`."""
    return bool(_key(secret))


def _signs(key: bytes, content: bytes, sent: Sequence[str]) -> bool:
    expected = base64.b64encode(hmac.digest(key, content, hashlib.sha256))
    # All are compared, so that the time says nothing about which one is right.
    matches = [
        hmac.compare_digest(b"v1," + expected, one.encode("utf-8", "replace")) for one in sent
    ]
    return any(matches)


def _key(secret: str) -> bytes:
    """The bytes of a secret; empty when it is none, which signs nothing."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return b""
    return key if len(key) >= _SECRET_BYTES_MIN else b""


def _digest(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()
