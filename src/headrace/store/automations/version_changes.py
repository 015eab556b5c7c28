"""Moves waiting runs of an automation to another of its versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from headrace.domain.automations.running.migrating import migrate, migration_problem
from headrace.domain.automations.running.states import RunStatus
from headrace.domain.automations.running.version import Version
from headrace.store.access.audit import write_audit
from headrace.store.automations.advancing import RunAdvancer
from headrace.store.automations.automations import bump_names, find_automation, find_version
from headrace.store.automations.run_rows import key_of
from headrace.store.automations.version_cache import VersionCache
from headrace.store.contacts.races import write_contacts
from headrace.store.contract.automations import (
    BULK_COUNTED_MAX,
    BULK_RUNS_MAX,
    Migration,
    MigrationPreview,
    MigrationResult,
    StepMove,
)
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Transaction

#: Runs of one transaction.
_SLICE = 50
#: Runs that one request looks at, whether they can move or not.
EXAMINED_MAX = 10_000
BY_STEP = sql(
    "SELECT at_step, count(*) FROM (SELECT at_step FROM automation_runs WHERE automation_id = $1 "
    "AND version = $2 AND due_us IS NOT NULL LIMIT $3) AS k GROUP BY at_step ORDER BY at_step"
)
PAGE = sql(
    "SELECT started_us, id FROM automation_runs WHERE automation_id = $1 AND status = 'waiting' "
    "AND version = $2 AND (started_us, id) > ($3, $4) AND at_step = ANY($6::text[]) "
    "ORDER BY started_us, id LIMIT $5"
)
_SET_VERSION = sql("UPDATE automation_runs SET version = $3 WHERE lane = $1 AND id = $2")


class WrongMigrationError(Exception):
    """The versions or steps do not fit; `field` names the one that is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class RunMigrations:
    """Moves runs between versions.

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
        self._versions = VersionCache()

    async def preview(
        self, project_id: int, automation_id: str, wanted: Migration
    ) -> MigrationPreview | None:
        """How many open runs stand at each step, and where it moves them; None: not found.

        Raises:
            WrongMigrationError: versions or steps do not fit.
        """

        async def read(tx: Transaction) -> MigrationPreview | None:
            if await find_automation(tx, project_id, automation_id) is None:
                return None
            moves = await self._moves(tx, automation_id, wanted)
            values = (automation_id, wanted.from_version, BULK_COUNTED_MAX)
            return MigrationPreview(
                steps=[
                    StepMove(step=key, to=moves.get(key), runs=count)
                    for key, count in await tx.rows(BY_STEP, *values)
                    if key is not None
                ]
            )

        return await self._database.read(read, snapshot=True)

    async def apply(
        self, project_id: int, automation_id: str, wanted: Migration, reason: str, *, actor: str
    ) -> MigrationResult | None:
        """Move up to `BULK_RUNS_MAX` waiting runs, the oldest first; None: not found.

        Runs that cannot move, because their step has no target, or they would take a step twice,
        stay in their version.

        Raises:
            WrongMigrationError: versions or steps do not fit.
        """
        found = await self.preview(project_id, automation_id, wanted)
        if found is None:
            return None
        keys = [each.step for each in found.steps if each.to is not None]
        moved, examined, place = 0, 0, (-1, "")
        has_more = bool(keys)
        while has_more and moved < BULK_RUNS_MAX and examined < EXAMINED_MAX:
            ids, place = await self._page(automation_id, wanted, keys, place)
            moved += await self._move_some(automation_id, wanted, ids)
            examined += len(ids)
            has_more = len(ids) == _SLICE
        now_us = self._clock_us()
        detail = {
            "automation": automation_id,
            "migration": wanted,
            "runs": moved,
            "reason": reason,
        }
        await self._database.write(
            lambda tx: write_audit(tx, now_us, actor, project_id, "automation.runs_migrate", detail)
        )
        return MigrationResult(moved=moved, stayed=examined - moved, has_more=has_more)

    async def _page(
        self, automation_id: str, wanted: Migration, keys: list[str], place: tuple[int, str]
    ) -> tuple[list[str], tuple[int, str]]:
        """Ids of the next runs at steps that have a target, and where the page after begins."""
        values = (automation_id, wanted.from_version, *place, _SLICE, keys)
        rows = await self._database.read(lambda tx: tx.rows(PAGE, *values))
        return sorted(row[1] for row in rows), tuple(rows[-1]) if rows else place

    async def _move_some(self, automation_id: str, wanted: Migration, ids: list[str]) -> int:
        async def work(tx: Transaction) -> int:
            moves = await self._moves(tx, automation_id, wanted)
            version = await self._versions.get(tx, automation_id, wanted.to_version)
            async with self._advancer(tx, self._clock_us()) as runs:
                done = [await _move(runs, each, wanted, version, moves) for each in ids]
            if any(done):
                await bump_names(tx)
            return sum(done)

        return await write_contacts(lambda: self._database.write(work)) if ids else 0

    async def _moves(
        self, tx: Transaction, automation_id: str, wanted: Migration
    ) -> Mapping[str, str]:
        """Where each step leads; without a mapping, to the step of the same key and type."""
        for field in ("from_version", "to_version"):
            number = getattr(wanted, field)
            if await find_version(tx, automation_id, number) is None:
                raise WrongMigrationError(field, f"there is no version {number}")
        if wanted.from_version == wanted.to_version:
            raise WrongMigrationError("to_version", "must differ from from_version")
        old = (await self._versions.get(tx, automation_id, wanted.from_version)).graph.steps
        new = (await self._versions.get(tx, automation_id, wanted.to_version)).graph.steps
        if wanted.steps is None:
            return {
                key: key for key, step in old.items() if key in new and new[key].type is step.type
            }
        for key, target in wanted.steps.items():
            field = f"steps.{key}"
            if key not in old:
                message = f"version {wanted.from_version} has no such step"
                raise WrongMigrationError(field, message)
            if target not in new:
                message = f"version {wanted.to_version} has no step {target}"
                raise WrongMigrationError(field, message)
            if old[key].type is not new[target].type:
                message = f"must lead to a step of type {old[key].type}"
                raise WrongMigrationError(field, message)
        return wanted.steps


async def _move(
    runs: RunAdvancer, run_id: str, wanted: Migration, version: Version, moves: Mapping[str, str]
) -> bool:
    held = await runs.hold(run_id)
    if held is None or held.row.version != wanted.from_version:
        return False
    target = moves.get(held.run.at_step or "")
    if target is None or held.row.status is not RunStatus.WAITING or not held.run.is_open:
        return False
    if migration_problem(held.run, version, target) is not None:
        return False
    person = await runs.people.person(held.row.project_id, held.row.contact_id)
    if person.contact is None:
        return False
    view = await runs.view(person.contact, version, held.run)
    decision = migrate(held.run, version, target, view, runs.now_us)
    await runs.tx.run(_SET_VERSION, *key_of(run_id), version.number)
    row = msgspec.structs.replace(held.row, version=version.number)
    held = msgspec.structs.replace(held, row=row)
    await runs.settle(held, version, decision, person)
    return True
