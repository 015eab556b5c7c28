"""`headrace automation`: drafts and versions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.access.key import ProjectName
from headrace.cli.automation.check import problem_line, read_file
from headrace.cli.automation.views import automation_view
from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.output import AsJson, print_json, print_rows, printable
from headrace.cli.shared.settings import STORE, with_settings
from headrace.cli.shared.stores import ACTOR, DEFAULT_PROJECT, find_project, in_store
from headrace.config import Settings
from headrace.domain.automations.running.starting import AutomationStatus
from headrace.domain.ids import UUID_TEXT
from headrace.store.store import Store

if TYPE_CHECKING:
    from headrace.store.automations.automations import Changes, Checked
    from headrace.store.contract.automations import Automation

LIMIT_MAX = 1000
Which = Annotated[str, typer.Argument(metavar="ID|NAME", help="The automation.")]


async def find(store: Store, project_id: int, which: str) -> Automation:
    """The automation of an id or name.

    Raises:
        CommandFailed: there is none.
    """
    definitions = store.automations.definitions
    if UUID_TEXT.fullmatch(which):
        found = await definitions.get(project_id, which.lower())
    else:
        found = await definitions.by_name(project_id, which)
    if found is None:
        raise CommandFailed(f"There is no automation {printable(which)!r} in this project.")
    return found


@with_settings(*STORE)
def create(
    settings: Settings,
    file: Annotated[
        str, typer.Argument(help="JSON file with name and definition; - reads standard input.")
    ],
    publish_it: Annotated[bool, typer.Option("--publish", help="Publish it at once.")] = False,
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Create an automation as a draft, or write the draft of the one with this name.

    Example: headrace automation create examples/abandoned-checkout.json
    """
    from headrace.domain.errors import ApiError
    from headrace.pipeline.automations.drafts import read_fields

    try:
        fields, rewritten = read_fields(read_file(file), required=True)
    except ApiError as error:
        lines = [f"{each.field or 'the file'}: {each.message}" for each in error.details]
        raise usage("\n".join(map(printable, lines or [error.message]))) from None

    async def work(store: Store) -> tuple[Automation, Checked | None, bool]:
        owner = await find_project(store, project)
        made, is_new = await _write(store, owner.id, fields)
        checked = await _publish(store, made) if publish_it else None
        return (made if checked is None else checked.automation), checked, is_new

    made, checked, is_new = in_store(settings, work)
    if as_json:
        print_json(automation_view(made))
    else:
        verb = "Created" if is_new else "Changed the draft of"
        for word in rewritten:
            typer.echo(f"rewritten  {word.field}: {printable(word.was)} is now {word.now}")
        typer.echo(printable(f"{verb} automation {made.name}: {made.id}"))
    if checked is not None:
        _end(checked, as_json=as_json)


async def _write(store: Store, project_id: int, fields: Changes) -> tuple[Automation, bool]:
    from headrace.store.automations.automations import TooManyAutomationsError
    from headrace.store.contract.automations import AUTOMATIONS_MAX

    definitions, now_us = store.automations.definitions, store.clock_us()
    held = await definitions.by_name(project_id, fields.name or "")
    if held is not None:
        changed = await definitions.update(project_id, held.id, fields, now_us, actor=ACTOR)
        return changed or held, False
    try:
        return await definitions.create(project_id, fields, now_us, actor=ACTOR), True
    except TooManyAutomationsError:
        raise CommandFailed(f"A project has at most {AUTOMATIONS_MAX} automations.") from None


async def _publish(store: Store, of: Automation) -> Checked:
    from headrace.store.automations.automations import TooManyAutomationsError
    from headrace.store.contract.automations import VERSIONS_MAX

    definitions = store.automations.definitions
    try:
        checked = await definitions.publish(of.project_id, of.id, store.clock_us(), actor=ACTOR)
    except TooManyAutomationsError:
        raise CommandFailed(f"An automation has at most {VERSIONS_MAX} versions.") from None
    if checked is None:
        raise CommandFailed("The automation was removed in the meantime.")
    return checked


def _end(checked: Checked, *, as_json: bool) -> None:
    """Print problems and warnings; fail if there are problems."""
    report, version = checked.report, checked.version
    if not as_json:
        for each in report.problems:
            typer.echo(problem_line("problem", each))
        for each in report.warnings:
            typer.echo(problem_line("warning", each))
    if version is None:
        count = len(report.problems) + checked.left_out
        found = "1 problem keeps it" if count == 1 else f"{count} problems keep it"
        raise CommandFailed(f"{found} from being published.")
    if not as_json:
        name = checked.automation.name
        typer.echo(printable(f"Published version {version.number} of {name}; it is active."))


@with_settings(*STORE)
def publish(
    settings: Settings,
    which: Which,
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Publish the draft of an automation and activate it, unless a check finds a problem.

    Example: headrace automation publish "Abandoned checkout"
    """

    async def work(store: Store) -> Checked:
        owner = await find_project(store, project)
        return await _publish(store, await find(store, owner.id, which))

    checked = in_store(settings, work)
    if as_json:
        version = checked.version
        print_json(
            automation_view(checked.automation)
            | {
                "published_version": None if version is None else version.number,
                "problems": checked.report.problems,
                "warnings": checked.report.warnings,
            }
        )
    _end(checked, as_json=as_json)


def _set_status(
    settings: Settings, which: str, project: str, status: AutomationStatus, *, as_json: bool
) -> None:
    from headrace.store.automations.automations import WrongStatusError

    async def work(store: Store) -> Automation:
        owner = await find_project(store, project)
        held = await find(store, owner.id, which)
        definitions = store.automations.definitions
        changed = await definitions.set_status(
            owner.id, held.id, status, store.clock_us(), actor=ACTOR
        )
        return changed or held

    try:
        changed = in_store(settings, work)
    except WrongStatusError:
        raise CommandFailed("It was never published.") from None
    if as_json:
        print_json(automation_view(changed))
    else:
        typer.echo(printable(f"{changed.name} is {changed.status.value}."))


@with_settings(*STORE)
def archive(
    settings: Settings,
    which: Which,
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Start no more runs, for good; open ones go on to their end. Its name is free again.

    Example: headrace automation archive "Abandoned checkout"
    """
    _set_status(settings, which, project, AutomationStatus.ARCHIVED, as_json=as_json)


@with_settings(*STORE)
def list_(
    settings: Settings,
    project: ProjectName = DEFAULT_PROJECT,
    status: Annotated[
        AutomationStatus | None, typer.Option(help="Only those in this status.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List automations, newest first.

    Example: headrace automation list --status active
    """

    async def work(store: Store) -> list[Automation]:
        owner = await find_project(store, project)
        definitions = store.automations.definitions
        wanted = None if status is None else status.value
        return list(await definitions.list(owner.id, status=wanted, limit=limit))

    shown = [automation_view(found) for found in in_store(settings, work)]
    if as_json:
        print_json(shown)
        return
    names = ("id", "name", "status", "version_number", "has_draft_changes", "updated_at")
    rows = [["" if each[name] is None else str(each[name]) for name in names] for each in shown]
    print_rows([name.upper() for name in names], rows)


@with_settings(*STORE)
def show(
    settings: Settings,
    which: Which,
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Show an automation with the definition of its draft.

    Example: headrace automation show "Abandoned checkout"
    """

    async def work(store: Store) -> Automation:
        owner = await find_project(store, project)
        return await find(store, owner.id, which)

    found = in_store(settings, work)
    shown = automation_view(found) | {"definition": json.loads(found.draft)}
    if as_json:
        print_json(shown)
        return
    for name, value in automation_view(found).items():
        typer.echo(printable(f"{name:18} {'' if value is None else value}"))
    typer.echo(json.dumps(shown["definition"], indent=2))
