"""How the runs of an automation went, step by step.

Nothing is counted while runs advance: the newest runs are read when somebody asks. So this costs
the hot path nothing, and a request reads at most `RUNS_COUNTED_MAX` runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.store.automations.automations import find_automation
from headrace.store.automations.views import SENDS
from headrace.store.contract.automations import BULK_COUNTED_MAX, RunStats, StepStats, VersionStats
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import BIGINT_MAX
from headrace.store.engine.transaction import Database, Transaction

RUNS_COUNTED_MAX = 5000
#: Runs that one read returns: their states hold payloads.
_SLICE = 100
_WANTED = "automation_id = $1 AND ($2::int IS NULL OR version = $2)"
WAITING = sql(
    "SELECT version, at_step, count(*) FROM (SELECT version, at_step FROM automation_runs "
    f"WHERE {_WANTED} AND due_us IS NOT NULL LIMIT $3) AS k GROUP BY version, at_step"
)
STATES = sql(
    "SELECT started_us, id, version, status, state FROM automation_runs WHERE automation_id = $1 "
    "AND (started_us, id) < ($2, $3) ORDER BY started_us DESC, id DESC LIMIT $4"
)
#: After every id.
_LAST_ID = "~"


class _Step(msgspec.Struct, frozen=True):
    key: str
    type: str
    status: str = "running"
    reason: str | None = None


class _Run(msgspec.Struct, frozen=True):
    steps: tuple[_Step, ...] = ()


class _State(msgspec.Struct, frozen=True):
    """What is read of the state of a run."""

    run: _Run


class _Counts:
    """Counts of one version."""

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()
        self.entered: Counter[str] = Counter()
        self.ended: Counter[tuple[str, str]] = Counter()
        self.sent: Counter[str] = Counter()
        self.skipped: Counter[tuple[str, str]] = Counter()
        self.waiting: Counter[str] = Counter()

    def add(self, status: str, steps: Sequence[_Step]) -> None:
        self.runs[status] += 1
        for step in steps:
            self.entered[step.key] += 1
            self.ended[step.key, step.status] += 1
            if step.status == "skipped":
                self.skipped[step.key, step.reason or ""] += 1
            elif step.status == "completed" and step.type in SENDS:
                self.sent[step.key] += 1

    def shown(self, number: int) -> VersionStats:
        keys = {*self.entered, *self.waiting}
        steps = [
            StepStats(
                step_key=key,
                waiting=self.waiting[key],
                entered=self.entered[key],
                passed=self.ended[key, "completed"],
                failed=self.ended[key, "failed"],
                sent=self.sent[key],
                skipped={
                    reason: count
                    for (of, reason), count in sorted(self.skipped.items())
                    if of == key
                },
            )
            # In about the order in which runs take them.
            for key in sorted(keys, key=lambda each: (-self.entered[each], each))
        ]
        return VersionStats(version=number, runs=dict(sorted(self.runs.items())), steps=steps)


class RunStatistics:
    """Statistics of all projects, for reading."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_automation(
        self, project_id: int, automation_id: str, version: int | None = None
    ) -> RunStats | None:
        """Counts by version and step; None when there is no such automation.

        Open runs are counted up to `BULK_COUNTED_MAX`, everything else of the newest
        `RUNS_COUNTED_MAX` runs.

        Args:
            version: only runs of this one, among the newest.
        """

        async def waiting(tx: Transaction) -> Sequence[Sequence[Any]] | None:
            if await find_automation(tx, project_id, automation_id) is None:
                return None
            return await tx.rows(WAITING, automation_id, version, BULK_COUNTED_MAX)

        rows = await self._database.read(waiting)
        if rows is None:
            return None
        versions: dict[int, _Counts] = {}
        for number, key, count in rows:
            if key is not None:
                versions.setdefault(number, _Counts()).waiting[key] += count
        examined, place = 0, (BIGINT_MAX, _LAST_ID)
        while examined < RUNS_COUNTED_MAX:
            found = await self._states(automation_id, place)
            examined += len(found)
            for _, _, number, status, state in found:
                if version in (None, number):
                    steps = msgspec.json.decode(state, type=_State).run.steps
                    versions.setdefault(number, _Counts()).add(status, steps)
            if len(found) < _SLICE:
                break
            place = (found[-1][0], found[-1][1])
        return RunStats(
            examined=examined,
            # Whether older runs were left out.
            more=examined >= RUNS_COUNTED_MAX,
            versions=[
                counts.shown(number) for number, counts in sorted(versions.items(), reverse=True)
            ],
        )

    async def _states(self, automation_id: str, place: tuple[int, str]) -> Sequence[Sequence[Any]]:
        values = (automation_id, *place, _SLICE)
        return await self._database.read(lambda tx: tx.rows(STATES, *values))
