"""The transactions that start runs and advance them.

One process at a time does so (leadership `automations`), and each transaction checks that it still
leads. In one transaction a run is read and locked, the decision is made, its effects are performed,
and the run is stored with the time at which it is looked at next. So after a crash a run is either
as before an input, which is then applied again, or as after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from headrace.domain.automations.running.inputs import (
    Cancel,
)
from headrace.faults import fail_point
from headrace.store.access.audit import write_audit
from headrace.store.automations.advancing import RunAdvancer
from headrace.store.automations.applying import apply_event, apply_timer
from headrace.store.automations.run_rows import (
    key_of,
)
from headrace.store.automations.starts import RunStarter
from headrace.store.automations.version_cache import VersionCache
from headrace.store.contacts.races import write_contacts
from headrace.store.contract.automations import (
    ATTEMPTS_MAX,
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
#: Events, and due runs, of one transaction.
EVENTS_MAX = 64
TIMERS_MAX = 64
#: Pause after a failed attempt at an input; doubles with each.
RETRY_US = 5_000_000
ERROR_CHARACTERS_MAX = 500

_LEADS = sql(f"SELECT 1 FROM leader_leases WHERE name = '{LEADERSHIP}' AND owner = $1 FOR SHARE")
DUE_EVENTS = sql(
    "SELECT lane, sequence, project_id, contact_id FROM automation_inbox WHERE due_us <= $1 "
    "ORDER BY due_us, sequence LIMIT $2"
)
DUE_RUNS = sql("SELECT id FROM automation_runs WHERE due_us <= $1 ORDER BY due_us LIMIT $2")
NEXT_EVENT = sql("SELECT min(due_us) FROM automation_inbox WHERE due_us IS NOT NULL")
NEXT_RUN = sql("SELECT min(due_us) FROM automation_runs WHERE due_us IS NOT NULL")
_RETRY_EVENT = sql(
    "UPDATE automation_inbox SET attempt = attempt + 1, error = $4, "
    f"due_us = CASE WHEN attempt + 1 >= {ATTEMPTS_MAX} THEN NULL "
    "ELSE $3::bigint + $5::bigint * (1 << attempt) END WHERE lane = $1 AND sequence = $2"
)
_RETRY_RUN = sql(
    "UPDATE automation_runs SET attempt = attempt + 1, error = $4, "
    "due_us = $3::bigint + $5::bigint * (1 << least(attempt, 10)) "
    "WHERE lane = $1 AND id = $2 AND due_us IS NOT NULL"
)


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
    ) -> None:
        self._database = database
        self._system_events = system_events
        self._numbers = numbers
        self._clock_us = clock_us
        self._versions = VersionCache()

    async def due(self) -> Worked:
        """What waits now, and when the next event or timer is due; a read only."""

        async def read(tx: Transaction) -> Worked:
            found = [await tx.value(NEXT_EVENT), await tx.value(NEXT_RUN)]
            return Worked(next_us=min((each for each in found if each is not None), default=None))

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
            runs = self._runs(tx, now_us)
            starter = RunStarter(runs)
            for row in rows:
                await apply_event(runs, starter, InboxEvent(*row))
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
                runs = self._runs(tx, now_us)
                starter = RunStarter(runs)
                await apply_event(runs, starter, item)
                return Worked(events=1, started=starter.started)

            async def failed(tx: Transaction, error: str, item: InboxEvent = item) -> None:
                key = (item.lane, item.sequence)
                await tx.run(_RETRY_EVENT, *key, now_us, error, RETRY_US)

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
            runs = self._runs(tx, now_us)
            for row in rows:
                await apply_timer(runs, row[0])
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
                await apply_timer(self._runs(tx, now_us), run_id)
                return Worked(timers=1)

            async def failed(tx: Transaction, error: str, run_id: str = run_id) -> None:
                await tx.run(_RETRY_RUN, *key_of(run_id), now_us, error, RETRY_US)

            done = _sum(done, await self._try_one(one, failed) or Worked(timers=1, failed=1))
        return done

    async def cancel(
        self, project_id: int, run_id: str, item: Cancel, *, actor: str
    ) -> bool | None:
        """Cancel a run; False when it has ended, None when the project has no such run."""

        async def work(tx: Transaction) -> bool | None:
            now_us = self._clock_us()
            runs = self._runs(tx, now_us)
            held = await runs.hold(run_id)
            if held is None or held.row.project_id != project_id:
                return None
            if not held.run.is_open:
                return False
            await runs.advance(held, item)
            detail = {"run": run_id, "automation": held.row.automation_id, "reason": item.detail}
            await write_audit(tx, now_us, actor, project_id, "automation.run_cancel", detail)
            return True

        return await write_contacts(lambda: self._database.write(work))

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
        self, work: Callable[[Transaction], Any], failed: Callable[[Transaction, str], Any]
    ) -> Worked | None:
        try:
            done: Worked = await write_contacts(lambda: self._database.write(work))
            return done
        except (StoreError, OSError) as error:
            if not isinstance(error, StoreRowError):
                raise
            text = _text(error)
        except Exception as error:  # noqa: BLE001 - recorded with the input
            text = _text(error)
        await self._database.write(lambda tx: failed(tx, text))
        return None

    def _runs(self, tx: Transaction, now_us: int) -> RunAdvancer:
        return RunAdvancer(
            tx,
            now_us,
            versions=self._versions,
            system_events=self._system_events,
            numbers=self._numbers,
        )


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


def _text(error: Exception) -> str:
    name = type(error).__name__
    text = f"{name}: {error}" if str(error) else name
    return text.encode(errors="backslashreplace").decode()[:ERROR_CHARACTERS_MAX]
