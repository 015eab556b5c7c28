"""Limits of operators, and an entry of the audit."""

from __future__ import annotations

import msgspec

#: Audit entries are kept so long, and the newest of each project for ever.
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
