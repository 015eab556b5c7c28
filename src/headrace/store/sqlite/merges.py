"""Conflicts and merges in the embedded store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from headrace.store.contacts.merge_rows import COLUMNS, merge
from headrace.store.contract_merges import Merge, MergePreview, PairPage
from headrace.store.rows.pairs import COLUMNS as PAIR_COLUMNS
from headrace.store.rows.pairs import pair
from headrace.store.sqlite import merge_moves
from headrace.store.sqlite.readers import Readers
from headrace.store.sqlite.writer import Writer

_AFTER_ALL = 1 << 62
PAIRS = (
    f"SELECT {PAIR_COLUMNS} FROM contact_pairs INDEXED BY contact_pairs_open "  # noqa: S608
    "WHERE project_id = ? AND resolved_by IS NULL AND number < ? ORDER BY number DESC LIMIT ?"
)
_GET = f"SELECT {COLUMNS} FROM merges WHERE id = ? AND project_id = ?"  # noqa: S608
_LIST = (
    f"SELECT {COLUMNS} FROM merges WHERE project_id = ? AND number < ? "  # noqa: S608
    "ORDER BY number DESC LIMIT ?"
)


class SqliteMerges:
    """See `headrace.store.contract_merges.MergeStore`."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def pairs(self, project_id: int, *, before: int | None, limit: int) -> PairPage:
        values = (project_id, _AFTER_ALL if before is None else before, limit + 1)

        def read(connection: apsw.Connection) -> PairPage:
            found = [pair(row) for row in connection.execute(PAIRS, values)]
            return PairPage(found[:limit], found[limit - 1].number if len(found) > limit else None)

        return await self._readers.run(read)

    async def preview(self, project_id: int, contact_id: str, other_id: str) -> MergePreview:
        return await self._readers.run(
            lambda connection: merge_moves.preview(connection, project_id, contact_id, other_id)
        )

    async def merge(
        self, project_id: int, contact_id: str, other_id: str, now_us: int, *, actor: str
    ) -> Merge:
        def work(connection: apsw.Connection) -> Merge:
            merge_id = merge_moves.merge(
                connection, project_id, contact_id, other_id, now_us, actor
            )
            return _found(connection, project_id, merge_id)

        return await self._writer.run(work)

    async def undo(self, project_id: int, merge_id: str, now_us: int, *, actor: str) -> Merge:
        def work(connection: apsw.Connection) -> Merge:
            merge_moves.undo(connection, project_id, merge_id, now_us, actor)
            return _found(connection, project_id, merge_id)

        return await self._writer.run(work)

    async def get(self, project_id: int, merge_id: str) -> Merge | None:
        def read(connection: apsw.Connection) -> Merge | None:
            row: Any = connection.execute(_GET, (merge_id, project_id)).fetchone()
            return None if row is None else merge(row)

        return await self._readers.run(read)

    async def list(self, project_id: int, *, before: int | None, limit: int) -> Sequence[Merge]:
        values = (project_id, _AFTER_ALL if before is None else before, limit)
        return await self._readers.run(
            lambda connection: [merge(row) for row in connection.execute(_LIST, values)]
        )


def _found(connection: apsw.Connection, project_id: int, merge_id: str) -> Merge:
    row: Any = connection.execute(_GET, (merge_id, project_id)).fetchone()
    return merge(row)
