"""Events that other processes accepted recently."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from headrace.domain.events.event import NewEvent, Source
from headrace.domain.events.identity import idempotency_hash
from headrace.store.engine.postgres.database import Connection, Database

ARRIVED = (
    "SELECT sequence, id, project_id, lane, event, contact_id, external_id, email, "
    "email_original, NULL, idempotency_key, occurred_us, received_us, source, api_key_id, "
    "request_id, payload FROM events WHERE project_id = $1 AND sequence > $2 "
    f"AND sequence <> ALL ($3::bigint[]) AND source <> {Source.SYSTEM:d} "
    "ORDER BY sequence DESC LIMIT $4"
)


class PostgresArrivals:
    """See `headrace.store.contract.events.ArrivalStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def arrived(
        self, project_id: int, above: int, known: Collection[int], limit: int
    ) -> Sequence[NewEvent]:
        async def read(connection: Connection) -> Sequence[NewEvent]:
            rows = await connection.fetch(ARRIVED, project_id, above, list(known), limit)
            return [_event(NewEvent(*row)) for row in reversed(rows)]

        return await self._database.read(read)


def _event(event: NewEvent) -> NewEvent:
    if event.idempotency_key is None:
        return event
    hashed = idempotency_hash(event.project_id, event.idempotency_key)
    return msgspec.structs.replace(event, idempotency_hash=hashed)
