"""Conflicts and merges on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.store.contacts.merge_rows import COLUMNS, merge
from headrace.store.contract_merges import Merge, MergePreview, PairPage
from headrace.store.postgres.contact_races import write_contacts
from headrace.store.postgres.database import Connection, Database
from headrace.store.postgres.merge_moves import Moves, preview
from headrace.store.postgres.numbers import Numbers
from headrace.store.rows.pairs import COLUMNS as PAIR_COLUMNS
from headrace.store.rows.pairs import pair

_AFTER_ALL = (1 << 63) - 1
PAIRS = (
    f"SELECT {PAIR_COLUMNS} FROM contact_pairs "  # noqa: S608
    "WHERE project_id = $1 AND resolved_by IS NULL AND number < $2 ORDER BY number DESC LIMIT $3"
)
_GET = f"SELECT {COLUMNS} FROM merges WHERE id = $1 AND project_id = $2"  # noqa: S608
_LIST = (
    f"SELECT {COLUMNS} FROM merges WHERE project_id = $1 AND number < $2 "  # noqa: S608
    "ORDER BY number DESC LIMIT $3"
)


class PostgresMerges:
    """See `headrace.store.contract_merges.MergeStore`."""

    def __init__(self, database: Database, numbers: Numbers) -> None:
        self._database = database
        self._numbers = numbers

    async def pairs(self, project_id: int, *, before: int | None, limit: int) -> PairPage:
        place = _AFTER_ALL if before is None else before

        async def read(connection: Connection) -> PairPage:
            rows = await connection.fetch(PAIRS, project_id, place, limit + 1)
            found = [pair(row) for row in rows]
            return PairPage(found[:limit], found[limit - 1].number if len(found) > limit else None)

        return await self._database.read(read)

    async def preview(self, project_id: int, contact_id: str, other_id: str) -> MergePreview:
        return await self._database.read(
            lambda connection: preview(connection, project_id, contact_id, other_id), snapshot=True
        )

    async def merge(
        self, project_id: int, contact_id: str, other_id: str, now_us: int, *, actor: str
    ) -> Merge:
        async def work(connection: Connection) -> Merge:
            moves = Moves(connection, self._numbers, now_us, actor)
            merge_id = await moves.merge(project_id, contact_id, other_id)
            return merge(await connection.fetchrow(_GET, merge_id, project_id))

        return await write_contacts(self._database, work)

    async def undo(self, project_id: int, merge_id: str, now_us: int, *, actor: str) -> Merge:
        async def work(connection: Connection) -> Merge:
            await Moves(connection, self._numbers, now_us, actor).undo(project_id, merge_id)
            return merge(await connection.fetchrow(_GET, merge_id, project_id))

        return await write_contacts(self._database, work)

    async def get(self, project_id: int, merge_id: str) -> Merge | None:
        row = await self._database.read(
            lambda connection: connection.fetchrow(_GET, merge_id, project_id)
        )
        return None if row is None else merge(row)

    async def list(self, project_id: int, *, before: int | None, limit: int) -> Sequence[Merge]:
        place = _AFTER_ALL if before is None else before
        rows = await self._database.read(
            lambda connection: connection.fetch(_LIST, project_id, place, limit)
        )
        return [merge(row) for row in rows]
