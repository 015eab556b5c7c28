"""VAPID keys (RFC 8292): P-256, one pair for each app."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True, slots=True, repr=False)
class VapidKeys:
    """A pair of keys as stored."""

    #: Uncompressed point (65 bytes) in base64url without padding, as browsers take it.
    public: str
    #: PKCS#8 PEM, unencrypted.
    private_pem: str


def new_vapid_keys() -> VapidKeys:
    """Make a pair of keys."""
    key = ec.generate_private_key(ec.SECP256R1())
    point = key.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return VapidKeys(base64.urlsafe_b64encode(point).rstrip(b"=").decode(), pem.decode())


def is_public_key(text: str) -> bool:
    """Whether a browser's key is a point of the curve.

    Args:
        text: an uncompressed point in base64url without padding.
    """
    try:
        point = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        return False
    return True
