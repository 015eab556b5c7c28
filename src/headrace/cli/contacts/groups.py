"""`headrace topics` and `headrace audiences`: what contacts are subscribed to and belong to."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from headrace.cli.shared.failure import usage
from headrace.cli.shared.http_client import ask, client_of
from headrace.cli.shared.listing import Limit, print_list
from headrace.cli.shared.output import AsJson, print_json
from headrace.cli.shared.settings import CLIENT, with_settings
from headrace.config import Settings
from headrace.domain.ids import UUID_TEXT

topics = typer.Typer(help="List and create topics.", no_args_is_help=True)
audiences = typer.Typer(help="List and create audiences, and list members.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name, unique in the project.")]
Description = Annotated[str, typer.Option(help="What it is about.")]


@topics.command("list")
@with_settings(*CLIENT)
def list_topics(settings: Settings, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List topics, newest first.

    Example: headrace topics list
    """
    columns = ("id", "name", "default_subscribed", "description")
    print_list(settings, "/topics", {}, columns, limit=limit, as_json=as_json)


@topics.command("create")
@with_settings(*CLIENT)
def create_topic(
    settings: Settings,
    name: Name,
    description: Description = "",
    subscribed: Annotated[
        bool, typer.Option("--subscribed", help="Contacts that never chose are subscribed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create a topic; prints its ID.

    Example: headrace topics create News --subscribed
    """
    fields = {"name": name, "description": description, "default_subscribed": subscribed}
    _create(settings, "/topics", fields, as_json=as_json)


@audiences.command("list")
@with_settings(*CLIENT)
def list_audiences(settings: Settings, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List audiences, newest first.

    Example: headrace audiences list
    """
    columns = ("id", "name", "description")
    print_list(settings, "/audiences", {}, columns, limit=limit, as_json=as_json)


@audiences.command("create")
@with_settings(*CLIENT)
def create_audience(
    settings: Settings, name: Name, description: Description = "", as_json: AsJson = False
) -> None:
    """Create an audience; prints its ID.

    Example: headrace audiences create "Beta testers"
    """
    fields = {"name": name, "description": description}
    _create(settings, "/audiences", fields, as_json=as_json)


@audiences.command("members")
@with_settings(*CLIENT)
def members(
    settings: Settings,
    audience_id: Annotated[str, typer.Argument(metavar="ID", help="ID of the audience.")],
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List the contacts of an audience.

    Example: headrace audiences members 0198c2c0-...
    """
    if UUID_TEXT.fullmatch(audience_id) is None:
        raise usage(f"{audience_id!r} is not a valid audience ID.")
    path = f"/audiences/{audience_id}/contacts"
    columns = ("id", "external_id", "email", "created_at")
    print_list(settings, path, {}, columns, limit=limit, as_json=as_json)


def _create(settings: Settings, path: str, fields: dict[str, Any], *, as_json: bool) -> None:
    sent = {name: value for name, value in fields.items() if value != ""}
    response = ask(client_of(settings), "POST", path, msgspec.json.encode(sent)).json()
    if as_json:
        print_json(response)
        return
    typer.echo(response["data"]["id"])
