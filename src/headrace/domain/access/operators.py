"""Operators and their tokens: `hro_<id>_<secret>`, of which only a hash of the secret is stored."""

from __future__ import annotations

import secrets

import msgspec

from headrace.domain.access.api_keys import PUBLIC_ID_CHARACTERS, SECRET_CHARACTERS, hash_secret

PREFIX = b"hro_"
TOKEN_CHARACTERS = len(PREFIX) + PUBLIC_ID_CHARACTERS + 1 + SECRET_CHARACTERS


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """A person who may sign in to the backoffice; owners may also use the operator API."""

    #: Public part of the token; changes with it.
    id: str
    #: Normalized.
    email: str
    token_hash: bytes
    created_us: int
    #: None: not revoked.
    revoked_us: int | None = None
    #: Of the whole instance; others see the backoffice only, as members of projects.
    is_owner: bool = True

    @property
    def actor(self) -> str:
        """The operator's name in the audit."""
        return f"operator {self.email}"


class IssuedToken(msgspec.Struct, frozen=True, kw_only=True):
    """A new token's text, which is shown once and not stored, and its owner."""

    text: str
    operator: Operator


def issue_token(email: str, now_us: int) -> IssuedToken:
    """Make a token from the system's randomness."""
    public_id = secrets.token_hex(PUBLIC_ID_CHARACTERS // 2)
    secret = secrets.token_hex(SECRET_CHARACTERS // 2)
    operator = Operator(
        id=public_id, email=email, token_hash=hash_secret(secret.encode()), created_us=now_us
    )
    return IssuedToken(text=f"{PREFIX.decode()}{public_id}_{secret}", operator=operator)


def split_token(text: bytes) -> tuple[str, bytes] | None:
    """Return `(id, secret)` of a well-formed token, None for anything else."""
    if len(text) != TOKEN_CHARACTERS or not text.startswith(PREFIX):
        return None
    public_id, separator, secret = text.removeprefix(PREFIX).partition(b"_")
    if not separator or len(public_id) != PUBLIC_ID_CHARACTERS or not secret.isalnum():
        return None
    return (public_id.decode(), secret) if public_id.isalnum() else None
