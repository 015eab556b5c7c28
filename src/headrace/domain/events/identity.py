"""The identity of an event, and its lane."""

from __future__ import annotations

from enum import StrEnum
from hashlib import blake2b

#: Number of lanes; cannot change, since stored rows carry their lane.
LANES = 256


class IdentityType(StrEnum):
    """Identifiers in the order in which they are tried."""

    CONTACT_ID = "contact_id"
    EXTERNAL_ID = "external_id"
    EMAIL = "email"


_PREFIX = {kind: kind.value.encode() + b"\x00" for kind in IdentityType}


def lane_of(project_id: int, kind: IdentityType, value: str) -> int:
    """Lane (0-255) of an identity: the same in every process and release.

    Args:
        value: canonical contact id, external id as sent, or normalized e-mail.
    """
    text = project_id.to_bytes(8, "big") + _PREFIX[kind] + value.encode()
    return blake2b(text, digest_size=8).digest()[7]


def contact_lane(project_id: int, contact_id: str) -> int:
    """Lane of a contact's row: that of the identity by its id."""
    return lane_of(project_id, IdentityType.CONTACT_ID, contact_id)


def idempotency_hash(project_id: int, key: str) -> bytes:
    """16-byte hash of an idempotency key for the unique index.

    BLAKE2b, 128 bits: at 10^12 events the chance of any collision is below 10^-14, and the
    index stays small whatever the length of the keys.
    """
    return blake2b(project_id.to_bytes(8, "big") + key.encode(), digest_size=16).digest()


def lane_of_key(hashed: bytes) -> int:
    """Lane (0-255) of an idempotency key, from its hash; not that of its event."""
    return hashed[15]
