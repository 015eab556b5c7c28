"""What the operator API asks of a store: operators, policies of a project, and the audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from headrace.domain.operators import Operator
from headrace.domain.policies import Policies

#: Entries of the audit stay so long, and the newest of each project for ever.
AUDIT_KEPT_US = 366 * 24 * 3600 * 1_000_000
AUDIT_KEPT_PER_PROJECT = 1000
#: Operators of one store.
OPERATORS_MAX = 1000


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who changed what, and when."""

    id: int
    at_us: int
    actor: str
    action: str
    #: JSON text of an object.
    detail: str


class OperatorStore(Protocol):
    """Operators and what they change."""

    async def add(self, operator: Operator, *, actor: str) -> None:
        """Store a new operator.

        Raises:
            StoreConflictError: `email` when there is one of that address, `operators` when there
                are `OPERATORS_MAX`.
        """
        ...

    async def replace_token(self, operator: Operator, *, actor: str) -> bool:
        """Give the operator of that address another token; the one before stops working.

        False when there is no such operator.
        """
        ...

    async def list(self) -> Sequence[Operator]:
        """All operators by address."""
        ...

    async def policies(self, project_uuid: bytes) -> tuple[int, Policies] | None:
        """Number and policies of a project, None when there is none of that id."""
        ...

    async def set_policies(
        self, project_id: int, values: Mapping[str, Any], now_us: int, *, actor: str
    ) -> Policies:
        """Set checked values, all in one transaction; None resets one to its default.

        What really changes is audited, an entry each. Returns all policies as they are then.
        """
        ...

    async def audit(
        self, project_id: int, *, before: int | None, limit: int
    ) -> Sequence[AuditEntry]:
        """Entries about a project, newest first, below id `before`."""
        ...

    async def prune_audit(self, now_us: int, limit: int) -> int:
        """Remove entries past their time, at most `limit` of a project; how many."""
        ...
