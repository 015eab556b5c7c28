"""Policies of projects, and the version that grows with every change of a key or a policy.

Each function runs in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from headrace.domain.access.policies import NAMES, Policies, check_policy
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Row, Transaction

_OF_PROJECT = sql("SELECT name, value FROM policies WHERE project_id = $1")
_SET = sql(
    "INSERT INTO policies (project_id, name, value) VALUES ($1, $2, $3) "
    "ON CONFLICT (project_id, name) DO UPDATE SET value = excluded.value"
)
_NAMES = frozenset(NAMES)
_VALUE = sql("SELECT value FROM policies WHERE project_id = $1 AND name = $2")
_RESET = sql("DELETE FROM policies WHERE project_id = $1 AND name = $2")
_VERSION = sql("SELECT value FROM meta WHERE name = 'access_version'")
_BUMP_VERSION = sql(
    "INSERT INTO meta (name, value) VALUES ('access_version', '1') "
    "ON CONFLICT (name) DO UPDATE SET value = (meta.value::bigint + 1)::text"
)


async def access_version(tx: Transaction) -> int:
    """0 before the first change."""
    return int(await tx.value(_VERSION) or 0)


async def bump_access_version(tx: Transaction) -> None:
    """Let every process notice that keys or policies change.

    It locks the row of the version. Done first, changes are serialized, and the audit records the
    true value before each.
    """
    await tx.run(_BUMP_VERSION)


async def read_policies(tx: Transaction, project_id: int) -> Policies:
    """Policies of a project; those it did not change are at their defaults."""
    return policies_of(await tx.rows(_OF_PROJECT, project_id))


async def stored_policy(tx: Transaction, project_id: int, name: str) -> Any:
    """The stored value of a policy, as in JSON; None when it is at its default."""
    text = await tx.value(_VALUE, project_id, name)
    return None if text is None else msgspec.json.decode(text)


async def write_policy(tx: Transaction, project_id: int, name: str, value: Any) -> None:
    """Set a policy to a checked value."""
    await tx.run(_SET, project_id, name, msgspec.json.encode(value).decode())


async def reset_policy(tx: Transaction, project_id: int, name: str) -> None:
    """Reset a policy to its default, including a changed default of a later release."""
    await tx.run(_RESET, project_id, name)


def policies_of(rows: Iterable[Row]) -> Policies:
    """Policies from names and values; missing ones are at their default.

    Names of policies that concern messages are skipped, see `sending_policies`.
    """
    stored = {name: msgspec.json.decode(value) for name, value in rows if name in _NAMES}
    return Policies(**{name: check_policy(name, value) for name, value in stored.items()})
