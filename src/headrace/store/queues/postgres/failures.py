"""Records failed attempts at processing; runs inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.domain.events.event import Status
from headrace.domain.ids import uuid_text
from headrace.store.contract.processing import FIRST_DEATH, Claimed, ProcessingFailure
from headrace.store.engine.postgres.database import Connection
from headrace.store.engine.postgres.sequences import SequenceAllocator

_ADD_ATTEMPT = (
    "INSERT INTO processing_attempts (lane, sequence, number, at_us, duration_us, cause, error) "
    "SELECT $1, $2, coalesce(max(number), 0) + 1, $3, $4, $5, $6 FROM processing_attempts "
    "WHERE lane = $1 AND sequence = $2"
)
_OUTCOME = (
    "INSERT INTO event_states (lane, sequence, project_id, status, attempts, last_error) "
    "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (lane, sequence) DO UPDATE SET "
    "status = excluded.status, attempts = excluded.attempts, last_error = excluded.last_error"
)
_WAIT = (
    "INSERT INTO event_retries (lane, sequence, project_id, due_us, attempt, crashes) "
    "VALUES ($1, $2, $3, $4, $5, $6)"
)
_FIRST_FAILED = "SELECT min(at_us) FROM processing_attempts WHERE lane = $1 AND sequence = $2"
_DEAD_LETTER = (
    "INSERT INTO dead_letters (lane, number, id, project_id, sequence, event, kind, cause, error, "
    "attempts, first_failed_us, dead_lettered_us) "
    "VALUES ($1, $2, $3, $4, $5, $6, 'processing', $7, $8, $9, $10, $11)"
)


async def record_first_deaths(
    connection: Connection, held: Sequence[tuple[int, int]], now_us: int
) -> None:
    """Record attempts whose worker died, by lane and sequence; their events are queued again."""
    rows = [(lane, sequence, now_us, 0, *FIRST_DEATH) for lane, sequence in held]
    await connection.executemany(_ADD_ATTEMPT, rows)


async def record_failure(
    connection: Connection,
    numbers: SequenceAllocator,
    claimed: Claimed,
    failure: ProcessingFailure,
    now_us: int,
) -> None:
    """Record the attempt, the status, and the retry or dead letter that follows."""
    key = claimed.lane, claimed.sequence
    what = failure.cause, failure.error
    await connection.execute(_ADD_ATTEMPT, *key, now_us, failure.duration_us, *what)
    retries = failure.retry_at_us is not None
    status = Status.RETRYING if retries else Status.DEAD_LETTERED
    await connection.execute(
        _OUTCOME, *key, claimed.project_id, status.value, claimed.attempt, failure.error
    )
    if retries:
        counts = claimed.attempt, claimed.crashes
        await connection.execute(_WAIT, *key, claimed.project_id, failure.retry_at_us, *counts)
        return
    first_us = await connection.fetchval(_FIRST_FAILED, *key)
    number, dead_letter_id = numbers.event(claimed.lane, now_us)
    await connection.execute(
        _DEAD_LETTER,
        claimed.lane,
        number,
        uuid_text(dead_letter_id),
        claimed.project_id,
        claimed.sequence,
        claimed.event,
        *what,
        claimed.attempt,
        first_us,
        now_us,
    )
