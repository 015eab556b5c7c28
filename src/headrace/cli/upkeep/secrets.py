"""`headrace secrets`: the key that seals secrets in the store."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer

from headrace.cli.shared.failure import usage
from headrace.cli.shared.output import AsJson, print_json
from headrace.cli.shared.settings import STORE, with_settings
from headrace.config import Settings

app = typer.Typer(help="The key that seals secrets in the store.", no_args_is_help=True)


@app.command("replace-lost")
@with_settings(*STORE)
def replace_lost(
    settings: Settings,
    yes: Annotated[
        bool, typer.Option("--yes", help="Confirm: what is replaced cannot be restored.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Replace the secrets whose key is lost, with the server stopped.

    Each such webhook gets a new secret: rotate it to see one. Each such domain gets a new DKIM
    key: publish its record and verify it again. Each such push app gets new VAPID keys: browsers
    subscribe again when they open the website. Own headers of webhooks cannot be replaced: they
    are removed, and these webhooks are paused.

    Example: headrace secrets replace-lost --yes
    """
    from headrace.stores import replace_lost_secrets

    if not yes:
        raise usage("Secrets are replaced for good. Look for the key first, then say --yes.")
    done = asyncio.run(replace_lost_secrets(settings))
    if as_json:
        print_json(msgspec.structs.asdict(done))
    else:
        typer.echo(
            f"Replaced secrets of {done.webhooks} webhooks, keys of {done.domains} domains and of "
            f"{done.push_apps} push apps."
        )
        if done.headers:
            typer.echo(
                f"Removed the own headers of {done.headers} webhooks, which are paused now: set "
                "the headers again and resume them."
            )


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
