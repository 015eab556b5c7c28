"""Secrets that a store keeps encrypted ("sealed"), with keys that are not in the store.

A sealed text reads `sealed:<key id>:<base64url of nonce and AES-256-GCM ciphertext>`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PREFIX = "sealed:"
KEY_ID_CHARACTERS = 12
#: Of one key: enough for 192 random bits in base64.
KEY_CHARACTERS_MIN = 32
KEY_CHARACTERS_MAX = 512
#: The one that seals, and older ones that only open.
KEYS_MAX = 20
_NONCE_BYTES = 12
_SEPARATORS = re.compile(r"[\s,]+")
_KEY = re.compile(r"[!-~]+")


class Purpose(StrEnum):
    """What a secret is for; one sealed for another purpose cannot be opened."""

    DKIM = "dkim"
    VAPID = "vapid"
    WEBHOOK = "webhook"


class SealedError(Exception):
    """A secret cannot be opened; the message is a sentence for the operator."""


class SealingKey:
    """One key; its id is a hash of it, so it says which key is meant and nothing else."""

    def __init__(self, text: str) -> None:
        digest = hashlib.sha256(b"headrace sealing key id:" + text.encode()).hexdigest()
        self.id = digest[:KEY_ID_CHARACTERS]
        self.text = text

    @cached_property
    def cipher(self) -> AESGCM:
        """The cipher; importing it takes time that most commands do not need to spend."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        return AESGCM(hashlib.sha256(b"headrace sealing:" + self.text.encode()).digest())


def new_key_text() -> str:
    """A new random key as text."""
    return secrets.token_urlsafe(32)


def parse_keys(text: str) -> tuple[SealingKey, ...]:
    """The keys in a setting or a file, separated by commas or line ends; the first one seals.

    Raises:
        ValueError: one is too short, too long, or there are too many; without repeating it.
    """
    texts = list(dict.fromkeys(part for part in _SEPARATORS.split(text) if part))
    if len(texts) > KEYS_MAX:
        message = f"must have at most {KEYS_MAX} keys, separated by commas"
        raise ValueError(message)
    for each in texts:
        fits = KEY_CHARACTERS_MIN <= len(each) <= KEY_CHARACTERS_MAX
        if not fits or _KEY.fullmatch(each) is None:
            message = (
                f"must be a random text of {KEY_CHARACTERS_MIN} to {KEY_CHARACTERS_MAX} ASCII "
                "characters, such as the output of: openssl rand -base64 32"
            )
            raise ValueError(message)
    return tuple(SealingKey(each) for each in texts)


class KeyRing:
    """The keys of a process.

    Args:
        keys: the first one seals, all of them open. Without keys secrets are stored in plain.
        read_again: reads the keys again, when a secret was sealed with one that is not known:
            another process may have rotated it.
    """

    def __init__(
        self,
        keys: Sequence[SealingKey] = (),
        read_again: Callable[[], Sequence[SealingKey]] | None = None,
    ) -> None:
        self._read_again = read_again
        self.replace(keys)

    def replace(self, keys: Sequence[SealingKey]) -> None:
        """Use these keys from now on."""
        self._keys = {key.id: key for key in keys}
        self._first = keys[0] if keys else None

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all keys, that of the one that seals first."""
        return tuple(self._keys)

    def seal(self, text: str, purpose: Purpose) -> str:
        """Encrypt a secret; in plain when there is no key."""
        key = self._first
        if key is None:
            return text
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = key.cipher.encrypt(nonce, text.encode(), purpose.value.encode())
        return f"{PREFIX}{key.id}:{base64.urlsafe_b64encode(nonce + sealed).decode()}"

    def open(self, text: str, purpose: Purpose) -> str:
        """The secret of a stored text, sealed or in plain.

        Raises:
            SealedError: its key is not there, or it was altered.
        """
        if not text.startswith(PREFIX):
            return text
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415

        key_id, _, coded = text.removeprefix(PREFIX).partition(":")
        key = self._find(key_id)
        try:
            raw = base64.urlsafe_b64decode(coded)
            opened = key.cipher.decrypt(
                raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], purpose.value.encode()
            )
            return opened.decode()
        except (binascii.Error, ValueError, InvalidTag):
            message = f"a secret sealed with key {key_id} was altered"
            raise SealedError(message) from None

    def _find(self, key_id: str) -> SealingKey:
        if key_id not in self._keys and self._read_again is not None:
            self.replace(self._read_again())
        try:
            return self._keys[key_id]
        except KeyError:
            message = f"a secret is sealed with key {key_id}, which this process does not have"
            raise SealedError(message) from None


def key_id_of(text: str) -> str | None:
    """Id of the key that sealed a stored text; None: it is in plain."""
    if not text.startswith(PREFIX):
        return None
    return text.removeprefix(PREFIX).partition(":")[0]
