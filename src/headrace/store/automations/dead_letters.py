"""Dead letters of automations: events that could not be applied to runs, and failed runs.

A run is failed exactly while it has failed for good and is not retried; its dead letter is written
in the transaction that stores the failure, and closed in the one that retries it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from headrace.domain.automations.running.reasons import RunReason
from headrace.domain.events.event import Status
from headrace.store.automations.automations import bump_names
from headrace.store.automations.run_rows import key_of
from headrace.store.contract.automations import InboxEvent, RunRow
from headrace.store.contract.dead_letters import DeadLetterKind, DeadLetterState
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction

#: Cause of the dead letter of a run of which a step failed.
STEP_FAILED = RunReason.STEP_FAILED.value
ERROR_CHARACTERS_MAX = 500

_INTO = (
    "INSERT INTO dead_letters (lane, number, id, project_id, sequence, event, kind, run_id, cause, "
    "error, attempts, first_failed_us, dead_lettered_us) "
)
_ADD_EVENT = sql(
    f"{_INTO} SELECT $1, $3, $4, $5, $2, e.event, '{DeadLetterKind.AUTOMATION}', NULL, $6, $7, $8, "
    "$9, $10 FROM stored_events e WHERE e.lane = $1 AND e.sequence = $2"
)
_ADD_RUN = sql(
    f"{_INTO} VALUES ($1, $3, $4, $5, $2, $6, '{DeadLetterKind.AUTOMATION}', $7, $8, $9, $10, $11, "
    "$12)"
)
# The contact is that of the event's processing; if it was merged since, its runs are found all the
# same.
EVENTS_AGAIN = sql(
    "INSERT INTO automation_inbox (lane, sequence, project_id, contact_id, due_us) "
    "SELECT o.lane, o.sequence, o.project_id, o.contact_id, $3 "
    "FROM unnest($1::smallint[], $2::bigint[]) AS k (lane, sequence) "
    "JOIN event_states o ON o.lane = k.lane AND o.sequence = k.sequence "
    f"WHERE o.status = {Status.PROCESSED:d} "
    "ON CONFLICT (lane, sequence) DO UPDATE SET due_us = excluded.due_us, attempt = 0 "
    "RETURNING lane, sequence"
)
RUNS_AGAIN = sql(
    "UPDATE automation_runs SET due_us = $3, finished_us = NULL, attempt = 0, error = NULL, "
    "first_failed_us = NULL WHERE (lane, id) IN "
    "(SELECT k.lane, k.id FROM unnest($1::smallint[], $2::text[]) AS k (lane, id)) "
    "AND status = 'failed' AND due_us IS NULL RETURNING id"
)
CLOSE_OF_RUNS = sql(
    f"UPDATE dead_letters SET state = {DeadLetterState.REPLAYED:d}, closed_us = $2, "
    "closed_by = $3, reason = $4 WHERE run_id = ANY($1::text[]) AND run_id IS NOT NULL "
    "AND state = 0"
)


class DeadLetterIds(Protocol):
    """Gives numbers to dead letters; each store has its own."""

    async def dead_letter_ids(
        self, tx: Transaction, lanes: Sequence[int]
    ) -> Sequence[tuple[int, str]]:
        """Number and id of a new dead letter for an event of each lane."""
        ...


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why an event or run has become a dead letter."""

    cause: str
    error: str
    attempts: int
    first_failed_us: int
    now_us: int

    @property
    def values(self) -> tuple[str, str, int, int, int]:
        """Values of the columns."""
        text = self.error[:ERROR_CHARACTERS_MAX]
        return self.cause, text, self.attempts, self.first_failed_us, self.now_us


async def bury_event(
    tx: Transaction, ids: DeadLetterIds, item: InboxEvent, failure: Failure
) -> None:
    """Write the dead letter of an event that could not be applied to runs."""
    [(number, dead_letter_id)] = await ids.dead_letter_ids(tx, [item.lane])
    named = (item.lane, item.sequence, number, dead_letter_id, item.project_id)
    await tx.run(_ADD_EVENT, *named, *failure.values)


async def bury_run(
    tx: Transaction, ids: DeadLetterIds, row: RunRow, event: str, failure: Failure
) -> None:
    """Write the dead letter of a run that failed.

    Args:
        event: name of the event that started it.
    """
    [(number, dead_letter_id)] = await ids.dead_letter_ids(tx, [row.event_lane])
    named = (row.event_lane, row.sequence, number, dead_letter_id, row.project_id, event, row.id)
    await tx.run(_ADD_RUN, *named, *failure.values)


async def apply_again(
    tx: Transaction, events: Sequence[tuple[int, int]], now_us: int
) -> set[tuple[int, int]]:
    """Put events, by lane and sequence, into the inbox again; returns those that exist."""
    rows = await tx.rows(EVENTS_AGAIN, *columns_of(sorted(events), 2), now_us)
    return {(lane, sequence) for lane, sequence in rows}


async def retry_runs(tx: Transaction, run_ids: Sequence[str], now_us: int) -> set[str]:
    """Let the runner retry failed runs; returns the ids of those that had failed.

    The caller closes their dead letters.
    """
    keys = columns_of(sorted(key_of(each) for each in run_ids), 2)
    found = {run_id for (run_id,) in await tx.rows(RUNS_AGAIN, *keys, now_us)}
    if found:
        # Perhaps no open run of this version was left, so that its events were not looked at.
        await bump_names(tx)
    return found


async def close_of_runs(
    tx: Transaction, run_ids: Sequence[str], now_us: int, *, actor: str, reason: str | None
) -> None:
    """Close the open dead letters of runs as replayed."""
    await tx.run(CLOSE_OF_RUNS, sorted(run_ids), now_us, actor, reason)
