"""`headrace rejections`: what was rejected lately, and why."""

from __future__ import annotations

import typer

from headrace.cli.shared.listing import Limit, print_list
from headrace.cli.shared.output import AsJson
from headrace.cli.shared.settings import CLIENT, with_settings
from headrace.config import Settings

app = typer.Typer(help="List rejected requests and events.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """List rejected requests and events."""


@app.command("list")
@with_settings(*CLIENT)
def list_(settings: Settings, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List requests and events that were rejected in the last 7 days, newest first.

    Example: headrace rejections list --limit 10
    """
    columns = ("at", "status", "code", "route", "api_key", "message")
    print_list(settings, "/rejections", {}, columns, limit=limit, as_json=as_json)
