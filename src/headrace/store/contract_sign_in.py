"""What the backoffice asks of a store: who is signed in, who is a member, who did what.

Operators are named by their normalized address. Every change is audited in its own transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from headrace.domain.sign_in import Role
from headrace.store.contract_operators import AuditEntry

#: Links that can be used at once; each further one ends the oldest.
LINKS_MAX = 1000
#: Members of one project.
MEMBERS_MAX = 500


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An operator as the list of operators shows one."""

    email: str
    is_owner: bool
    has_password: bool
    created_us: int
    #: Of the newest session that is not over.
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

    #: None: of all projects and of none.
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


class MemberStore(Protocol):
    """Operators as people, and their roles."""

    async def accounts(self, now_us: int) -> Sequence[Account]:
        """All operators that are not revoked, by address."""
        ...

    async def invite(
        self, email: str, token_hash: bytes, now_us: int, *, is_owner: bool, actor: str
    ) -> bool:
        """Add an operator without token and password; False when there is one.

        A revoked one is taken back, with neither of the two.

        Raises:
            StoreConflictError: `operators` when there are too many.
        """
        ...

    async def set_owner(self, email: str, now_us: int, *, is_owner: bool, actor: str) -> bool:
        """Make somebody an owner of the instance, or no longer.

        Raises:
            StoreConflictError: `last_owner`.
        """
        ...

    async def remove(self, email: str, now_us: int, *, actor: str) -> bool:
        """Revoke an operator: token, password, sessions, links and memberships end.

        Raises:
            StoreConflictError: `last_owner`.
        """
        ...

    async def members(self, project_id: int) -> Sequence[Member]:
        """Members of a project by address."""
        ...

    async def set_member(self, project_id: int, member: Member, now_us: int, *, actor: str) -> bool:
        """Add a member or change the role; False when there is no such operator.

        Raises:
            StoreConflictError: `members` when there are `MEMBERS_MAX`.
        """
        ...

    async def remove_member(self, project_id: int, email: str, now_us: int, *, actor: str) -> bool:
        """End a membership; False when there is none."""
        ...

    async def audit(
        self, wanted: AuditFilter, *, before: int | None, limit: int
    ) -> Sequence[AuditRow]:
        """Audit entries, newest first, below id `before`; looks at a bounded number."""
        ...

    async def note_key_uses(self, used_us: Mapping[str, int]) -> None:
        """Remember when keys were last used, by public id; an earlier time changes nothing."""
        ...

    async def key_uses(self, project_id: int) -> Mapping[str, int]:
        """When each key of a project was last used; absent: never."""
        ...
