"""`headrace push-app`: apps and websites that devices register with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.messages.views import cell, time_of
from headrace.cli.shared.failure import CommandFailed, ExitCode, usage
from headrace.cli.shared.output import AsJson, print_json, print_rows
from headrace.cli.shared.settings import STORE, with_settings
from headrace.cli.shared.stores import ACTOR, DEFAULT_PROJECT, find_project, in_store
from headrace.config import Settings
from headrace.store.store import Store

if TYPE_CHECKING:
    from headrace.store.contract.push import Device, PushApp

app = typer.Typer(help="Create and list push apps, and list their devices.", no_args_is_help=True)
Project = Annotated[str, typer.Option("--project", help="Name of the project.")]
#: Devices that the command lists.
DEVICES_SHOWN_MAX = 1000


@app.command()
@with_settings(*STORE)
def create(
    settings: Settings,
    name: Annotated[str, typer.Argument(help="Name of the app or website.")],
    project: Project = DEFAULT_PROJECT,
    origins: Annotated[
        list[str] | None,
        typer.Option(
            "--origin",
            help="An origin whose pages may use it, such as https://shop.example.org; without any, "
            "pages of every origin may.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a push app with its own VAPID keys.

    Example: headrace push-app create Shop --origin https://shop.example.org
    """
    from headrace.domain.errors import ApiError, ErrorCode
    from headrace.domain.push.app_requests import push_app_fields
    from headrace.pipeline.push.push_apps import PushAppSetup

    async def work(store: Store) -> PushApp:
        project_id = (await find_project(store, project)).id
        fields = push_app_fields(name, origins or [])
        return await PushAppSetup(store).create(project_id, fields, actor=ACTOR)

    try:
        made = in_store(settings, work)
    except ApiError as error:
        code = ExitCode.USAGE if error.code is ErrorCode.VALIDATION else ExitCode.FAILED
        raise CommandFailed(f"{name}: {error.message}", code) from None
    if as_json:
        print_json(_view(made))
        return
    typer.echo(f"Created push app {made.name}.")
    typer.echo(f"app_id      {made.id}")
    typer.echo(f"public key  {made.vapid_public_key}")


@app.command("list")
@with_settings(*STORE)
def list_(settings: Settings, project: Project = DEFAULT_PROJECT, as_json: AsJson = False) -> None:
    """List the push apps of a project, newest first.

    Example: headrace push-app list
    """
    from headrace.store.contract.push import APPS_MAX

    async def work(store: Store) -> list[PushApp]:
        project_id = (await find_project(store, project)).id
        return list(await store.push.apps.list(project_id, before=None, limit=APPS_MAX))

    shown = [_view(each) for each in in_store(settings, work)]
    if as_json:
        print_json(shown)
        return
    rows = [
        (each["app_id"], each["name"], cell(", ".join(each["origins"]) or None), each["created_at"])
        for each in shown
    ]
    print_rows(("APP ID", "NAME", "ORIGINS", "CREATED AT"), rows)


@app.command()
@with_settings(*STORE)
def devices(
    settings: Settings,
    app_id: Annotated[
        str | None, typer.Argument(help="Id of the push app; not with --contact.")
    ] = None,
    contact: Annotated[
        str | None, typer.Option("--contact", help="Id of a contact: its devices of all apps.")
    ] = None,
    project: Project = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """List the newest devices of a push app, or those of a contact.

    Example: headrace push-app devices --contact 0197a3f0-6b2e-7c41-9f0a-1d2c3b4a5f60
    """
    from headrace.store.contract.push import DeviceFilter

    if (app_id is None) == (contact is None):
        raise usage("Give either the id of a push app or --contact with that of a contact.")

    async def work(store: Store) -> list[Device] | None:
        project_id = (await find_project(store, project)).id
        if contact is not None:
            return list(await store.push.devices.of_contact(project_id, contact.lower()))
        if await store.push.apps.get(project_id, app_id or "") is None:
            return None
        return list(
            await store.push.devices.list(
                app_id or "", DeviceFilter(), before=None, limit=DEVICES_SHOWN_MAX
            )
        )

    found = in_store(settings, work)
    if found is None:
        raise CommandFailed(f"There is no push app {app_id!r} in project {project}.")
    shown = [_device(each) for each in found]
    if as_json:
        print_json(shown)
        return
    names = ("device_id", "platform", "state", "reason", "permission", "last_active_at")
    rows = [[cell(each[name]) for name in (*names, "last_failure")] for each in shown]
    print_rows([name.upper().replace("_", " ") for name in (*names, "last_failure")], rows)


def _view(of: PushApp) -> dict[str, Any]:
    return {
        "app_id": of.id,
        "name": of.name,
        "public_key": of.vapid_public_key,
        "origins": list(of.origins),
        "created_at": time_of(of.created_us),
    }


def _device(of: Device) -> dict[str, Any]:
    return {
        "app_id": of.app_id,
        "device_id": of.id,
        "contact_id": of.contact_id,
        "platform": of.platform.value,
        "environment": of.environment.value,
        "state": of.state.value,
        "reason": None if of.reason is None else of.reason.value,
        "permission": None if of.permission is None else of.permission.value,
        "last_active_at": time_of(of.seen_us),
        "last_sent_at": None if of.sent_us is None else time_of(of.sent_us),
        "last_failed_at": None if of.failed_us is None else time_of(of.failed_us),
        "last_failure": of.failure,
    }
