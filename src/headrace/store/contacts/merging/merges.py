"""Conflicts of contacts and merges.

A merge does not change events. Of the merged contact, only its identifiers are kept, its id
included; they lead to the survivor from then on.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.store.access.audit import write_audit
from headrace.store.contacts.contact_writes import ContactWriter
from headrace.store.contacts.merge_rows import COLUMNS, merge
from headrace.store.contacts.merging.pair_rows import COLUMNS as PAIR_COLUMNS
from headrace.store.contacts.merging.pair_rows import pair
from headrace.store.contacts.merging.steps import MergeSteps, preview
from headrace.store.contacts.races import write_contacts
from headrace.store.contract.merges import (
    ContactPair,
    Merge,
    MergePreview,
    MergeRejectedError,
    MergeRejection,
    PairPage,
    PairStatus,
)
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import BIGINT_MAX, RowNumbers
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Database, Transaction

_PAIRS = (
    f"SELECT {PAIR_COLUMNS} FROM conflict_pairs "
    "WHERE project_id = $1 AND resolved_by IS NULL AND number < $2 "
)
PAIRS = {
    PairStatus.OPEN: sql(f"{_PAIRS} AND dismissed_us IS NULL ORDER BY number DESC LIMIT $3"),
    PairStatus.DISMISSED: sql(
        f"{_PAIRS} AND dismissed_us IS NOT NULL ORDER BY number DESC LIMIT $3"
    ),
}
PAIR = sql(
    f"SELECT resolved_by, {PAIR_COLUMNS} FROM conflict_pairs "
    "WHERE id = $1 AND project_id = $2 FOR UPDATE"
)
DISMISS = sql(
    "UPDATE conflict_pairs SET dismissed_us = $2, dismissed_by = $3, dismissed_reason = $4 "
    "WHERE id = $1"
)
_GET = sql(f"SELECT {COLUMNS} FROM merges WHERE id = $1 AND project_id = $2")
LIST = sql(
    f"SELECT {COLUMNS} FROM merges WHERE project_id = $1 AND number < $2 "
    "ORDER BY number DESC LIMIT $3"
)


class Merges:
    """Conflicts and merges of all projects."""

    def __init__(
        self, database: Database, system_events: SystemEvents, numbers: RowNumbers
    ) -> None:
        self._database = database
        self._system_events = system_events
        self._numbers = numbers

    def _steps(self, tx: Transaction, now_us: int, actor: str) -> MergeSteps:
        return MergeSteps(
            ContactWriter(tx, self._system_events, self._numbers, now_us, actor), actor
        )

    async def pairs(
        self,
        project_id: int,
        *,
        before: int | None,
        limit: int,
        status: PairStatus = PairStatus.OPEN,
    ) -> PairPage:
        """Pairs of contacts that are not merged, newest first."""
        place = BIGINT_MAX if before is None else before
        rows = await self._database.read(
            lambda tx: tx.rows(PAIRS[status], project_id, place, limit + 1)
        )
        found = [pair(row) for row in rows]
        return PairPage(found[:limit], found[limit - 1].number if len(found) > limit else None)

    async def dismiss(
        self, project_id: int, pair_id: str, reason: str, now_us: int, *, actor: str
    ) -> ContactPair:
        """Record that the two contacts of a pair are different people.

        Later events that treat them as one are counted, but do not list it again. Dismissing it
        again changes nothing.

        Raises:
            MergeRejectedError: there is no such pair, or the two are merged.
        """

        async def work(tx: Transaction) -> ContactPair:
            row = await tx.row(PAIR, pair_id, project_id)
            if row is None:
                raise MergeRejectedError(MergeRejection.NOT_FOUND)
            if row[0] is not None:
                raise MergeRejectedError(MergeRejection.RESOLVED)
            found = pair(row[1:])
            if found.dismissed_us is not None:
                return found
            await tx.run(DISMISS, pair_id, now_us, actor, reason)
            contacts = {"contact": found.contact_id, "other": found.other_contact_id}
            detail = {"conflict": pair_id, **contacts, "reason": reason}
            await write_audit(tx, now_us, actor, project_id, "contact.conflict_dismiss", detail)
            return msgspec.structs.replace(
                found, dismissed_us=now_us, dismissed_by=actor, dismissed_reason=reason
            )

        return await self._database.write(work)

    async def preview(self, project_id: int, contact_id: str, other_id: str) -> MergePreview:
        """What `merge` would do.

        Raises:
            MergeRejectedError: the merge would be rejected.
            ApiError: 422, the properties of both are too much for one.
        """
        return await self._database.read(
            lambda tx: preview(tx, project_id, contact_id, other_id), snapshot=True
        )

    async def merge(
        self, project_id: int, contact_id: str, other_id: str, now_us: int, *, actor: str
    ) -> Merge:
        """Make one contact of two, with its system events, in one transaction.

        The survivor keeps its identifiers and gets those that it lacks; of each property the newer
        value stays. The other contact is removed, and its identifiers lead to the survivor.

        Raises:
            MergeRejectedError: with the reason.
            ApiError: 422, the properties of both are too much for one.
        """

        async def work(tx: Transaction) -> Merge:
            merge_id = await self._steps(tx, now_us, actor).merge(project_id, contact_id, other_id)
            return await _made(tx, project_id, merge_id)

        return await write_contacts(lambda: self._database.write(work))

    async def undo(self, project_id: int, merge_id: str, now_us: int, *, actor: str) -> Merge:
        """Undo a merge.

        Both contacts are as before the merge, except for later changes, which stay with the
        survivor.

        Raises:
            MergeRejectedError: with the reason.
        """

        async def work(tx: Transaction) -> Merge:
            await self._steps(tx, now_us, actor).undo(project_id, merge_id)
            return await _made(tx, project_id, merge_id)

        return await write_contacts(lambda: self._database.write(work))

    async def get(self, project_id: int, merge_id: str) -> Merge | None:
        """One merge, None when the project has no such merge."""
        row = await self._database.read(lambda tx: tx.row(_GET, merge_id, project_id))
        return None if row is None else merge(row)

    async def list(self, project_id: int, *, before: int | None, limit: int) -> Sequence[Merge]:
        """Merges of a project, newest first, numbered below `before`."""
        place = BIGINT_MAX if before is None else before
        rows = await self._database.read(lambda tx: tx.rows(LIST, project_id, place, limit))
        return [merge(row) for row in rows]


async def _made(tx: Transaction, project_id: int, merge_id: str) -> Merge:
    row = await tx.row(_GET, merge_id, project_id)
    assert row is not None
    return merge(row)
