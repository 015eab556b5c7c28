"""Signs mail with DKIM (RFC 6376): rsa-sha256, relaxed canonicalization of headers and body."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

#: Of new keys. Longer ones need several strings in DNS, which some panels reject.
KEY_BITS = 2048
KEY_BITS_MIN = 1024
SELECTOR_CHARACTERS_MAX = 63

#: Signed if present. RFC 8058 requires both headers of one-click.
SIGNED = (
    *("from", "to", "cc", "reply-to", "subject", "date", "message-id", "mime-version"),
    *("content-type", "content-transfer-encoding", "list-id", "list-unsubscribe"),
    *("list-unsubscribe-post", "auto-submitted", "feedback-id"),
)
#: Listed once more than the mail has them, so that another one breaks the signature.
OVERSIGNED = frozenset(
    {"from", "to", "cc", "reply-to", "subject", "date", "message-id", "content-type"}
    | {"list-unsubscribe", "list-unsubscribe-post", "mime-version"}
)

_SELECTOR = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9-]{1,63})*")
_BLANKS = re.compile(rb"[ \t]+")
_FIELD_END = re.compile(rb"\r\n(?![ \t])")


class DkimKeyError(ValueError):
    """A key that cannot sign; the message is a sentence for the operator."""


@dataclass(frozen=True, slots=True, repr=False)
class DkimKey:
    """A private key, with the domain and selector of its DNS record."""

    #: Lower-case ASCII.
    domain: str
    selector: str
    #: PKCS#8 PEM, unencrypted.
    private_pem: bytes

    @property
    def record_name(self) -> str:
        """Name of the TXT record."""
        return f"{self.selector}._domainkey.{self.domain}"

    @property
    def record_value(self) -> str:
        """Content of the TXT record.

        Raises:
            DkimKeyError: the key cannot be read.
        """
        public = _load(self.private_pem).public_key()
        der = public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return f"v=DKIM1; k=rsa; p={base64.b64encode(der).decode()}"


def new_dkim_key(domain: str, selector: str) -> DkimKey:
    """Make a key; takes about a tenth of a second, so not on an event loop.

    Raises:
        DkimKeyError: the selector is not a DNS name.
    """
    if len(selector) > SELECTOR_CHARACTERS_MAX or _SELECTOR.fullmatch(selector) is None:
        raise DkimKeyError("a selector has lower-case letters, digits and -")
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return DkimKey(domain, selector, pem)


def sign(mail: bytes, key: DkimKey, at_s: int) -> bytes:
    """Prepend a signature to a mail.

    Args:
        mail: complete, with CRLF line ends.
        key: of the domain in `From`, or of a parent domain.
        at_s: seconds since 1970, for the time of the signature.

    Raises:
        DkimKeyError: the key cannot be read.
    """
    head, _, body = mail.partition(b"\r\n\r\n")
    fields = [_relaxed_field(field) for field in _FIELD_END.split(head)]
    names = list(_signed_names(name for name, _ in fields))
    body_hash = base64.b64encode(hashlib.sha256(relaxed_body(body)).digest()).decode()
    # Folded by hand where white space has no meaning.
    unsigned = (
        f"v=1; a=rsa-sha256; c=relaxed/relaxed; d={key.domain}; s={key.selector};\r\n"
        f" t={at_s};\r\n h={':'.join(names[:8])}{_folded(names[8:])};\r\n"
        f" bh={body_hash};\r\n b="
    )
    hashed = b"".join(_hashed_fields(fields, names))
    _, own = _relaxed_field(f"DKIM-Signature: {unsigned}".encode())
    signature = _load(key.private_pem).sign(hashed + own, padding.PKCS1v15(), hashes.SHA256())
    text = base64.b64encode(signature).decode()
    lines = "\r\n ".join(text[at : at + 72] for at in range(0, len(text), 72))
    return f"DKIM-Signature: {unsigned}{lines}\r\n".encode() + mail


def relaxed_body(body: bytes) -> bytes:
    """The body to hash: white space collapsed, none at line ends, no empty lines at the end."""
    if b"  " in body or b"\t" in body or b" \r\n" in body or body.endswith(b" "):
        body = _BLANKS.sub(b" ", body).replace(b" \r\n", b"\r\n")
        body = body[:-1] if body.endswith(b" ") else body
    stripped = body.rstrip(b"\r\n")
    return stripped + b"\r\n" if stripped else b""


def _signed_names(present: Iterable[str]) -> Iterable[str]:
    found = list(present)
    for name in SIGNED:
        yield from [name] * (found.count(name) + (name in OVERSIGNED))


def _hashed_fields(fields: list[tuple[str, bytes]], names: list[str]) -> Iterable[bytes]:
    """The fields of the names: of several of one name the last comes first."""
    left: dict[str, list[bytes]] = {}
    for name, text in fields:
        left.setdefault(name, []).append(text)
    for name in names:
        found = left.get(name)
        if found:
            yield found.pop() + b"\r\n"


def _relaxed_field(field: bytes) -> tuple[str, bytes]:
    name, _, value = field.partition(b":")
    lowered = name.strip().lower()
    return lowered.decode("ascii", "replace"), (
        lowered + b":" + _BLANKS.sub(b" ", value.replace(b"\r\n", b"")).strip(b" \t")
    )


def _folded(names: list[str]) -> str:
    if not names:
        return ""
    rows = (names[at : at + 6] for at in range(0, len(names), 6))
    return "".join(f":\r\n  {':'.join(row)}" for row in rows)


@lru_cache(maxsize=256)
def _load(pem: bytes) -> rsa.RSAPrivateKey:
    # Reading and checking a key takes longer than signing with it.
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        message = f"the key cannot be read: {type(error).__name__}"
        raise DkimKeyError(message) from None
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < KEY_BITS_MIN:
        message = f"the key must be RSA with at least {KEY_BITS_MIN} bits"
        raise DkimKeyError(message)
    return key
