"""Keys and tokens of a message that outside systems send back: VERP, links, opt-outs.

Each token ends with a message authentication code, so it is verified without a row and never
expires. Every kind of token has a key of its own, derived from one secret of the store: a token of
one kind is invalid as another.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import uuid
from dataclasses import dataclass
from typing import Self

from headrace.domain.ids import uuid_text

#: Characters of a message key; 130 bits of its hash.
KEY_CHARACTERS = 26
#: Link number of the pixel: an open.
OPEN_LINK = 0
#: Largest number of a link that fits a token (five bytes).
LINK_MAX = 2**40 - 1
#: RFC 5321 4.5.3.1.1.
LOCAL_PART_CHARACTERS_MAX = 64

#: Header of each mail with the token of its envelope sender: providers and reports that lose the
#: sender return the headers.
TOKEN_HEADER = "X-Headrace-Message"  # noqa: S105 - a name, no secret

_VERSION = 1
_VERP_MAC_BYTES = 5
_TRACKING_MAC_BYTES = 8
_UNSUBSCRIBE_MAC_BYTES = 10
_TRACKING_CHARACTERS = 40
_NOBODY = bytes(16)
#: UUIDv5 needs a namespace; this random one is for messages of Headrace.
_NAMESPACE = uuid.UUID("6f0e8a3c-52d6-4a3e-9b53-3d6f2d1c9a70")


@dataclass(frozen=True, slots=True)
class TrackedHit:
    """Content of a valid tracking token."""

    #: UUID text.
    message_id: str
    #: Number of the link in the store; `OPEN_LINK` for the pixel.
    link: int


@dataclass(frozen=True, kw_only=True, slots=True)
class UnsubscribeTarget:
    """An opt-out: a link has all four fields, a mailbox only contact and topic."""

    contact_id: str
    #: None: marketing mail without a topic, whose opt-out is from everything.
    topic_id: str | None
    project_id: int | None = None
    message_id: str | None = None


class MessageKeys:
    """The keys of all tokens of a store.

    Args:
        secret: at least 16 random bytes that all processes on the store share. It must never
            change: that would break every link in sent mail.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < 16:
            raise ValueError("the secret of message tokens must have at least 16 bytes")
        self._secret = secret
        self._verp = self._derive(b"verp")
        self._tracking = self._derive(b"tracking")
        self._unsubscribe = self._derive(b"unsubscribe")
        self._unsubscribe_mail = self._derive(b"unsubscribe mail")
        self._addresses = self._derive(b"suppressed addresses")

    def message_key(self, project_id: int, origin: str, step_key: str, recipient: str) -> str:
        """The key of a message, the same over all attempts.

        Args:
            project_id: the number of the project.
            origin: id of the run, or of the e-mail for direct sends.
            step_key: key of the step; empty for direct sends.
            recipient: normalized address or device id.

        Returns:
            26 characters of lower-case base32.
        """
        key = self._derive(b"message key %d" % project_id)
        return _base32(_mac(key, _joined(origin, step_key, recipient), 20))[:KEY_CHARACTERS]

    def address_hash(self, project_id: int, address: str) -> bytes:
        """Keyed hash of a normalized address: what is kept of a suppression after an erasure."""
        return _mac(self._addresses, _joined(str(project_id), address), 16)

    def verp(self, message_id: str) -> str:
        """Token of an envelope sender: 34 characters that survive a change of case."""
        return _base32(_signed(self._verp, _uuid_bytes(message_id), _VERP_MAC_BYTES))

    def read_verp(self, token: str) -> str | None:
        """The message id of a VERP token; None when it is not one of this store."""
        packed = _unbase32(token, 16 + _VERP_MAC_BYTES)
        content = _verified(self._verp, packed, _VERP_MAC_BYTES)
        return None if content is None else uuid_text(content)

    def tracking(self, message_id: str, link: int) -> str:
        """Token of a link or of the pixel, 40 characters of base64url."""
        if not 0 <= link <= LINK_MAX:
            raise ValueError("a link's number must fit five bytes")
        content = bytes([_VERSION]) + _uuid_bytes(message_id) + link.to_bytes(5, "big")
        return _base64(_signed(self._tracking, content, _TRACKING_MAC_BYTES))

    def read_tracking(self, token: str) -> TrackedHit | None:
        """Content of a tracking token; None when it is not one of this store."""
        if len(token) != _TRACKING_CHARACTERS:
            return None
        content = _verified(self._tracking, _unbase64(token), _TRACKING_MAC_BYTES)
        if content is None or content[0] != _VERSION:
            return None
        return TrackedHit(uuid_text(content[1:17]), int.from_bytes(content[17:22], "big"))

    def unsubscribe(self, target: UnsubscribeTarget) -> str:
        """Token of an unsubscribe link, 79 characters of base64url."""
        if target.project_id is None:
            raise ValueError("an unsubscribe link names the project")
        content = b"".join(
            (
                bytes([_VERSION]),
                target.project_id.to_bytes(8, "big", signed=True),
                _uuid_bytes(target.contact_id),
                _uuid_or_nil(target.topic_id),
                _uuid_or_nil(target.message_id),
            )
        )
        return _base64(_signed(self._unsubscribe, content, _UNSUBSCRIBE_MAC_BYTES))

    def read_unsubscribe(self, token: str) -> UnsubscribeTarget | None:
        """Content of an unsubscribe token; None when it is not one of this store."""
        packed = _unbase64(token) if len(token) <= 100 else None
        content = _verified(self._unsubscribe, packed, _UNSUBSCRIBE_MAC_BYTES)
        if content is None or len(content) != 57 or content[0] != _VERSION:
            return None
        return UnsubscribeTarget(
            project_id=int.from_bytes(content[1:9], "big", signed=True),
            contact_id=uuid_text(content[9:25]),
            topic_id=_text_or_none(content[25:41]),
            message_id=_text_or_none(content[41:57]),
        )

    def unsubscribe_mail(self, contact_id: str, topic_id: str | None) -> str:
        """Token of an unsubscribe mailbox: 60 characters that survive a change of case.

        A local part has 64 characters at most, so project and message are left out; the contact
        determines the project.
        """
        content = _uuid_bytes(contact_id) + _uuid_or_nil(topic_id)
        return _base32(_signed(self._unsubscribe_mail, content, _VERP_MAC_BYTES))

    def read_unsubscribe_mail(self, token: str) -> UnsubscribeTarget | None:
        """Content of an unsubscribe mailbox's token; None when it is not one of this store."""
        packed = _unbase32(token, 32 + _VERP_MAC_BYTES)
        content = _verified(self._unsubscribe_mail, packed, _VERP_MAC_BYTES)
        if content is None:
            return None
        return UnsubscribeTarget(
            contact_id=uuid_text(content[:16]), topic_id=_text_or_none(content[16:])
        )

    def _derive(self, purpose: bytes) -> bytes:
        return hmac.digest(self._secret, b"headrace messages: " + purpose, hashlib.sha256)


def message_id(origin: str, step_key: str, recipient: str) -> str:
    """UUIDv5 of one message: the same for the same run (or e-mail), step and recipient."""
    return str(uuid.uuid5(_NAMESPACE, _joined(origin, step_key, recipient).decode()))


@dataclass(frozen=True, slots=True)
class BounceAddresses:
    """Addresses at the bounce domain."""

    keys: MessageKeys
    #: Lower-case ASCII.
    domain: str

    def sender(self, message_id: str) -> str:
        """Envelope sender of a message."""
        return f"b+{self.keys.verp(message_id)}@{self.domain}"

    def unsubscribe(self, contact_id: str, topic_id: str | None) -> str:
        """The address to which a mail client writes to unsubscribe."""
        return f"u+{self.keys.unsubscribe_mail(contact_id, topic_id)}@{self.domain}"

    def read(self, address: str) -> str | UnsubscribeTarget | None:
        """The message id of a bounce, the opt-out of an unsubscribe mail, or None for neither."""
        local, at, domain = address.strip().strip("<>").rpartition("@")
        if not at or domain.lower() != self.domain or len(local) > LOCAL_PART_CHARACTERS_MAX:
            return None
        kind, _, token = local.partition("+")
        if kind in {"b", "B"}:
            return self.keys.read_verp(token)
        return self.keys.read_unsubscribe_mail(token) if kind in {"u", "U"} else None

    @classmethod
    def of(cls, secret: bytes, domain: str) -> Self:
        """Derive the keys from the store's secret."""
        return cls(MessageKeys(secret), domain.lower())


def _joined(*parts: str) -> bytes:
    # The length of each part distinguishes ("ab", "c") from ("a", "bc").
    return "".join(f"{len(part)}:{part}" for part in parts).encode()


def _mac(key: bytes, content: bytes, size: int) -> bytes:
    return hmac.digest(key, content, hashlib.sha256)[:size]


def _signed(key: bytes, content: bytes, mac_bytes: int) -> bytes:
    return content + _mac(key, content, mac_bytes)


def _verified(key: bytes, packed: bytes | None, mac_bytes: int) -> bytes | None:
    if packed is None or len(packed) <= mac_bytes:
        return None
    content, mac = packed[:-mac_bytes], packed[-mac_bytes:]
    return content if hmac.compare_digest(mac, _mac(key, content, mac_bytes)) else None


def _uuid_bytes(text: str) -> bytes:
    return uuid.UUID(text).bytes


def _uuid_or_nil(text: str | None) -> bytes:
    return _NOBODY if text is None else _uuid_bytes(text)


def _text_or_none(value: bytes) -> str | None:
    return None if value == _NOBODY else uuid_text(value)


def _base32(value: bytes) -> str:
    return base64.b32encode(value).decode().rstrip("=").lower()


def _unbase32(text: str, size: int) -> bytes | None:
    if len(text) != -(-size * 8 // 5) or not text.isascii():
        return None
    try:
        value = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except binascii.Error:
        return None
    # The last character has spare bits: only the encoding written here is accepted.
    return value if _base32(value) == text.lower() else None


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def _unbase64(text: str) -> bytes | None:
    if not text.isascii():
        return None
    try:
        value = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return value if _base64(value) == text else None
