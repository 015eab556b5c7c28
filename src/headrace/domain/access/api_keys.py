"""API keys: `hr_<public id>_<secret>`, of which only a hash of the secret is stored."""

from __future__ import annotations

import hmac
import secrets
from enum import StrEnum
from hashlib import sha256

import msgspec

PREFIX = "hr"
PUBLIC_ID_CHARACTERS = 16
#: 256 random bits in hex. A slow hash would add no protection and invite overload.
SECRET_CHARACTERS = 64
KEY_CHARACTERS = len(PREFIX) + 1 + PUBLIC_ID_CHARACTERS + 1 + SECRET_CHARACTERS


class Scope(StrEnum):
    """What a key may do."""

    INGEST = "ingest"
    READ = "read"
    MANAGE = "manage"
    #: Send mail; `manage` includes it.
    SEND = "send"
    #: Send events from pages; `ingest` includes it. Keys with it alone are public.
    TRACK = "track"


#: Scopes of keys that stay secret.
SECRET_SCOPES = frozenset(Scope) - {Scope.TRACK}
#: An origin that stands for all.
ANY_ORIGIN = "*"


def allows(scopes: frozenset[Scope], wanted: Scope) -> bool:
    """Whether a key with these scopes may do what `wanted` is for."""
    return (
        wanted in scopes
        or (wanted is Scope.SEND and Scope.MANAGE in scopes)
        or (wanted is Scope.TRACK and Scope.INGEST in scopes)
    )


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is stored."""

    public_id: str
    project_id: int
    #: SHA-256 of the secret's ASCII text.
    secret_hash: bytes
    scopes: frozenset[Scope]
    name: str
    created_us: int
    #: None: does not expire.
    expires_us: int | None = None
    #: None: not revoked.
    revoked_us: int | None = None
    #: Of pages that may use it, as browsers send them.
    origins: tuple[str, ...] = ()

    @property
    def is_public(self) -> bool:
        """Whether everybody can read it on a page."""
        return Scope.TRACK in self.scopes and Scope.INGEST not in self.scopes

    def allows_origin(self, origin: str) -> bool:
        """Whether pages of `origin` may use it."""
        return origin in self.origins or ANY_ORIGIN in self.origins

    def usable_at(self, now_us: int) -> bool:
        """Whether the key is neither revoked nor expired at `now_us`.

        A revocation applies at once: the clock that wrote `revoked_us` may be ahead of this one.
        """
        if self.revoked_us is not None:
            return False
        return self.expires_us is None or now_us < self.expires_us


class IssuedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A new key with its text, which is shown once and not stored."""

    text: str
    key: ApiKey


def issue_key(
    project_id: int,
    scopes: frozenset[Scope],
    *,
    name: str,
    now_us: int,
    expires_us: int | None = None,
    origins: tuple[str, ...] = (),
) -> IssuedKey:
    """Make a key from the system's randomness."""
    public_id = secrets.token_hex(PUBLIC_ID_CHARACTERS // 2)
    secret = secrets.token_hex(SECRET_CHARACTERS // 2)
    key = ApiKey(
        public_id=public_id,
        project_id=project_id,
        secret_hash=hash_secret(secret.encode()),
        scopes=scopes,
        name=name,
        created_us=now_us,
        expires_us=expires_us,
        origins=origins,
    )
    return IssuedKey(text=f"{PREFIX}_{public_id}_{secret}", key=key)


def hash_secret(secret: bytes) -> bytes:
    """The stored hash of a secret."""
    return sha256(secret).digest()


def split_key(text: bytes) -> tuple[str, bytes] | None:
    """Return `(public id, secret)` of a well-formed key, None for anything else."""
    if len(text) != KEY_CHARACTERS or not text.startswith(b"hr_"):
        return None
    public_id, separator, secret = text[3:].partition(b"_")
    if not separator or len(public_id) != PUBLIC_ID_CHARACTERS or not secret.isalnum():
        return None
    return (public_id.decode(), secret) if public_id.isalnum() else None


def secret_matches(secret: bytes, secret_hash: bytes) -> bool:
    """Compare in constant time, as bytes: `compare_digest` rejects non-ASCII text."""
    return hmac.compare_digest(hash_secret(secret), secret_hash)
