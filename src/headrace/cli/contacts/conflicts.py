"""`headrace contacts`: conflicts of contacts that events identify as one person."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from headrace.cli.access.key import ProjectName
from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.output import AsJson, print_json, print_rows
from headrace.cli.shared.settings import STORE, with_settings
from headrace.cli.shared.stores import ACTOR, DEFAULT_PROJECT, find_project, in_store
from headrace.config import Settings
from headrace.store.contract.merges import (
    ContactPair,
    MergeRejectedError,
    MergeRejection,
    PairPage,
    PairStatus,
)
from headrace.store.store import Store

app = typer.Typer()

LIMIT_MAX = 1000


@app.command()
@with_settings(*STORE)
def conflicts(
    settings: Settings,
    project: ProjectName = DEFAULT_PROJECT,
    status: Annotated[PairStatus, typer.Option(help="Status of the conflicts.")] = PairStatus.OPEN,
    limit: Annotated[
        int, typer.Option(min=1, max=LIMIT_MAX, help="Maximum number of results.")
    ] = 50,
    as_json: AsJson = False,
) -> None:
    """List pairs of contacts that may be the same person, newest first.

    Example: headrace contacts conflicts --status dismissed
    """

    async def work(store: Store) -> PairPage:
        owner = await find_project(store, project)
        return await store.merges.pairs(owner.id, before=None, limit=limit, status=status)

    shown = [_view(pair) for pair in in_store(settings, work).pairs]
    if as_json:
        print_json(shown)
        return
    names = ("id", "last_at", "contact_id", "other_contact_id", "fields", "events")
    rows = [
        [",".join(value) if isinstance(value := each[name], list) else str(value) for name in names]
        for each in shown
    ]
    print_rows([name.upper() for name in names], rows)


@app.command()
@with_settings(*STORE)
def dismiss(
    settings: Settings,
    conflict_id: Annotated[str, typer.Argument(metavar="ID", help="ID of the conflict.")],
    reason: Annotated[str, typer.Option(help="Reason, kept in the audit.")],
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Record that the two contacts of a conflict are different people.

    Example: headrace contacts dismiss 0b0e7f3e-... --reason "a family shares the address"
    """
    from headrace.domain.deliveries.dead_letters import check_reason
    from headrace.domain.events.fields import check_contact_id

    try:
        checked = check_reason(reason)
    except ValueError as error:
        raise usage(f"The reason {error}") from None
    try:
        wanted_id = check_contact_id(conflict_id)
    except ValueError:
        raise usage(f"{conflict_id!r} is not a valid conflict ID.") from None

    async def work(store: Store) -> ContactPair:
        owner = await find_project(store, project)
        return await store.merges.dismiss(
            owner.id, wanted_id, checked, store.clock_us(), actor=ACTOR
        )

    try:
        shown = _view(in_store(settings, work))
    except MergeRejectedError as error:
        if error.rejection is MergeRejection.RESOLVED:
            raise CommandFailed("The two contacts were merged.") from None
        raise CommandFailed("Conflict not found in this project.") from None
    if as_json:
        print_json(shown)
    else:
        typer.echo(
            f"Dismissed: {shown['contact_id']} and {shown['other_contact_id']} "
            "stay separate contacts."
        )


def _view(pair: ContactPair) -> dict[str, Any]:
    """A conflict as in responses of the API."""
    from headrace.domain.timestamps import to_text

    return {
        "id": pair.id,
        "status": (PairStatus.OPEN if pair.dismissed_us is None else PairStatus.DISMISSED).value,
        "contact_id": pair.contact_id,
        "other_contact_id": pair.other_contact_id,
        "fields": list(pair.fields),
        "events": pair.events,
        "first_at": to_text(pair.first_us),
        "last_at": to_text(pair.last_us),
        "last_event_id": pair.last_event_id,
        "dismissed_by": pair.dismissed_by,
        "dismissed_at": None if pair.dismissed_us is None else to_text(pair.dismissed_us),
        "dismissed_reason": pair.dismissed_reason,
    }
