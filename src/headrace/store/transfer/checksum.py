"""A checksum over rows that does not depend on their order."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import msgspec

_encode = msgspec.msgpack.Encoder().encode
_BYTES = 16
_MASK = (1 << 8 * _BYTES) - 1


class Checksum(msgspec.Struct):
    """Number of rows, and the sum of their hashes."""

    rows: int = 0
    total: int = 0

    def add(self, row: Sequence[Any]) -> None:
        """Add a row: its values in the order of the columns."""
        hashed = blake2b(_encode(row), digest_size=_BYTES).digest()
        self.total = (self.total + int.from_bytes(hashed, "big")) & _MASK
        self.rows += 1

    def __str__(self) -> str:
        return f"{self.rows} rows, checksum {self.total:0{2 * _BYTES}x}"
