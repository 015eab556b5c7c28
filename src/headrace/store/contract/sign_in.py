"""Operators and members as the backoffice shows them, and which audit entries it asks for."""

from __future__ import annotations

import msgspec

from headrace.domain.access.sign_in import Role
from headrace.store.contract.operators import AuditEntry

#: Links that are valid at a time; each further one revokes the oldest.
LINKS_MAX = 1000
#: Members of one project.
MEMBERS_MAX = 500


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An operator as the list of operators shows one."""

    email: str
    is_owner: bool
    has_password: bool
    created_us: int
    #: Of the newest active session.
    seen_us: int | None
    #: Projects of which they are a member.
    projects: int


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's place in a project."""

    email: str
    role: Role
    added_us: int


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which audit entries; every field that is set must match."""

    #: None: entries of all projects and of the instance.
    project_id: int | None = None
    #: Exact, or a prefix when it ends with a dot (`session.`).
    action: str | None = None
    #: Part of the actor's name.
    actor: str | None = None
    after_us: int | None = None
    before_us: int | None = None


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """An entry and where it belongs."""

    entry: AuditEntry
    project_id: int | None
