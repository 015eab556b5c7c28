"""VAPID keys (RFC 8292): P-256, one pair for each app."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

_POINT_BYTES, _UNCOMPRESSED = 65, 4
#: P-256 (SEC 2, 2.4.2): y² = x³ - 3x + b modulo p.
_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B


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
    except ValueError:
        return False
    if len(point) != _POINT_BYTES or point[0] != _UNCOMPRESSED:
        return False
    x, y = int.from_bytes(point[1:33], "big"), int.from_bytes(point[33:], "big")
    # Ten times as fast as making a key of the library from it. Every point of this curve is in the
    # group that keys are from.
    return x < _P and y < _P and (y * y - (x * x * x - 3 * x + _B)) % _P == 0
