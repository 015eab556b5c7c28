"""Encrypts a push for one subscription (RFC 8291, content coding aes128gcm of RFC 8188).

The body is one record. It is encrypted with a key that is used once, so a service that stores
pushes cannot compare their contents.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

#: Limit of an encrypted body; every push service accepts as much (RFC 8030 7.2).
ENCRYPTED_BYTES_MAX = 4096
_SALT_BYTES = 16
_KEY_BYTES = 65
#: Salt, record size, length of the key, key.
_HEADER_BYTES = _SALT_BYTES + 4 + 1 + _KEY_BYTES
_TAG_BYTES = 16
#: Marks the last record.
_LAST = b"\x02"
PAYLOAD_BYTES_MAX = ENCRYPTED_BYTES_MAX - _HEADER_BYTES - _TAG_BYTES - len(_LAST)
_AUTH_BYTES = 16
_CURVE = ec.SECP256R1()


class SubscriptionKeysError(ValueError):
    """Keys of a subscription that nothing can be encrypted for."""


class PayloadTooLargeError(ValueError):
    """A payload that does not fit one push."""


@dataclass(frozen=True, slots=True)
class SubscriptionKeys:
    """Public keys of a subscription, as the browser made them."""

    #: Uncompressed point of P-256, 65 bytes.
    p256dh: bytes
    #: 16 bytes.
    auth: bytes


def read_keys(p256dh: str, auth: str) -> SubscriptionKeys:
    """Keys in base64url, with or without padding.

    Raises:
        SubscriptionKeysError: they are invalid.
    """
    return SubscriptionKeys(
        _decoded(p256dh, _KEY_BYTES, "p256dh"), _decoded(auth, _AUTH_BYTES, "auth")
    )


def encrypt(
    payload: bytes,
    keys: SubscriptionKeys,
    *,
    sender: ec.EllipticCurvePrivateKey | None = None,
    salt: bytes | None = None,
) -> bytes:
    """The body of a push, at most `ENCRYPTED_BYTES_MAX`.

    Args:
        payload: at most `PAYLOAD_BYTES_MAX`.
        keys: of the subscription.
        sender: None: a new one, as every push needs; given only to compare with known results.
        salt: as `sender`; 16 bytes.

    Raises:
        SubscriptionKeysError: the public key is no point of the curve.
        PayloadTooLargeError: the payload does not fit.
    """
    if len(payload) > PAYLOAD_BYTES_MAX:
        message = f"has {len(payload)} bytes, more than {PAYLOAD_BYTES_MAX}"
        raise PayloadTooLargeError(message)
    sender = sender or ec.generate_private_key(_CURVE)
    salt = salt or os.urandom(_SALT_BYTES)
    try:
        receiver = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, keys.p256dh)
        shared = sender.exchange(ec.ECDH(), receiver)
    except ValueError as error:
        raise SubscriptionKeysError("p256dh is no point of P-256") from error
    own = sender.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    secret = _hkdf(keys.auth, shared, b"WebPush: info\0" + keys.p256dh + own, 32)
    key = _hkdf(salt, secret, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _hkdf(salt, secret, b"Content-Encoding: nonce\0", 12)
    header = salt + ENCRYPTED_BYTES_MAX.to_bytes(4, "big") + bytes([len(own)]) + own
    return header + AESGCM(key).encrypt(nonce, payload + _LAST, None)


def _hkdf(salt: bytes, secret: bytes, info: bytes, size: int) -> bytes:
    """HKDF with SHA-256 (RFC 5869), up to 32 bytes: one block."""
    key = hmac.digest(salt, secret, hashlib.sha256)
    return hmac.digest(key, info + b"\x01", hashlib.sha256)[:size]


def _decoded(text: str, size: int, name: str) -> bytes:
    plain = text.rstrip("=")
    try:
        value = base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != size:
        message = f"{name} is not {size} bytes in base64url"
        raise SubscriptionKeysError(message)
    return value
