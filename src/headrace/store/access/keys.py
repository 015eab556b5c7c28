"""Rows of API keys, and when each was last used; in the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.domain.access.api_keys import ApiKey, Scope
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Row, Transaction

COLUMNS = (
    "public_id, project_id, secret_hash, scopes, name, created_us, expires_us, revoked_us, origins"
)

_NOTE_USE = sql(
    "INSERT INTO api_key_uses (public_id, used_us) VALUES ($1, $2) "
    "ON CONFLICT (public_id) DO UPDATE SET used_us = greatest(api_key_uses.used_us, "
    "excluded.used_us)"
)
_USES = sql(
    "SELECT u.public_id, u.used_us FROM api_keys k "
    "JOIN api_key_uses u ON u.public_id = k.public_id WHERE k.project_id = $1"
)


def api_key(row: Row) -> ApiKey:
    """A key from `COLUMNS`."""
    public_id, project_id, secret_hash, scopes, name, created_us, expires_us, *others = row
    revoked_us, origins = others
    return ApiKey(
        public_id=public_id,
        project_id=project_id,
        secret_hash=secret_hash,
        scopes=frozenset(Scope(scope) for scope in scopes.split()),
        name=name,
        created_us=created_us,
        expires_us=expires_us,
        revoked_us=revoked_us,
        origins=tuple(origins.split()),
    )


def key_values(key: ApiKey) -> tuple[Any, ...]:
    """Values of `COLUMNS`."""
    scopes = " ".join(sorted(key.scopes))
    ids = (key.public_id, key.project_id, key.secret_hash, scopes, key.name)
    return (*ids, key.created_us, key.expires_us, key.revoked_us, " ".join(key.origins))


async def note_uses(tx: Transaction, used_us: Mapping[str, int]) -> None:
    """Store when keys were last used, by public id; an earlier time changes nothing."""
    # In a fixed order, so that two processes that write at once wait instead of deadlocking.
    await tx.run_many(_NOTE_USE, sorted(used_us.items()))


async def read_uses(tx: Transaction, project_id: int) -> Mapping[str, int]:
    """When each key of a project was last used; absent: never."""
    return dict(map(tuple, await tx.rows(_USES, project_id)))
