"""Rows that belong to events and are removed when the events are erased."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Row, Transaction
from headrace.store.privacy.person_events import Place, of_events

_ATTEMPT = "a.delivery_number, a.number, a.at_us, a.duration_us, a.cause, a.error, a.http_status"
#: Place, as receipts name it -> rows; the first value is the sequence of the event.
DETAILS = {
    "duplicate_requests": of_events(
        "t.sequence, t.at_us, t.api_key_id, t.request_id, t.mismatch",
        "duplicate_requests",
        "t.sequence, t.number",
    ),
    "attempts": of_events(
        "t.sequence, t.number, t.at_us, t.duration_us, t.cause, t.error",
        "processing_attempts",
        "t.sequence, t.number",
    ),
    "conflicts": of_events(
        "t.sequence, t.contact_id, t.other_contact_id, t.field, t.at_us",
        "contact_conflicts",
        "t.sequence, t.field",
    ),
    "dead_letters": of_events(
        "t.sequence, t.id, t.kind, t.subscriber_id, t.cause, t.error, t.attempts, "
        "t.first_failed_us, t.dead_lettered_us, t.state, t.closed_us, t.closed_by, t.reason, "
        "t.run_id",
        "dead_letters",
        "t.sequence, t.number",
    ),
    "deliveries": of_events(
        "t.sequence, t.number, t.id, t.subscriber_id, t.state, t.attempt, t.created_us, "
        "t.finished_us, t.last_error",
        "deliveries",
        "t.sequence, t.number",
    ),
    "delivery_attempts": sql(
        f"SELECT d.sequence, {_ATTEMPT}, a.excerpt, a.response_headers "
        "FROM unnest($1::smallint[], $2::bigint[]) AS k (lane, sequence) "
        "JOIN deliveries d ON d.lane = k.lane AND d.sequence = k.sequence "
        "JOIN delivery_attempts a ON a.lane = d.lane AND a.delivery_number = d.number "
        "ORDER BY d.sequence, d.number, a.number",
        sqlite=f"SELECT d.sequence, {_ATTEMPT}, a.excerpt, a.response_headers FROM json_each(?2) k "
        "CROSS JOIN deliveries d ON d.sequence = k.value "
        "CROSS JOIN delivery_attempts a ON a.delivery_number = d.number "
        "ORDER BY d.sequence, d.number, a.number",
    ),
}
IDS = of_events("t.event, t.id", "events")
EXAMPLES = sql(
    "SELECT event, example FROM catalog_names WHERE project_id = $1 "
    "AND event = ANY($2::text[]) AND example_id = ANY($3::uuid[])"
)

Details = Mapping[str, Sequence[Row]]


async def read_details(tx: Transaction, project_id: int, places: Sequence[Place]) -> Details:
    """Rows by place, those of `DETAILS` and the examples of the catalog made from the events."""
    columns = columns_of(places, 2)
    found = {name: await tx.rows(statement, *columns) for name, statement in DETAILS.items()}
    ids = await tx.rows(IDS, *columns)
    names = sorted({row[0] for row in ids})
    examples = (project_id, names, [bytes(row[1]) for row in ids])
    return found | {"catalog_examples": await tx.rows(EXAMPLES, *examples)}


def counts_of(details: Details) -> dict[str, int]:
    """Rows by place."""
    return {name: len(rows) for name, rows in details.items()}
