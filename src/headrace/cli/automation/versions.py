"""`headrace automation versions|diff|restore|duplicate|migrate-runs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from headrace.cli.access.key import ProjectName
from headrace.cli.automation.definitions import LIMIT_MAX, Which, find
from headrace.cli.automation.operations import checked
from headrace.cli.automation.views import automation_view
from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.output import AsJson, print_json, print_rows, printable
from headrace.cli.shared.settings import STORE, with_settings
from headrace.cli.shared.stores import ACTOR, DEFAULT_PROJECT, find_project, in_store
from headrace.config import Settings
from headrace.store.contract.automations import Migration
from headrace.store.store import Store

if TYPE_CHECKING:
    from headrace.store.contract.automations import (
        Automation,
        AutomationVersion,
        MigrationPreview,
    )

_NAME_CHARACTERS_MAX = 100


@with_settings(*STORE)
def versions(
    settings: Settings,
    which: Which,
    project: ProjectName = DEFAULT_PROJECT,
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the published versions of an automation, newest first.

    Example: headrace automation versions "Abandoned checkout"
    """
    from headrace.domain.timestamps import to_text

    async def work(store: Store) -> list[AutomationVersion]:
        owner = await find_project(store, project)
        of = await find(store, owner.id, which)
        definitions = store.automations.definitions
        return list(await definitions.versions(owner.id, of.id, before=None, limit=limit) or ())

    shown = [
        {
            "version_number": one.number,
            "id": one.id,
            "published_at": to_text(one.published_us),
            "published_by": one.published_by,
            "sha256": one.sha256,
        }
        for one in in_store(settings, work)
    ]
    if as_json:
        print_json(shown)
        return
    names = ("version_number", "published_at", "published_by", "sha256")
    print_rows([name.upper() for name in names], [[str(e[name]) for name in names] for e in shown])


@with_settings(*STORE)
def diff(
    settings: Settings,
    which: Which,
    one: Annotated[int, typer.Argument(min=1, help="Number of the older version.")],
    other: Annotated[int, typer.Argument(min=1, help="Number of the newer version.")],
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Compare two versions of an automation.

    Example: headrace automation diff "Abandoned checkout" 1 2
    """
    from headrace.pipeline.automations.version_diff import difference

    async def work(store: Store) -> list[str]:
        owner = await find_project(store, project)
        of = await find(store, owner.id, which)
        found = []
        for number in (one, other):
            version = await store.automations.definitions.version(owner.id, of.id, number)
            if version is None:
                raise CommandFailed(f"There is no version {number}.")
            found.append(version.definition)
        return found

    before, after = in_store(settings, work)
    found = difference(before, after)
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    for each in found:
        values = " -> ".join(text for text in (each.before, each.after) if text is not None)
        typer.echo(printable(f"{each.kind:8} {each.place}: {values}"))
    if not found:
        typer.echo("No difference.")


@with_settings(*STORE)
def restore(
    settings: Settings,
    which: Which,
    number: Annotated[int, typer.Argument(min=1, help="Number of the version.")],
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Make a version the draft again; it takes effect when it is published.

    Example: headrace automation restore "Abandoned checkout" 1
    """
    from headrace.store.automations.automations import Changes

    async def work(store: Store) -> Automation:
        owner = await find_project(store, project)
        of = await find(store, owner.id, which)
        definitions = store.automations.definitions
        version = await definitions.version(owner.id, of.id, number)
        if version is None:
            raise CommandFailed(f"There is no version {number}.")
        fields = Changes(draft=version.definition)
        changed = await definitions.update(owner.id, of.id, fields, store.clock_us(), actor=ACTOR)
        return changed or of

    changed = in_store(settings, work)
    if as_json:
        print_json(automation_view(changed))
    else:
        typer.echo(printable(f"The draft of {changed.name} is that of version {number}."))


@with_settings(*STORE)
def duplicate(
    settings: Settings,
    which: Which,
    name: Annotated[str, typer.Option(help="Name of the copy.")] = "",
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Create a draft with the same definition.

    Example: headrace automation duplicate "Abandoned checkout" --name "Abandoned cart"
    """
    from headrace.domain.labels import check_name
    from headrace.store.automations.automations import Changes, TooManyAutomationsError
    from headrace.store.contract.errors import StoreConflictError

    wanted = checked("--name", name, check_name) if name else ""

    async def work(store: Store) -> Automation:
        owner = await find_project(store, project)
        of = await find(store, owner.id, which)
        fields = Changes(
            name=wanted or f"Copy of {of.name}"[:_NAME_CHARACTERS_MAX].rstrip(),
            description=of.description,
            draft=of.draft,
            editor_layout=of.editor_layout,
        )
        definitions = store.automations.definitions
        return await definitions.create(owner.id, fields, store.clock_us(), actor=ACTOR)

    try:
        made = in_store(settings, work)
    except StoreConflictError:
        raise CommandFailed("There is an automation of this name already.") from None
    except TooManyAutomationsError:
        raise CommandFailed("The project has too many automations.") from None
    if as_json:
        print_json(automation_view(made))
    else:
        typer.echo(printable(f"Created automation {made.name}: {made.id}"))


@with_settings(*STORE)
def migrate_runs(  # noqa: PLR0913, PLR0917 - one parameter a flag
    settings: Settings,
    which: Which,
    from_version: Annotated[int, typer.Option("--from", min=1, help="Version of the runs.")],
    to_version: Annotated[int, typer.Option("--to", min=1, help="Version that they get.")],
    step: Annotated[
        list[str] | None,
        typer.Option(help="OLD=NEW, repeatable. Default: steps of the same key and type."),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; it is audited.")] = "",
    only_look: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be moved, change nothing.")
    ] = False,
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Move waiting runs to another version.

    Example: headrace automation migrate-runs "Abandoned checkout" --from 1 --to 2 --dry-run
    """
    from headrace.pipeline.automations.run_requests import check_reason
    from headrace.store.automations.version_changes import WrongMigrationError

    wanted = Migration(from_version=from_version, to_version=to_version, steps=_steps(step))
    why = "" if only_look else checked("--reason", reason, check_reason)

    async def look(store: Store) -> MigrationPreview | None:
        owner = await find_project(store, project)
        of = await find(store, owner.id, which)
        return await store.automations.migrations.preview(owner.id, of.id, wanted)

    async def work(store: Store) -> tuple[int, int]:
        owner = await find_project(store, project)
        of = await find(store, owner.id, which)
        moved, stayed, has_more = 0, 0, True
        while has_more:
            part = await store.automations.migrations.apply(
                owner.id, of.id, wanted, why, actor=ACTOR
            )
            if part is None:
                break
            moved, stayed = moved + part.moved, part.stayed
            has_more = part.has_more and part.moved > 0
        return moved, stayed

    try:
        if only_look:
            _print_preview(in_store(settings, look), as_json=as_json)
            return
        moved, stayed = in_store(settings, work)
    except WrongMigrationError as error:
        raise usage(f"{error.field}: {error}") from None
    if as_json:
        print_json({"moved": moved, "stayed": stayed})
    else:
        typer.echo(f"Moved {moved} runs; {stayed} stay in version {from_version}.")


def _steps(given: list[str] | None) -> dict[str, str] | None:
    if not given:
        return None
    found: dict[str, str] = {}
    for each in given:
        old, sign, new = each.partition("=")
        if not (old and sign and new):
            raise usage(f"--step {each!r} must be OLD=NEW")
        found[old] = new
    return found


def _print_preview(found: MigrationPreview | None, *, as_json: bool) -> None:
    if found is None:
        raise CommandFailed("The automation was removed in the meantime.")
    shown: list[dict[str, Any]] = msgspec.to_builtins(found.steps)
    if as_json:
        print_json(shown)
        return
    rows = [[each["step"], each["to"] or "stay", str(each["runs"])] for each in shown]
    print_rows(["STEP", "TO", "RUNS"], rows)
