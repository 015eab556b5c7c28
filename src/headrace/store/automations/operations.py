"""What people do to runs: cancel and retry, one or many; every change is audited."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from headrace.domain.automations.running.inputs import Cancel, Retry
from headrace.domain.automations.running.positions import retry_problem
from headrace.domain.automations.running.reasons import RunReason
from headrace.domain.automations.running.states import OPEN_RUNS, RunStatus
from headrace.store.access.audit import write_audit
from headrace.store.automations.advancing import RunAdvancer
from headrace.store.automations.automations import find_automation
from headrace.store.automations.dead_letters import close_of_runs, retry_runs
from headrace.store.automations.run_rows import COLUMNS, run_row
from headrace.store.contacts.contact_writes import by_id
from headrace.store.contacts.identifiers import ids_of
from headrace.store.contacts.races import write_contacts
from headrace.store.contract.automations import (
    BULK_COUNTED_MAX,
    BULK_RUNS_MAX,
    BULK_SAMPLE_MAX,
    BulkPreview,
    BulkResult,
    RunAction,
    RunFilter,
    RunRow,
)
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import BIGINT_MAX
from headrace.store.engine.transaction import Database, Transaction

#: Runs of one transaction.
_SLICE = 50
# The values of `_values`.
_MATCHES = (
    "automation_id = $1 AND status = $2 AND started_us < $3 "
    "AND ($4::int IS NULL OR version = $4) AND ($5::text IS NULL OR at_step = $5) "
    "AND ($6::text[] IS NULL OR contact_id = ANY($6::text[]))"
)
BULK_COUNT = sql(
    f"SELECT count(*) FROM (SELECT 1 AS one FROM automation_runs WHERE {_MATCHES} LIMIT $7) AS k"
)
# After a run of the slice before, so that one that cannot be changed is passed over.
BULK_PAGE = sql(
    f"SELECT {COLUMNS} FROM automation_runs WHERE {_MATCHES} "
    "AND (started_us, id) > ($8, $9) ORDER BY started_us, id LIMIT $7"
)
OPEN_OF_CONTACT = sql(
    f"SELECT {COLUMNS} FROM automation_runs WHERE contact_id = ANY($1::text[]) "
    "AND due_us IS NOT NULL AND ($2::text IS NULL OR automation_id = $2) LIMIT $3"
)
FORGET_ENTRIES = sql(
    "DELETE FROM automation_entries WHERE contact_id = ANY($1::text[]) AND automation_id = $2"
)
_STATUSES = {
    RunAction.CANCEL: tuple(sorted(OPEN_RUNS)),
    RunAction.RETRY: (RunStatus.FAILED,),
}


class NotEligibleError(Exception):
    """The run is in a status in which this cannot be done; the text says why."""


class RunOperations:
    """Cancels and retries runs.

    Args:
        advancer: makes what advances runs in a transaction.
        clock_us: the store's clock.
    """

    def __init__(
        self,
        database: Database,
        advancer: Callable[[Transaction, int], RunAdvancer],
        clock_us: Callable[[], int],
    ) -> None:
        self._database = database
        self._advancer = advancer
        self._clock_us = clock_us

    async def cancel(self, project_id: int, run_id: str, reason: str, *, actor: str) -> bool:
        """Cancel an open run; False when the project has no such run.

        A message that is queued is cancelled; one that is being sent goes on.

        Raises:
            NotEligibleError: the run has ended.
        """

        async def work(tx: Transaction) -> bool:
            now_us = self._clock_us()
            async with self._advancer(tx, now_us) as runs:
                held = await runs.hold(run_id)
                if held is None or held.row.project_id != project_id:
                    return False
                if held.row.due_us is None:
                    raise NotEligibleError("The run has ended.")
                await runs.advance(held, _cancel(reason, now_us))
            await _audit_run(tx, now_us, actor, held.row, RunAction.CANCEL, reason)
            return True

        return await write_contacts(lambda: self._database.write(work))

    async def retry(
        self,
        project_id: int,
        run_id: str,
        reason: str,
        *,
        from_step: str | None = None,
        actor: str,
    ) -> bool:
        """Retry a failed run, by default at the step that failed; False when there is no such run.

        Completed steps are not taken again, and a message is sent again with the same id. Its dead
        letter is closed as replayed.

        Raises:
            NotEligibleError: the run has not failed, or cannot continue at that step.
        """

        async def work(tx: Transaction) -> bool:
            now_us = self._clock_us()
            async with self._advancer(tx, now_us) as runs:
                held = await runs.hold(run_id)
                if held is None or held.row.project_id != project_id:
                    return False
                if held.row.status is not RunStatus.FAILED:
                    message = f"Only a failed run can be retried; this one is {held.row.status}."
                    raise NotEligibleError(message)
                version = await runs.versions.get(tx, held.row.automation_id, held.row.version)
                problem = retry_problem(held.run, version, from_step)
                if problem is not None:
                    message = f"{problem[0].upper()}{problem[1:]}."
                    raise NotEligibleError(message)
                await close_of_runs(tx, [run_id], now_us, actor=actor, reason=None)
                await retry_runs(tx, [run_id], now_us)
                again = await runs.hold(run_id)
                assert again is not None
                await runs.advance(again, Retry(at_us=now_us, from_step=from_step))
            await _audit_run(tx, now_us, actor, held.row, RunAction.RETRY, reason)
            return True

        return await write_contacts(lambda: self._database.write(work))

    async def preview(
        self, project_id: int, automation_id: str, action: RunAction, wanted: RunFilter
    ) -> BulkPreview | None:
        """How many runs an action would change; None when there is no such automation."""

        async def read(tx: Transaction) -> BulkPreview | None:
            if await find_automation(tx, project_id, automation_id) is None:
                return None
            count, sample = 0, list[RunRow]()
            for status in _statuses(action, wanted):
                values = await _values(tx, project_id, automation_id, status, wanted)
                count += await tx.value(BULK_COUNT, *values, BULK_COUNTED_MAX + 1)
                rows = await tx.rows(BULK_PAGE, *values, BULK_SAMPLE_MAX, -1, "")
                sample += [run_row(row) for row in rows]
            return BulkPreview(
                count=min(count, BULK_COUNTED_MAX),
                more=count > BULK_COUNTED_MAX,
                sample=sorted(sample, key=lambda row: row.started_us)[:BULK_SAMPLE_MAX],
            )

        return await self._database.read(read, snapshot=True)

    async def apply(
        self,
        project_id: int,
        automation_id: str,
        action: RunAction,
        wanted: RunFilter,
        reason: str,
        *,
        limit: int = BULK_RUNS_MAX,
        actor: str,
    ) -> BulkResult | None:
        """Cancel or retry the oldest matching runs, up to `limit`, in small transactions.

        Retried runs continue when the runner comes to them. None when there is no such automation.
        """
        if await self.preview(project_id, automation_id, action, wanted) is None:
            return None
        done, has_more = 0, False
        for status in _statuses(action, wanted):
            place: tuple[int, str] = (-1, "")
            while True:
                left = limit - done
                rows = await self._page(
                    project_id, automation_id, status, wanted, place, min(_SLICE, left + 1)
                )
                if not rows:
                    break
                if not left:
                    has_more = True
                    break
                rows = rows[:left]
                place = (rows[-1].started_us, rows[-1].id)
                done += await self._change(rows, action, reason, actor)
        now_us = self._clock_us()
        detail = {"automation": automation_id, "filter": wanted, "runs": done, "reason": reason}
        await self._database.write(
            lambda tx: write_audit(
                tx, now_us, actor, project_id, f"automation.runs_{action}", detail
            )
        )
        return BulkResult(done=done, has_more=has_more)

    async def cancel_of_contact(
        self,
        project_id: int,
        contact_id: str,
        automation_id: str | None,
        reason: str,
        *,
        actor: str,
    ) -> BulkResult | None:
        """Cancel the open runs of a contact; None when there is no such contact."""

        async def read(tx: Transaction) -> list[RunRow] | None:
            contact = await by_id(tx, project_id, contact_id)
            if contact is None:
                return None
            ids = await ids_of(tx, contact.id)
            rows = await tx.rows(OPEN_OF_CONTACT, list(ids), automation_id, BULK_RUNS_MAX + 1)
            return [run_row(row) for row in rows]

        found = await self._database.read(read)
        if found is None:
            return None
        done, rows = 0, found[:BULK_RUNS_MAX]
        for start in range(0, len(rows), _SLICE):
            done += await self._change(
                rows[start : start + _SLICE], RunAction.CANCEL, reason, actor
            )
        detail = {
            "contact": contact_id,
            "automation": automation_id,
            "runs": done,
            "reason": reason,
        }
        now_us = self._clock_us()
        await self._database.write(
            lambda tx: write_audit(
                tx, now_us, actor, project_id, "automation.contact_cancel", detail
            )
        )
        return BulkResult(done=done, has_more=len(found) > BULK_RUNS_MAX)

    async def forget_entries(
        self, project_id: int, automation_id: str, contact_id: str, *, actor: str
    ) -> bool:
        """Forget earlier starts of a contact, so that `once` and `once_per` allow one again.

        Runs stay as they are. False when there is no such automation or contact.
        """

        async def work(tx: Transaction) -> bool:
            contact = await by_id(tx, project_id, contact_id)
            if contact is None or await find_automation(tx, project_id, automation_id) is None:
                return False
            ids = list(await ids_of(tx, contact.id))
            entries = await tx.run(FORGET_ENTRIES, ids, automation_id)
            detail = {"contact": contact_id, "automation": automation_id, "entries": entries}
            await write_audit(
                tx, self._clock_us(), actor, project_id, "automation.forget_entries", detail
            )
            return True

        return await self._database.write(work)

    async def _page(
        self,
        project_id: int,
        automation_id: str,
        status: RunStatus,
        wanted: RunFilter,
        place: tuple[int, str],
        limit: int,
    ) -> list[RunRow]:
        async def read(tx: Transaction) -> list[RunRow]:
            values = await _values(tx, project_id, automation_id, status, wanted)
            return [run_row(row) for row in await tx.rows(BULK_PAGE, *values, limit, *place)]

        return await self._database.read(read)

    async def _change(
        self, rows: Sequence[RunRow], action: RunAction, reason: str, actor: str
    ) -> int:
        """Change runs in one transaction; those that have changed since are passed over."""
        ids = sorted(row.id for row in rows)

        async def cancel(tx: Transaction) -> int:
            now_us, done = self._clock_us(), 0
            async with self._advancer(tx, now_us) as runs:
                await runs.held.read(ids)
                for run_id in ids:
                    held = await runs.hold(run_id)
                    if held is not None and held.row.due_us is not None:
                        await runs.advance(held, _cancel(reason, now_us))
                        done += 1
            return done

        async def retry(tx: Transaction) -> int:
            now_us = self._clock_us()
            retried = await retry_runs(tx, ids, now_us)
            await close_of_runs(tx, sorted(retried), now_us, actor=actor, reason=None)
            return len(retried)

        work: Callable[[Transaction], Awaitable[int]]
        work = cancel if action is RunAction.CANCEL else retry
        return await write_contacts(lambda: self._database.write(work))


def _cancel(reason: str, now_us: int) -> Cancel:
    return Cancel(reason=RunReason.CANCELLED_BY, at_us=now_us, detail=reason)


def _statuses(action: RunAction, wanted: RunFilter) -> tuple[RunStatus, ...]:
    return tuple(
        status for status in _STATUSES[action] if wanted.status is None or status is wanted.status
    )


async def _values(
    tx: Transaction, project_id: int, automation_id: str, status: RunStatus, wanted: RunFilter
) -> tuple[Any, ...]:
    ids = None
    if wanted.contact_id is not None:
        contact = await by_id(tx, project_id, wanted.contact_id)
        ids = [wanted.contact_id] if contact is None else list(await ids_of(tx, contact.id))
    before_us = BIGINT_MAX if wanted.started_before_us is None else wanted.started_before_us
    return automation_id, status.value, before_us, wanted.version, wanted.at_step, ids


async def _audit_run(
    tx: Transaction, now_us: int, actor: str, row: RunRow, action: RunAction, reason: str
) -> None:
    detail = {"run": row.id, "automation": row.automation_id, "reason": reason}
    await write_audit(tx, now_us, actor, row.project_id, f"automation.run_{action}", detail)
