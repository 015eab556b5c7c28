"""`headrace push`: what was sent by `POST /push/notifications`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.shared.failure import CommandFailed
from headrace.cli.shared.output import AsJson, print_json
from headrace.cli.shared.settings import STORE, with_settings
from headrace.cli.shared.stores import ACTOR, DEFAULT_PROJECT, find_project, in_store
from headrace.config import Settings
from headrace.domain.ids import UUID_TEXT
from headrace.store.store import Store

if TYPE_CHECKING:
    from headrace.store.push.sends import PushSend

app = typer.Typer(help="Stop what is being sent as push.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Stop what is being sent as push."""


@app.command()
@with_settings(*STORE)
def stop(
    settings: Settings,
    push_id: Annotated[
        str, typer.Argument(metavar="ID", help="Id of the push, as the response to it had it.")
    ],
    project: Annotated[str, typer.Option("--project", help="Name of the project.")] = (
        DEFAULT_PROJECT
    ),
    as_json: AsJson = False,
) -> None:
    """Stop a push: no more messages are made, and those that wait are cancelled.

    Example: headrace push stop 0197a3f0-6b2e-7c41-9f0a-1d2c3b4a5f60
    """

    async def work(store: Store) -> PushSend | None:
        project_id = (await find_project(store, project)).id
        if UUID_TEXT.fullmatch(push_id) is None:
            return None
        return await store.push.jobs.stop(
            project_id, push_id.lower(), store.clock_us(), actor=ACTOR
        )

    stopped = in_store(settings, work)
    if stopped is None:
        raise CommandFailed(f"There is no push {push_id!r} in project {project}.")
    if as_json:
        print_json({"id": stopped.id, "stopped": True, "notifications": stopped.states})
        return
    counts = ", ".join(f"{count} {state}" for state, count in sorted(stopped.states.items()))
    typer.echo(f"Stopped push {stopped.id}. Notifications: {counts or 'none'}.")
