"""Random bytes that all processes on a store share."""

from __future__ import annotations

import secrets

from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Transaction

_MAKE = sql("INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING")
_GET = sql("SELECT value FROM secrets WHERE name = $1")


async def store_secret(database: Database, name: str) -> bytes:
    """32 random bytes of that name, made at first use and kept."""
    fresh = secrets.token_bytes(32)

    async def work(tx: Transaction) -> bytes:
        await tx.run(_MAKE, name, fresh)
        return bytes(await tx.value(_GET, name))

    return await database.write(work)
