"""What the API and the worker ask of a store to forget a person.

The contact and what it is tied to go at once. The rest goes slice by slice: all events that were
stored by then and name the person by any identifier, with everything that is kept about them. An
event of the person that a worker meets meanwhile is erased instead of processed. What arrives
later is about somebody nobody knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

#: Rejections of requests that came before are in the store by then.
SETTLE_US = 1_000_000


class ErasureStatus(StrEnum):
    """How far it is. `begin` makes it running, `advance` and `wipe` move it on."""

    RUNNING = "running"
    #: No row is left; traces of rows in the files are.
    WIPING = "wiping"
    DONE = "done"


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """A job that forgets a person, and afterwards the receipt. Names nobody."""

    #: Grows with time.
    number: int
    id: str
    project_id: int
    contact_id: str
    status: ErasureStatus
    #: Place -> rows that were removed there so far.
    counts: dict[str, int]
    actor: str
    created_us: int
    finished_us: int | None


class ErasureStore(Protocol):
    """Erasures of all projects."""

    async def begin(
        self, project_id: int, contact_id: str, now_us: int, *, actor: str
    ) -> Erasure | None:
        """Remove a contact and begin to forget the person; None when there is none to forget.

        Also of a contact that was deleted before, as long as events of it are kept. Asked again,
        it gives the erasure that was begun first.
        """
        ...

    async def get(self, project_id: int, erasure_id: str) -> Erasure | None:
        """One erasure, None when the project has no such erasure."""
        ...

    async def list(self, project_id: int, *, before: int | None, limit: int) -> Sequence[Erasure]:
        """Erasures of a project, newest first, numbered below `before`."""
        ...

    async def unfinished(self, limit: int) -> Sequence[Erasure]:
        """Erasures of all projects that are not done, oldest first."""
        ...

    async def advance(self, erasure_id: str, limit: int, now_us: int) -> bool:
        """Forget the next slice, up to `limit` events; whether it is still running."""
        ...

    async def wipe(self, now_us: int) -> bool:
        """Overwrite what erasures that are `wiping` have left behind in files; they are done then.

        Returns:
            False when somebody still reads what is to be overwritten: ask again later.
        """
        ...
