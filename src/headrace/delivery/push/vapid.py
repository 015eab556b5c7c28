"""Tokens by which a push service identifies the sender (VAPID, RFC 8292).

A token is valid for every push to one service, so it is signed once in several hours: a push costs
one key agreement and one encryption, and no signature.
"""

from __future__ import annotations

import base64
import json
from collections import OrderedDict
from functools import lru_cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

#: How long a token is valid; services reject more than 24 hours.
VALID_S = 12 * 3600
#: Tokens are not used during their last hour, also for clocks that differ.
_SPARE_S = 3600
#: Origins and keys with a cached token; past it, the least recently used is evicted.
_TOKENS_MAX = 1024
_ES256 = ec.ECDSA(hashes.SHA256())
_HEADER = b'{"typ":"JWT","alg":"ES256"}'
_HALF_BYTES = 32


class VapidKeyError(ValueError):
    """A key that cannot sign."""


class VapidTokens:
    """Values of the header `Authorization`, cached by key and origin.

    Args:
        subject: `mailto:` or `https:` URL at which a service reaches the operator; empty: none.
    """

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._tokens: OrderedDict[tuple[str, str], tuple[int, str]] = OrderedDict()

    def header(self, private_key: str, origin: str, now_s: int) -> str:
        """The value for a push to `origin`.

        Args:
            private_key: of P-256, PEM.
            origin: scheme, host and port of the endpoint.
            now_s: wall clock, seconds since 1970.

        Raises:
            VapidKeyError: the key cannot be read.
        """
        place = (private_key, origin)
        expires_s, value = self._tokens.get(place, (0, ""))
        # A clock that was set back must not use a token that is valid for longer than allowed.
        if not now_s + _SPARE_S < expires_s <= now_s + VALID_S:
            expires_s = now_s + VALID_S
            value = self._signed(private_key, origin, expires_s)
            self._tokens[place] = (expires_s, value)
            if len(self._tokens) > _TOKENS_MAX:
                self._tokens.popitem(last=False)
        self._tokens.move_to_end(place)
        return value

    def forget(self, private_key: str, origin: str) -> None:
        """Sign a new token for the next push: the service rejected this one."""
        self._tokens.pop((private_key, origin), None)

    def _signed(self, private_key: str, origin: str, expires_s: int) -> str:
        key = _load(private_key)
        claims = {"aud": origin, "exp": expires_s}
        if self._subject:
            claims["sub"] = self._subject
        text = f"{_base64(_HEADER)}.{_base64(json.dumps(claims).encode())}"
        # A JWT has both numbers of the signature at full length, not in DER (RFC 7518 3.4).
        halves = decode_dss_signature(key.sign(text.encode(), _ES256))
        signature = b"".join(half.to_bytes(_HALF_BYTES, "big") for half in halves)
        return f"vapid t={text}.{_base64(signature)}, k={public_key(private_key)}"


def public_key(private_key: str) -> str:
    """The public key as clients subscribe with it: uncompressed point, base64url.

    Raises:
        VapidKeyError: the key cannot be read.
    """
    point = _load(private_key).public_key()
    return _base64(point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


@lru_cache(maxsize=64)
def _load(private_key: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(private_key.encode(), password=None)
    except (ValueError, TypeError) as error:
        raise VapidKeyError("the VAPID key of the push app cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise VapidKeyError("the VAPID key of the push app is not of P-256")
    return key


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")
