"""`headrace migrate`: bring a store to the schema of this release."""

from __future__ import annotations

import asyncio

import typer

from headrace.cli.output import AsJson, print_json
from headrace.cli.settings import STORE, with_settings
from headrace.config import Settings


@with_settings(*STORE)
def migrate(settings: Settings, as_json: AsJson = False) -> None:
    """Make the store or bring it to the newest schema.

    The server does so for an embedded store at its start; for PostgreSQL it wants this command.

    Example: headrace migrate --store sqlite:///headrace.db
    """
    from headrace.stores import migrate_store, shown_store

    before, after = asyncio.run(migrate_store(settings))
    if as_json:
        print_json({"store": shown_store(settings.store), "from": before, "to": after})
    elif before == after:
        typer.echo(f"The store has schema {after} already; nothing to do.")
    else:
        typer.echo(f"Brought the store from schema {before} to {after}.")
