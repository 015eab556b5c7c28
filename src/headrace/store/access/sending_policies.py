"""Policies that concern messages, stored with the others.

Their values are kept as the operator wrote them, in JSON; each read checks and parses them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from headrace.domain.messages.policy_values import (
    RUN_BOUNDS,
    SENDING_POLICIES,
    check_sending_policy,
)
from headrace.domain.messages.sending_policies import SendingPolicies
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Row, Transaction

_OF_PROJECT = sql("SELECT name, value FROM policies WHERE project_id = $1")

_OPTIONAL = sql("SELECT value FROM policies WHERE project_id = $1 AND name = 'optional_events'")
#: Read where they are used, not with the others.
_APART = frozenset({"run_retention_days", "optional_events", *RUN_BOUNDS})


async def wants_event(tx: Transaction, project_id: int, name: str) -> bool:
    """Whether a project has asked for an optional event."""
    return name in await read_optional_events(tx, project_id)


async def read_optional_events(tx: Transaction, project_id: int) -> frozenset[str]:
    """Optional events that a project has asked for."""
    text = await tx.value(_OPTIONAL, project_id)
    return frozenset(() if text is None else msgspec.json.decode(text) or ())


async def read_policy_rows(tx: Transaction, project_id: int) -> Sequence[Row]:
    """Names and values of all policies of a project that are not at their default."""
    return await tx.rows(_OF_PROJECT, project_id)


async def read_sending_policies(tx: Transaction, project_id: int) -> SendingPolicies:
    """Policies of a project; those it did not change are at their defaults."""
    return sending_policies_of(await tx.rows(_OF_PROJECT, project_id))


async def read_sending_values(tx: Transaction, project_id: int) -> dict[str, Any]:
    """Every policy of a project that concerns messages, by name, as JSON has it."""
    stored = {
        name: msgspec.json.decode(text)
        for name, text in await tx.rows(_OF_PROJECT, project_id)
        if name in SENDING_POLICIES
    }
    return {name: stored.get(name, policy.default) for name, policy in SENDING_POLICIES.items()}


async def read_run_values(tx: Transaction, project_id: int) -> dict[str, Any]:
    """Policies of automations that a project has changed, by name."""
    return run_values_of(await tx.rows(_OF_PROJECT, project_id))


def run_values_of(rows: Iterable[Row]) -> dict[str, Any]:
    """The same from names and values; names of other policies are skipped."""
    return {name: msgspec.json.decode(text) for name, text in rows if name in RUN_BOUNDS}


def sending_policies_of(rows: Iterable[Row]) -> SendingPolicies:
    """Policies from names and values; names of other policies are skipped."""
    found: dict[str, Any] = {}
    for name, text in rows:
        if name in SENDING_POLICIES and name not in _APART:
            field = "machine_engagement_emit" if name == "machine_engagement" else name
            found[field] = check_sending_policy(name, msgspec.json.decode(text))
    return SendingPolicies(**found)
