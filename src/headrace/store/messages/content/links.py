"""Targets of tracked links, unique in a project and kept for ever."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from headrace.domain.messages.tokens import LINK_MAX
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Transaction

#: Number of the hidden link that only machines follow; no target has it.
HONEYPOT_LINK = LINK_MAX
#: Limit of numbers cached by one process.
REMEMBERED_MAX = 10_000

FIND = sql("SELECT hash, number FROM links WHERE project_id = $1 AND hash = ANY($2::bytea[])")
_INSERT = sql(
    "INSERT INTO links (project_id, hash, target) VALUES ($1, $2, $3) "
    "ON CONFLICT (project_id, hash) DO NOTHING"
)
TARGET = sql("SELECT target FROM links WHERE number = $1")


class Links:
    """Links of all projects."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[tuple[int, str], int] = {}

    async def numbers(self, project_id: int, targets: Sequence[str]) -> dict[str, int]:
        """The number of each target, assigned at its first use."""
        new = [target for target in targets if (project_id, target) not in self._known]
        if new:
            if len(self._known) + len(new) > REMEMBERED_MAX:
                self._known.clear()
                new = list(targets)
            found = await self._numbers(project_id, new)
            self._known |= {(project_id, target): found[target] for target in new}
        return {target: self._known[(project_id, target)] for target in targets}

    async def _numbers(self, project_id: int, targets: Sequence[str]) -> dict[str, int]:
        hashes = {target: blake2b(target.encode(), digest_size=16).digest() for target in targets}

        async def find(tx: Transaction) -> dict[bytes, int]:
            rows = await tx.rows(FIND, project_id, sorted(hashes.values()))
            return {bytes(hashed): number for hashed, number in rows}

        async def make(tx: Transaction) -> dict[bytes, int]:
            ordered = sorted((hashed, target) for target, hashed in hashes.items())
            await tx.run_many(_INSERT, [(project_id, *each) for each in ordered])
            return await find(tx)

        found = await self._database.read(find)
        if len(found) < len(hashes):
            found = await self._database.write(make)
        return {target: found[hashed] for target, hashed in hashes.items()}

    async def target(self, number: int) -> str | None:
        """Where a link leads; None when there is no such link."""
        target: str | None = await self._database.read(lambda tx: tx.value(TARGET, number))
        return target
