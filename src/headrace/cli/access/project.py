"""`headrace project`: projects of a store."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from headrace.cli.access.names import check_name
from headrace.cli.shared.failure import CommandFailed
from headrace.cli.shared.output import AsJson, print_json, print_rows
from headrace.cli.shared.settings import STORE, with_settings
from headrace.cli.shared.stores import ACTOR, in_store
from headrace.config import Settings
from headrace.store.contract.access import Project
from headrace.store.contract.errors import StoreConflictError
from headrace.store.store import Store

app = typer.Typer(help="Create and list projects.", no_args_is_help=True)


@app.command()
@with_settings(*STORE)
def create(
    settings: Settings,
    name: Annotated[str, typer.Argument(help="Name of the new project, unique in the store.")],
    as_json: AsJson = False,
) -> None:
    """Create a project.

    Example: headrace project create shop
    """
    check_name(name, "The name of a project")

    async def work(store: Store) -> Project:
        return await store.projects.create(name, store.clock_us(), actor=ACTOR)

    try:
        project = in_store(settings, work, create=True)
    except StoreConflictError:
        raise CommandFailed(f"Project {name!r} already exists.") from None
    if as_json:
        print_json(_view(project))
    else:
        typer.echo(f"Created project {name}. Create a key: headrace key create --project {name!r}")


@app.command("list")
@with_settings(*STORE)
def list_(settings: Settings, as_json: AsJson = False) -> None:
    """List all projects.

    Example: headrace project list
    """

    async def work(store: Store) -> list[Project]:
        return list(await store.projects.list())

    shown = [_view(project) for project in in_store(settings, work)]
    if as_json:
        print_json(shown)
    else:
        print_rows(
            ("NAME", "ID", "CREATED"), [(p["name"], p["id"], p["created_at"]) for p in shown]
        )


def _view(project: Project) -> dict[str, Any]:
    from headrace.domain.ids import uuid_text
    from headrace.domain.timestamps import to_text

    return {
        "id": uuid_text(project.uuid),
        "name": project.name,
        "created_at": to_text(project.created_us),
    }
