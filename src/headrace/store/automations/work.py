"""The transactions that start runs and advance them.

One process at a time does so (leadership `automations`), and each transaction checks that it still
leads. In one transaction a run is read and locked, the decision is made, its effects are performed,
and the run is stored with the time at which it is looked at next. So after a crash a run is either
as before an input, which is then applied again, or as after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from headrace.domain.automations.running.inputs import Cancel
from headrace.domain.automations.running.reasons import RunReason
from headrace.domain.automations.running.states import RunStatus
from headrace.faults import fail_point
from headrace.store.automations.advancing import RunAdvancer
from headrace.store.automations.applying import apply_events, apply_timers
from headrace.store.automations.controls import (
    OPEN_RUNS_OF,
    TASK_DONE,
    TASKS,
    UNPARK,
    read_control,
)
from headrace.store.automations.dead_letters import (
    ERROR_CHARACTERS_MAX,
    DeadLetterIds,
    Failure,
    bury_event,
    bury_run,
)
from headrace.store.automations.inputs import DEPTH_MAX
from headrace.store.automations.run_rows import COLUMNS, key_of, read_state, run_row
from headrace.store.automations.starts import RunStarter
from headrace.store.automations.version_cache import VersionCache
from headrace.store.contacts.races import write_contacts
from headrace.store.contract.automations import (
    ATTEMPTS_MAX,
    AutomationTask,
    Due,
    InboxEvent,
    Worked,
)
from headrace.store.contract.errors import LeadershipLostError, StoreError, StoreRowError
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import RowNumbers
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Database, Transaction

T = TypeVar("T")

#: Name of the leadership.
LEADERSHIP = "automations"
#: Events, and due runs, of one transaction. More would share more of its cost, but an accept on
#: SQLite may have to wait for its end.
EVENTS_MAX = 128
TIMERS_MAX = 128
#: Automations whose open runs are cancelled or let go on in one round, and such runs of one
#: transaction.
TASKS_MAX = 10
UNPARKED_MAX = 500
#: Pause after a failed attempt at an input; doubles with each.
RETRY_US = 5_000_000
CAUSE_CHARACTERS_MAX = 100

_LEADS = sql(f"SELECT 1 FROM leader_leases WHERE name = '{LEADERSHIP}' AND owner = $1 FOR SHARE")
DUE_EVENTS = sql(
    "SELECT lane, sequence, project_id, contact_id, starts_only FROM automation_inbox "
    "WHERE due_us <= $1 "
    "ORDER BY due_us, sequence LIMIT $2"
)
DUE_RUNS = sql("SELECT id FROM automation_runs WHERE due_us <= $1 ORDER BY due_us LIMIT $2")
NEXT_EVENT = sql("SELECT min(due_us) FROM automation_inbox WHERE due_us IS NOT NULL")
NEXT_RUN = sql("SELECT min(due_us) FROM automation_runs WHERE due_us IS NOT NULL")
_RETRY_EVENT = sql(
    "UPDATE automation_inbox SET attempt = attempt + 1, error = $4, "
    "first_failed_us = coalesce(first_failed_us, $3), "
    "due_us = $3::bigint + $5::bigint * (1 << attempt) WHERE lane = $1 AND sequence = $2 "
    "RETURNING attempt, first_failed_us"
)
_REMOVE_EVENT = sql("DELETE FROM automation_inbox WHERE lane = $1 AND sequence = $2")
_RETRY_RUN = sql(
    "UPDATE automation_runs SET attempt = attempt + 1, error = $4, "
    "first_failed_us = coalesce(first_failed_us, $3), "
    "due_us = $3::bigint + $5::bigint * (1 << attempt) "
    "WHERE lane = $1 AND id = $2 AND due_us IS NOT NULL "
    f"RETURNING attempt, first_failed_us, {COLUMNS}"
)
# The state stays as it was before the input, which a retry applies again.
_STOP_RUN = sql(
    "UPDATE automation_runs SET status = 'failed', reason = 'step_failed', due_us = NULL, "
    "finished_us = $3 WHERE lane = $1 AND id = $2"
)
_STATE = sql("SELECT state FROM automation_runs WHERE lane = $1 AND id = $2")
_EVENT_NAME = sql("SELECT event FROM stored_events WHERE lane = $1 AND sequence = $2")


class AutomationWork:
    """What the runner does, batch by batch.

    Args:
        clock_us: the store's clock.
    """

    def __init__(
        self,
        database: Database,
        system_events: SystemEvents,
        numbers: RowNumbers,
        clock_us: Callable[[], int],
        dead_letter_ids: DeadLetterIds,
    ) -> None:
        self._database = database
        self._dead_letter_ids = dead_letter_ids
        self._system_events = system_events
        self._numbers = numbers
        self._clock_us = clock_us
        self._versions = VersionCache()

    async def due(self) -> Due:
        """When the next event and the next timer are due; a read only."""

        async def read(tx: Transaction) -> Due:
            has_tasks = bool(await tx.rows(TASKS, 1))
            return Due(await tx.value(NEXT_EVENT), await tx.value(NEXT_RUN), has_tasks=has_tasks)

        return await self._database.read(read)

    async def work_events(self, owner: str) -> Worked:
        """Apply the next events of the inbox.

        An event that fails is found by applying each alone; it is retried later.

        Raises:
            LeadershipLostError: another process leads; nothing was changed.
        """
        now_us = self._clock_us()

        async def batch(tx: Transaction) -> Worked:
            await _check_leads(tx, owner)
            rows = await tx.rows(DUE_EVENTS, now_us, EVENTS_MAX)
            async with self.advancer(tx, now_us) as runs:
                starter = RunStarter(runs)
                await apply_events(runs, starter, [InboxEvent(*row) for row in rows])
            fail_point("automation_inside_commit")
            return Worked(events=len(rows), started=starter.started)

        done = await self._try(batch)
        if done is None:
            done = await self._events_one_by_one(owner, now_us)
        if done.events:
            fail_point("automation_committed")
        return done

    async def _events_one_by_one(self, owner: str, now_us: int) -> Worked:
        rows = await self._database.read(lambda tx: tx.rows(DUE_EVENTS, now_us, EVENTS_MAX))
        done = Worked()
        for row in rows:
            item = InboxEvent(*row)

            async def one(tx: Transaction, item: InboxEvent = item) -> Worked:
                await _check_leads(tx, owner)
                async with self.advancer(tx, now_us) as runs:
                    starter = RunStarter(runs)
                    await apply_events(runs, starter, [item])
                return Worked(events=1, started=starter.started)

            async def failed(tx: Transaction, error: Exception, item: InboxEvent = item) -> None:
                await self._retry_event(tx, item, now_us, error)

            done = _sum(done, await self._try_one(one, failed) or Worked(events=1, failed=1))
        return done

    async def work_timers(self, owner: str) -> Worked:
        """Advance the next runs that are due.

        Raises:
            LeadershipLostError: another process leads; nothing was changed.
        """
        now_us = self._clock_us()

        async def batch(tx: Transaction) -> Worked:
            await _check_leads(tx, owner)
            rows = await tx.rows(DUE_RUNS, now_us, TIMERS_MAX)
            async with self.advancer(tx, now_us) as runs:
                await apply_timers(runs, [row[0] for row in rows])
            fail_point("automation_inside_commit")
            return Worked(timers=len(rows))

        done = await self._try(batch)
        if done is None:
            done = await self._timers_one_by_one(owner, now_us)
        if done.timers:
            fail_point("automation_committed")
        return done

    async def _timers_one_by_one(self, owner: str, now_us: int) -> Worked:
        rows = await self._database.read(lambda tx: tx.rows(DUE_RUNS, now_us, TIMERS_MAX))
        done = Worked()
        for (run_id,) in rows:

            async def one(tx: Transaction, run_id: str = run_id) -> Worked:
                await _check_leads(tx, owner)
                async with self.advancer(tx, now_us) as runs:
                    await apply_timers(runs, [run_id])
                return Worked(timers=1)

            async def failed(tx: Transaction, error: Exception, run_id: str = run_id) -> None:
                await self._retry_run(tx, run_id, now_us, error)

            done = _sum(done, await self._try_one(one, failed) or Worked(timers=1, failed=1))
        return done

    async def work_tasks(self, owner: str) -> Worked:
        """Cancel open runs of automations that were paused so, or let held ones go on: a slice.

        Raises:
            LeadershipLostError: another process leads; nothing was changed.
        """
        tasks = await self._database.read(lambda tx: tx.rows(TASKS, TASKS_MAX))
        done = Worked()
        for automation_id, _, task in tasks:
            if task == AutomationTask.RESUME:
                done = _sum(done, await self._unpark(owner, automation_id))
            else:
                done = _sum(done, await self._cancel_all(owner, automation_id))
        return done

    async def _unpark(self, owner: str, automation_id: str) -> Worked:
        async def work(tx: Transaction) -> Worked:
            await _check_leads(tx, owner)
            moved = 0
            if not (await read_control(tx, automation_id)).held:
                moved = await tx.run(UNPARK, automation_id, UNPARKED_MAX)
            if moved < UNPARKED_MAX:
                await tx.run(TASK_DONE, automation_id, AutomationTask.RESUME.value)
            return Worked(timers=moved)

        return await self._database.write(work)

    async def _cancel_all(self, owner: str, automation_id: str) -> Worked:
        now_us = self._clock_us()
        item = Cancel(
            reason=RunReason.CANCELLED_BY, at_us=now_us, detail="the automation was paused"
        )

        async def batch(tx: Transaction) -> Worked:
            await _check_leads(tx, owner)
            rows = await tx.rows(OPEN_RUNS_OF, automation_id, TIMERS_MAX)
            async with self.advancer(tx, now_us) as runs:
                for (run_id,) in rows:
                    await _cancel(runs, run_id, item)
            if len(rows) < TIMERS_MAX:
                await tx.run(TASK_DONE, automation_id, AutomationTask.CANCEL.value)
            return Worked(timers=len(rows))

        done = await self._try(batch)
        if done is not None:
            return done
        rows = await self._database.read(
            lambda tx: tx.rows(OPEN_RUNS_OF, automation_id, TIMERS_MAX)
        )
        done = Worked()
        for (run_id,) in rows:

            async def one(tx: Transaction, run_id: str = run_id) -> Worked:
                await _check_leads(tx, owner)
                async with self.advancer(tx, now_us) as runs:
                    await _cancel(runs, run_id, item)
                return Worked(timers=1)

            async def failed(tx: Transaction, error: Exception, run_id: str = run_id) -> None:
                await self._retry_run(tx, run_id, now_us, error)

            done = _sum(done, await self._try_one(one, failed) or Worked(timers=1, failed=1))
        return done

    async def _retry_event(
        self, tx: Transaction, item: InboxEvent, now_us: int, error: Exception
    ) -> None:
        """Count an attempt; the last one makes the event a dead letter."""
        key = (item.lane, item.sequence)
        row = await tx.row(_RETRY_EVENT, *key, now_us, _text(error), RETRY_US)
        if row is None or row[0] < ATTEMPTS_MAX:
            return
        await tx.run(_REMOVE_EVENT, *key)
        await bury_event(
            tx,
            self._dead_letter_ids,
            item,
            _failure(error, row[0], row[1], now_us),
        )

    async def _retry_run(self, tx: Transaction, run_id: str, now_us: int, error: Exception) -> None:
        """Count an attempt; the last one makes the run a dead letter."""
        key = key_of(run_id)
        found = await tx.row(_RETRY_RUN, *key, now_us, _text(error), RETRY_US)
        if found is None or found[0] < ATTEMPTS_MAX:
            return
        attempts, first_failed_us, *columns = found
        row = run_row(columns)
        await tx.run(_STOP_RUN, *key, now_us)
        stopped = msgspec.structs.replace(
            row,
            status=RunStatus.FAILED,
            reason=RunReason.STEP_FAILED,
            due_us=None,
            finished_us=now_us,
        )
        depth = await _depth_of(tx, run_id)
        async with self.advancer(tx, now_us) as runs:
            await runs.report(stopped, depth, is_new=False, was_open=True)
        await bury_run(
            tx,
            self._dead_letter_ids,
            row,
            await tx.value(_EVENT_NAME, row.event_lane, row.sequence) or "",
            _failure(error, attempts, first_failed_us, now_us),
        )

    async def _try(self, work: Callable[[Transaction], Any]) -> Worked | None:
        """Run a batch; None when one of its inputs fails, and then nothing was changed."""
        try:
            done: Worked = await write_contacts(lambda: self._database.write(work))
            return done
        except StoreRowError:
            return None
        except (StoreError, OSError):
            raise
        except Exception:  # noqa: BLE001 - a bug must cost its own run only
            return None

    async def _try_one(
        self, work: Callable[[Transaction], Any], failed: Callable[[Transaction, Exception], Any]
    ) -> Worked | None:
        try:
            done: Worked = await write_contacts(lambda: self._database.write(work))
            return done
        except (StoreError, OSError) as error:
            if not isinstance(error, StoreRowError):
                raise
            why: Exception = error
        except Exception as error:  # noqa: BLE001 - recorded with the input
            why = error
        await self._database.write(lambda tx: failed(tx, why))
        return None

    def advancer(self, tx: Transaction, now_us: int) -> RunAdvancer:
        """What advances runs in a transaction; see there."""
        return RunAdvancer(
            tx,
            now_us,
            versions=self._versions,
            system_events=self._system_events,
            numbers=self._numbers,
            dead_letter_ids=self._dead_letter_ids,
        )


async def _cancel(runs: RunAdvancer, run_id: str, item: Cancel) -> None:
    held = await runs.hold(run_id)
    if held is not None and held.row.due_us is not None:
        await runs.advance(held, item)


async def _depth_of(tx: Transaction, run_id: str) -> int:
    try:
        return read_state(await tx.value(_STATE, *key_of(run_id))).depth
    except Exception:  # noqa: BLE001 - a state that cannot be read may be why the run has failed
        return DEPTH_MAX


async def _check_leads(tx: Transaction, owner: str) -> None:
    if await tx.value(_LEADS, owner) is None:
        raise LeadershipLostError


def _sum(one: Worked, other: Worked) -> Worked:
    return Worked(
        events=one.events + other.events,
        timers=one.timers + other.timers,
        started=one.started + other.started,
        failed=one.failed + other.failed,
    )


def _failure(error: Exception, attempts: int, first_failed_us: int, now_us: int) -> Failure:
    return Failure(
        cause=type(error).__name__[:CAUSE_CHARACTERS_MAX],
        error=_text(error),
        attempts=attempts,
        first_failed_us=first_failed_us,
        now_us=now_us,
    )


def _text(error: Exception) -> str:
    name = type(error).__name__
    text = f"{name}: {error}" if str(error) else name
    return text.encode(errors="backslashreplace").decode()[:ERROR_CHARACTERS_MAX]
