"""Mails sent to the relay `capture:`: the newest ones, for inspection."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.domain.messages.places import lane_of_uuid
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import BIGINT_MAX
from headrace.store.engine.transaction import Database, Transaction

#: Kept in all projects together.
KEPT_MAX = 1000

_PROJECT = sql("SELECT project_id FROM messages WHERE lane = $1 AND id = $2")
_INSERT = sql(
    "INSERT INTO captured_mails (project_id, message_id, at_us, content) VALUES ($1, $2, $3, $4)"
)
NEWEST = sql("SELECT number FROM captured_mails ORDER BY number DESC LIMIT 1 OFFSET $1")
REMOVE = sql("DELETE FROM captured_mails WHERE number <= $1")
LIST = sql(
    "SELECT number, project_id, message_id, at_us, content FROM captured_mails "
    "WHERE project_id = $1 AND number < $2 ORDER BY number DESC LIMIT $3"
)
OF_MESSAGE = sql(
    "SELECT number, project_id, message_id, at_us, content FROM captured_mails "
    "WHERE message_id = $2 AND project_id = $1 ORDER BY number DESC LIMIT 1"
)


class CapturedMail(msgspec.Struct, frozen=True):
    """One mail as it would have been sent."""

    number: int
    project_id: int
    message_id: str
    at_us: int
    content: bytes


class Captured:
    """Captured mails of all projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, message_id: str, content: bytes, now_us: int) -> None:
        """Keep a mail, and no more than the newest `KEPT_MAX`."""

        async def work(tx: Transaction) -> None:
            project_id = await tx.value(_PROJECT, lane_of_uuid(message_id), message_id)
            if project_id is None:
                # The person was erased meanwhile.
                return
            await tx.run(_INSERT, project_id, message_id, now_us, content)
            last = await tx.value(NEWEST, KEPT_MAX)
            if last is not None:
                await tx.run(REMOVE, last)

        await self._database.write(work)

    async def list(
        self, project_id: int, *, before: int | None, limit: int
    ) -> Sequence[CapturedMail]:
        """Mails of a project, newest first, numbered below `before`."""
        place = BIGINT_MAX if before is None else before
        rows = await self._database.read(lambda tx: tx.rows(LIST, project_id, place, limit))
        return [CapturedMail(*row) for row in rows]

    async def of_message(self, project_id: int, message_id: str) -> CapturedMail | None:
        """The last mail of a message."""
        row = await self._database.read(lambda tx: tx.row(OF_MESSAGE, project_id, message_id))
        return None if row is None else CapturedMail(*row)
