"""Rows of sessions, links, operators and the audit, the same from both stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.domain.sign_in import SESSION_IDLE_US, SESSION_US, Role
from headrace.store.contract_operators import AuditEntry
from headrace.store.contract_sign_in import Account, AuditRow, Member

AUDIT_COLUMNS = "id, at_us, actor, action, detail, project_id"
#: Entries that one look at the audit goes through at most: a rare value costs no more than this.
AUDIT_LOOKED_AT_MAX = 50_000


def session_limits_us(now_us: int) -> tuple[int, int]:
    """`(idle, old)`: a session is alive when `seen_us > idle AND created_us > old`."""
    return now_us - SESSION_IDLE_US, now_us - SESSION_US


def account_of(row: Sequence[Any]) -> Account:
    """A row of address, owner, whether there is a password, created, seen, count of projects."""
    email, is_owner, has_password, created_us, seen_us, projects = row
    return Account(
        email=email,
        is_owner=bool(is_owner),
        has_password=bool(has_password),
        created_us=created_us,
        seen_us=seen_us,
        projects=projects,
    )


def member_of(row: Sequence[Any]) -> Member:
    """A row of address, role, added."""
    email, role, added_us = row
    return Member(email=email, role=Role(role), added_us=added_us)


def audit_row_of(row: Sequence[Any]) -> AuditRow:
    """A row of `AUDIT_COLUMNS`."""
    number, at_us, actor, action, detail, project_id = row
    entry = AuditEntry(id=number, at_us=at_us, actor=actor, action=action, detail=detail)
    return AuditRow(entry=entry, project_id=project_id)
