"""`headrace push`: stop what was sent by `POST /push/notifications`, and send tests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.output import AsJson, print_json, printable
from headrace.cli.shared.settings import STORE, with_settings
from headrace.cli.shared.stores import ACTOR, DEFAULT_PROJECT, find_project, in_store
from headrace.config import Settings
from headrace.domain.errors import ApiError
from headrace.domain.ids import UUID_TEXT
from headrace.store.store import Store

if TYPE_CHECKING:
    from headrace.store.push.sends import PushSend

app = typer.Typer(help="Stop pushes, and send tests.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Stop pushes, and send tests."""


@app.command("test")
@with_settings(*STORE)
def send_test(  # noqa: PLR0913, PLR0917 - one parameter a flag
    settings: Settings,
    app_id: Annotated[str, typer.Argument(help="Id of the push app.")],
    device_id: Annotated[str, typer.Argument(help="Id of the device.")],
    template: Annotated[
        str | None, typer.Option(help="Id or name of a push template, whose draft is sent.")
    ] = None,
    variables: Annotated[
        str, typer.Option(help="Variables of the template, as a JSON object.")
    ] = "",
    title: Annotated[str, typer.Option(help="Title of the test, without a template.")] = "Test",
    body: Annotated[str, typer.Option(help="Text of the test, without a template.")] = "It works.",
    project: Annotated[str, typer.Option("--project", help="Name of the project.")] = (
        DEFAULT_PROJECT
    ),
    as_json: AsJson = False,
) -> None:
    """Send a test to one device; the worker hands it over.

    Example: headrace push test k3wq7n2hxb web-1 --template Rating --variables '{"order_id": 7}'
    """
    from headrace.domain.push.device_tests import decode_push_test
    from headrace.pipeline.push.push_services import push_sending_of

    async def work(store: Store) -> PushSend:
        project_id = (await find_project(store, project)).id
        members: dict[str, Any] = {"app_id": app_id, "device_id": device_id}
        if template is None:
            members |= {"title": title, "body": body}
        else:
            members["template_id"] = await _template_id(store, project_id, template)
            members["variables"] = _object(variables)
        test = decode_push_test(json.dumps(members).encode())
        sending = push_sending_of(settings, store)
        return await sending.send_test(project_id, test, actor=ACTOR)

    try:
        sent = in_store(settings, work)
    except ApiError as error:
        raise CommandFailed(printable(error.message)) from None
    if as_json:
        print_json({"id": sent.id, "notifications": sent.states})
    elif sent.states:
        typer.echo(f"The test is stored as push {sent.id}.")
    else:
        raise CommandFailed("The device is unknown, or cannot be sent to. Nothing will be sent.")


async def _template_id(store: Store, project_id: int, which: str) -> str:
    if UUID_TEXT.fullmatch(which):
        return which.lower()
    found = await store.messages.templates.by_name(project_id, which)
    if found is None:
        raise CommandFailed(f"There is no template {which!r}.")
    return found.id


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise usage("--variables must be a JSON object.")
    return value


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
