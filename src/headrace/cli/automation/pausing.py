"""`headrace automation pause|resume`, with what happens to open runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from headrace.cli.access.key import ProjectName
from headrace.cli.automation.definitions import Which, find
from headrace.cli.automation.views import automation_view
from headrace.cli.shared.failure import CommandFailed
from headrace.cli.shared.output import AsJson, print_json, print_rows, printable
from headrace.cli.shared.settings import STORE, with_settings
from headrace.cli.shared.stores import ACTOR, DEFAULT_PROJECT, find_project, in_store
from headrace.config import Settings
from headrace.store.contract.automations import Overdue, PauseMode
from headrace.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headrace.store.contract.automations import Automation, ResumePreview

LATE_SECONDS_MAX = 31_536_000


@with_settings(*STORE)
def pause(
    settings: Settings,
    which: Which,
    mode: Annotated[
        PauseMode,
        typer.Option(help="Open runs go on (drain), stand still (hold) or are cancelled (cancel)."),
    ] = PauseMode.DRAIN,
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Start no more runs; open ones go on to their end, unless --mode says otherwise.

    Example: headrace automation pause "Abandoned checkout" --mode hold
    """

    async def work(store: Store) -> Automation:
        owner = await find_project(store, project)
        held = await find(store, owner.id, which)
        pausing = store.automations.pausing
        changed = await pausing.pause(owner.id, held.id, mode, store.clock_us(), actor=ACTOR)
        return changed or held

    _print(_changed(settings, work), as_json=as_json)


@with_settings(*STORE)
def resume(
    settings: Settings,
    which: Which,
    overdue: Annotated[
        Overdue,
        typer.Option(help="Overdue held runs go on, go on without late sends, or are cancelled."),
    ] = Overdue.RUN,
    max_late_seconds: Annotated[
        int,
        typer.Option(
            min=0, max=LATE_SECONDS_MAX, help="Runs that were due more recently are not overdue."
        ),
    ] = 0,
    only_look: Annotated[
        bool, typer.Option("--dry-run", help="Show what is overdue, change nothing.")
    ] = False,
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Start runs again, with events received from now on.

    Example: headrace automation resume "Abandoned checkout" --overdue skip_sends
    """

    async def look(store: Store) -> ResumePreview | None:
        owner = await find_project(store, project)
        held = await find(store, owner.id, which)
        return await store.automations.pausing.preview(
            owner.id, held.id, store.clock_us(), max_late_seconds=max_late_seconds
        )

    async def work(store: Store) -> Automation:
        owner = await find_project(store, project)
        held = await find(store, owner.id, which)
        changed = await store.automations.pausing.resume(
            owner.id,
            held.id,
            store.clock_us(),
            overdue=overdue,
            max_late_seconds=max_late_seconds,
            actor=ACTOR,
        )
        return changed or held

    if only_look:
        found = in_store(settings, look)
        if found is None:
            raise CommandFailed("The automation was removed in the meantime.")
        _print_preview(found, as_json=as_json)
    else:
        _print(_changed(settings, work), as_json=as_json)


def _changed(settings: Settings, work: Callable[[Store], Awaitable[Automation]]) -> Automation:
    from headrace.store.automations.automations import WrongStatusError

    try:
        return in_store(settings, work)
    except WrongStatusError:
        raise CommandFailed("It was never published.") from None


def _print(changed: Automation, *, as_json: bool) -> None:
    if as_json:
        print_json(automation_view(changed))
    else:
        typer.echo(printable(f"{changed.name} is {changed.status.value}."))


def _print_preview(found: ResumePreview, *, as_json: bool) -> None:
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    if not found.runs:
        typer.echo("No run is overdue.")
        return
    more = "More than " if found.more else ""
    runs = "1 run is" if found.runs == 1 else f"{found.runs} runs are"
    typer.echo(f"{more}{runs} overdue; up to {found.sends} would send late.")
    rows = [
        [str(each.version), each.at_step or "-", str(each.runs), ", ".join(each.sends) or "-"]
        for each in found.steps
    ]
    print_rows(["VERSION", "AT STEP", "RUNS", "WOULD SEND"], rows)
