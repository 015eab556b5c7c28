"""`headrace automation runs|run|rejected`: what became of events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.access.key import ProjectName
from headrace.cli.automation.definitions import LIMIT_MAX, Which, find
from headrace.cli.automation.operations import AtStep, Version, checked
from headrace.cli.automation.views import run_view, stats_view
from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.output import AsJson, print_json, print_rows, printable
from headrace.cli.shared.settings import STORE, with_settings
from headrace.cli.shared.stores import DEFAULT_PROJECT, find_project, in_store
from headrace.config import Settings
from headrace.domain.automations.running.states import RunStatus
from headrace.domain.ids import UUID_TEXT
from headrace.store.store import Store

if TYPE_CHECKING:
    from headrace.store.contract.automations import RejectedStart, RunDetail, RunRow, RunStats

Limit = Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="At most so many.")]


@with_settings(*STORE)
def runs(
    settings: Settings,
    which: Which,
    project: ProjectName = DEFAULT_PROJECT,
    status: Annotated[RunStatus | None, typer.Option(help="Only those in this status.")] = None,
    version: Version = None,
    at_step: AtStep = "",
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List the runs of an automation, newest first.

    Example: headrace automation runs "Abandoned checkout" --status waiting
    """
    from headrace.pipeline.automations.run_requests import check_step_key
    from headrace.store.contract.automations import RunFilter

    step = checked("--at-step", at_step, check_step_key) if at_step else None
    wanted = RunFilter(status=status, version=version, at_step=step)

    async def work(store: Store) -> list[RunRow]:
        owner = await find_project(store, project)
        of = await find(store, owner.id, which)
        rows: list[RunRow] = []
        place = None
        # Each page compares a limited number of runs.
        while len(rows) < limit:
            found = await store.automations.runs.page(
                owner.id, of.id, wanted, before=place, limit=limit - len(rows)
            )
            if found is None:
                break
            rows += found.rows
            place = found.following
            if place is None:
                break
        return rows

    shown = [run_view(row) for row in in_store(settings, work)]
    if as_json:
        print_json(shown)
        return
    names = ("id", "version_number", "contact_id", "status", "at_step", "started_at", "next_at")
    rows = [["" if each[name] is None else str(each[name]) for name in names] for each in shown]
    print_rows([name.upper() for name in names], rows)


@with_settings(*STORE)
def stats(
    settings: Settings,
    which: Which,
    project: ProjectName = DEFAULT_PROJECT,
    version: Version = None,
    as_json: AsJson = False,
) -> None:
    """Count what the newest 5,000 runs did, by version and step, and where open runs are.

    Example: headrace automation stats "Abandoned checkout"
    """

    async def work(store: Store) -> RunStats | None:
        owner = await find_project(store, project)
        of = await find(store, owner.id, which)
        return await store.automations.stats.of_automation(owner.id, of.id, version)

    found = in_store(settings, work)
    versions = () if found is None else found.versions
    if as_json:
        print_json(stats_view(found))
        return
    names = ("version", "step", "waiting", "entered", "passed", "failed", "sent", "skipped")
    rows = [
        [
            *(str(one.version), step.step_key, str(step.waiting), str(step.entered)),
            *(str(step.passed), str(step.failed), str(step.sent)),
            ", ".join(f"{reason} {count}" for reason, count in step.skipped.items()),
        ]
        for one in versions
        for step in one.steps
    ]
    print_rows([name.upper() for name in names], rows)
    if found is not None and found.more:
        typer.echo(f"Of the newest {found.examined} runs; WAITING counts all open runs.")


@with_settings(*STORE)
def run(
    settings: Settings,
    run_id: Annotated[str, typer.Argument(metavar="ID", help="The run.")],
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Show what happened in a run, and why.

    Example: headrace automation run 0197a3f0-6b2e-5c41-9f0a-1d2c3b4a5f60
    """
    from headrace.pipeline.automations.run_document import note_document, run_exported

    if UUID_TEXT.fullmatch(run_id) is None:
        raise usage(f"{run_id!r} is no id of a run.")

    async def work(store: Store) -> RunDetail | None:
        owner = await find_project(store, project)
        return await store.automations.runs.get(owner.id, run_id.lower())

    found = in_store(settings, work)
    if found is None:
        raise CommandFailed(f"There is no such run in project {project}.")
    if as_json:
        print_json(run_exported(found))
        return
    for name, value in run_view(found.row).items():
        typer.echo(printable(f"{name:14} {'' if value is None else value}"))
    typer.echo("")
    for note in map(note_document, found.notes):
        typer.echo(printable(f"{note['at']}  {note['step_key'] or '-':12}  {note['sentence']}"))


@with_settings(*STORE)
def rejected(
    settings: Settings,
    which: Which,
    project: ProjectName = DEFAULT_PROJECT,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List events that matched the trigger and started no run, newest first, with the reason.

    Example: headrace automation rejected "Abandoned checkout"
    """
    from headrace.pipeline.automations.run_document import rejected_document

    async def work(store: Store) -> list[RejectedStart]:
        owner = await find_project(store, project)
        of = await find(store, owner.id, which)
        reads = store.automations.runs
        return list(await reads.rejected_starts(owner.id, of.id, limit=limit) or ())

    shown = [rejected_document(one) for one in in_store(settings, work)]
    if as_json:
        print_json(shown)
        return
    names = ("at", "event_id", "contact_id", "reason", "sentence")
    rows = [["" if each[name] is None else str(each[name]) for name in names] for each in shown]
    print_rows([name.upper() for name in names], rows)
