"""Pausing and resuming automations, with what happens to their open runs.

While an automation holds its runs, a run that becomes due is parked: its time is moved by
`PARKED_US`, past every other, so that held runs cost nothing. Resuming moves the times back.
"""

from __future__ import annotations

from headrace.domain.automations.running.overdue import sends_next
from headrace.domain.automations.running.starting import AutomationStatus
from headrace.store.access.audit import write_audit
from headrace.store.automations.automations import (
    WrongStatusError,
    bump_names,
    find_automation,
)
from headrace.store.automations.version_cache import VersionCache
from headrace.store.contract.automations import (
    BULK_COUNTED_MAX,
    PARKED_US,
    Automation,
    AutomationTask,
    Overdue,
    OverdueRuns,
    PauseMode,
    ResumePreview,
)
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Transaction

_PAUSE = sql(
    "UPDATE automations SET status = 'paused', active_since_us = NULL, pause_mode = $3, task = $4, "
    "overdue = NULL, overdue_before_us = NULL, updated_us = $5 WHERE project_id = $1 AND id = $2"
)
_RESUME = sql(
    "UPDATE automations SET status = 'active', active_since_us = $3, pause_mode = NULL, "
    "task = 'resume', overdue = $4, overdue_before_us = $5, updated_us = $3 "
    "WHERE project_id = $1 AND id = $2"
)
# The comparison with a constant lets SQLite use the index of parked runs.
OVERDUE = sql(
    "SELECT version, at_step, count(*) FROM (SELECT version, at_step FROM automation_runs "
    f"WHERE automation_id = $1 AND due_us >= {PARKED_US} AND due_us < $2 LIMIT $3) AS k "
    "GROUP BY version, at_step ORDER BY version, at_step"
)


class Pausing:
    """Pauses and resumes automations."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._versions = VersionCache()

    async def pause(
        self, project_id: int, automation_id: str, mode: PauseMode, now_us: int, *, actor: str
    ) -> Automation | None:
        """Start no more runs, and do with open ones what the mode says; None: not found.

        Raises:
            WrongStatusError: it was never published, or is archived.
        """

        async def work(tx: Transaction) -> Automation | None:
            held = await find_automation(tx, project_id, automation_id, lock=True)
            if held is None:
                return None
            if held.status not in {AutomationStatus.ACTIVE, AutomationStatus.PAUSED}:
                raise WrongStatusError
            before = held.pause_mode
            if held.status is AutomationStatus.PAUSED and before is mode:
                return held
            task = None
            if mode is PauseMode.CANCEL:
                task = AutomationTask.CANCEL.value
            elif before is PauseMode.HOLD:
                task = AutomationTask.RESUME.value
            await tx.run(_PAUSE, project_id, automation_id, mode.value, task, now_us)
            detail = {"automation": held.id, "name": held.name, "mode": mode.value}
            await write_audit(tx, now_us, actor, project_id, "automation.paused", detail)
            await bump_names(tx)
            return await find_automation(tx, project_id, automation_id)

        return await self._database.write(work)

    async def resume(
        self,
        project_id: int,
        automation_id: str,
        now_us: int,
        *,
        overdue: Overdue = Overdue.RUN,
        max_late_seconds: int = 0,
        actor: str,
    ) -> Automation | None:
        """Start runs again with events that are received from now on; None: not found.

        Args:
            overdue: what happens to held runs that were due more than `max_late_seconds` ago.

        Raises:
            WrongStatusError: it was never published, or is archived.
        """

        async def work(tx: Transaction) -> Automation | None:
            held = await find_automation(tx, project_id, automation_id, lock=True)
            if held is None or held.status is AutomationStatus.ACTIVE:
                return held
            if held.status is not AutomationStatus.PAUSED:
                raise WrongStatusError
            before_us = now_us - max_late_seconds * 1_000_000
            values = (now_us, overdue.value, before_us)
            await tx.run(_RESUME, project_id, automation_id, *values)
            detail = {
                "automation": held.id,
                "name": held.name,
                "overdue": overdue.value,
                "max_late_seconds": max_late_seconds,
            }
            await write_audit(tx, now_us, actor, project_id, "automation.active", detail)
            await bump_names(tx)
            return await find_automation(tx, project_id, automation_id)

        return await self._database.write(work)

    async def preview(
        self, project_id: int, automation_id: str, now_us: int, *, max_late_seconds: int = 0
    ) -> ResumePreview | None:
        """What is overdue in a paused automation that holds its runs; None: not found."""
        before_us = PARKED_US + now_us - max_late_seconds * 1_000_000

        async def read(tx: Transaction) -> ResumePreview | None:
            if await find_automation(tx, project_id, automation_id) is None:
                return None
            found: list[OverdueRuns] = []
            rows = await tx.rows(OVERDUE, automation_id, before_us, BULK_COUNTED_MAX + 1)
            for number, key, count in rows:
                version = await self._versions.get(tx, automation_id, number)
                sends = () if key is None else sends_next(version, key)
                found.append(OverdueRuns(version=number, at_step=key, runs=count, sends=sends))
            runs = sum(each.runs for each in found)
            return ResumePreview(
                runs=min(runs, BULK_COUNTED_MAX),
                more=runs > BULK_COUNTED_MAX,
                sends=sum(each.runs for each in found if each.sends),
                steps=found,
            )

        return await self._database.read(read, snapshot=True)
