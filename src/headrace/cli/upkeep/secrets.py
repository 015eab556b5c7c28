"""`headrace secrets`: the key that seals secrets in the store."""

from __future__ import annotations

import asyncio

import typer

from headrace.cli.shared.output import AsJson, print_json
from headrace.cli.shared.settings import STORE, with_settings
from headrace.config import Settings

app = typer.Typer(help="The key that seals secrets in the store.", no_args_is_help=True)


@app.callback()
def main() -> None:
    """The key that seals secrets in the store."""


@app.command()
@with_settings(*STORE)
def rotate(settings: Settings, as_json: AsJson = False) -> None:
    """Seal all secrets with another key. Works beside a running server.

    The key file beside an embedded store gets a new key and keeps the older ones. With
    HEADRACE_SECRET_KEY first put the new key before the old one, separated by a comma, on every
    process; the old one is not needed after this command.

    Example: headrace secrets rotate
    """
    from headrace.stores import rotate_secret_key

    key_id, sealed = asyncio.run(rotate_secret_key(settings))
    if as_json:
        print_json({"key": key_id, "sealed": sealed})
    else:
        typer.echo(f"Sealed {sealed} secrets again. All are sealed with key {key_id}.")
