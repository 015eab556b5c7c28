"""What the API asks of a store about audiences and who is in them.

Every real change of a membership inserts its system event in the same transaction: also when it
ends because the contact or the audience is deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from headrace.domain.audiences import Audience, AudienceFields, Entered


class TooManyAudiencesError(Exception):
    """The project has `AUDIENCES_MAX` audiences."""


class UnknownContactsError(Exception):
    """Ids of no contact of the project; `args[0]` is the list of their places. Nothing changed."""


class AudienceStore(Protocol):
    """Audiences of all projects. A name that is taken raises `StoreConflictError`."""

    async def create(self, project_id: int, fields: AudienceFields, now_us: int) -> Audience:
        """Create an audience; `fields.name` is given.

        Raises:
            TooManyAudiencesError: there are `AUDIENCES_MAX` already.
        """
        ...

    async def get(self, project_id: int, audience_id: str) -> Audience | None:
        """One audience, None when the project has no such audience."""
        ...

    async def list(self, project_id: int, *, before: int | None, limit: int) -> Sequence[Audience]:
        """Audiences of a project, newest first, made before `before`."""
        ...

    async def of_contact(self, project_id: int, contact_id: str) -> Sequence[Audience]:
        """Audiences that a contact is in, by name; none without the contact."""
        ...

    async def update(
        self, project_id: int, audience_id: str, fields: AudienceFields, now_us: int
    ) -> Audience | None:
        """Write to an audience; None when there is none."""
        ...

    async def delete(self, project_id: int, audience_id: str, now_us: int) -> bool:
        """Delete an audience; its members exit by `remove_deleted`. False when there is none."""
        ...

    async def remove_deleted(self, limit: int, now_us: int) -> bool:
        """Let up to `limit` members exit from deleted audiences; whether there are more."""
        ...

    async def enter(
        self, project_id: int, audience_id: str, contact_ids: Sequence[str], now_us: int
    ) -> Entered | None:
        """Add contacts; None when there is no such audience. An id that repeats counts once.

        Raises:
            UnknownContactsError: for all ids that are nobody's.
        """
        ...

    async def exit(self, project_id: int, audience_id: str, contact_id: str, now_us: int) -> bool:
        """Take a contact out; False when it is not in it, or one of the two is not there."""
        ...
