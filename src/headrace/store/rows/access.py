"""API keys and policies from their columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from headrace.domain.api_keys import ApiKey, Scope
from headrace.domain.policies import Policies, check_policy

KEY_COLUMNS = "public_id, project_id, secret_hash, scopes, name, created_us, expires_us, revoked_us"


def api_key(row: Sequence[Any]) -> ApiKey:
    """A key from `KEY_COLUMNS`."""
    public_id, project_id, secret_hash, scopes, name, created_us, expires_us, revoked_us = row
    return ApiKey(
        public_id=public_id,
        project_id=project_id,
        secret_hash=bytes(secret_hash),
        scopes=frozenset(Scope(scope) for scope in scopes.split()),
        name=name,
        created_us=created_us,
        expires_us=expires_us,
        revoked_us=revoked_us,
    )


def key_values(key: ApiKey) -> tuple[Any, ...]:
    """Values of `KEY_COLUMNS`."""
    scopes = " ".join(sorted(key.scopes))
    ids = (key.public_id, key.project_id, key.secret_hash, scopes, key.name)
    return (*ids, key.created_us, key.expires_us, key.revoked_us)


def policies_of(rows: Iterable[tuple[str, str]]) -> Policies:
    """Policies from names and values; what is not among them is at its default."""
    stored = {name: msgspec.json.decode(value) for name, value in rows}
    return Policies(**{name: check_policy(name, value) for name, value in stored.items()})
