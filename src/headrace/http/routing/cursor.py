"""Cursors of lists: opaque, and valid only for their own list, project and filter."""

from __future__ import annotations

import base64
import hmac
from hashlib import sha256

from headrace.domain.errors import FieldProblem, invalid

_MAC_BYTES = 16
_POSITION_BYTES = 8


class Cursors:
    """Makes and reads cursors; `secret` is the store's own, so every process reads them."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def make(self, position: int, scope: str) -> str:
        """Text of a cursor for `position` in the list named by `scope`."""
        plain = position.to_bytes(_POSITION_BYTES, "big")
        return base64.urlsafe_b64encode(plain + self._mac(plain, scope)).decode().rstrip("=")

    def read(self, text: str, scope: str) -> int:
        """Position of a cursor.

        Raises:
            ApiError: 422 when it was not made for this very list.
        """
        problem = invalid(FieldProblem("cursor", "is not a cursor of this list"))
        try:
            raw = base64.b64decode(text.encode("ascii") + b"==", altchars=b"-_", validate=True)
        except ValueError:
            raise problem from None
        plain, mac = raw[:_POSITION_BYTES], raw[_POSITION_BYTES:]
        # Re-encoding rejects spellings that differ only in unused bits.
        if not hmac.compare_digest(mac, self._mac(plain, scope)):
            raise problem
        position = int.from_bytes(plain, "big")
        if self.make(position, scope) != text:
            raise problem
        return position

    def make_text(self, position: str, scope: str) -> str:
        """Text of a cursor for a list whose positions are names."""
        plain = position.encode()
        return base64.urlsafe_b64encode(plain + self._mac(plain, scope)).decode().rstrip("=")

    def read_text(self, text: str, scope: str) -> str:
        """Position of a cursor that `make_text` made.

        Raises:
            ApiError: 422 when it was not made for this very list.
        """
        problem = invalid(FieldProblem("cursor", "is not a cursor of this list"))
        try:
            padding = b"=" * (-len(text) % 4)
            raw = base64.b64decode(text.encode("ascii") + padding, altchars=b"-_", validate=True)
        except ValueError:
            raise problem from None
        plain, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(plain, scope)):
            raise problem
        position = plain.decode()
        if self.make_text(position, scope) != text:
            raise problem
        return position

    def _mac(self, plain: bytes, scope: str) -> bytes:
        return hmac.digest(self._secret, plain + scope.encode(), sha256)[:_MAC_BYTES]
