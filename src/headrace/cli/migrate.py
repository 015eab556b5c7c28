"""`headrace migrate`: bring a store to the schema of this release."""

from __future__ import annotations

import typer

from headrace.cli.output import AsJson, print_json
from headrace.cli.settings import STORE, with_settings
from headrace.cli.stores import in_store
from headrace.config import Settings
from headrace.store.contract import Store


@with_settings(*STORE)
def migrate(settings: Settings, as_json: AsJson = False) -> None:
    """Make the store or bring it to the newest schema. The server does the same at its start.

    Example: headrace migrate --store sqlite:///headrace.db
    """
    from headrace.app import schema_versions

    before, _ = schema_versions(settings.store)

    async def work(store: Store) -> int:
        return (await store.health()).schema_version

    after = in_store(settings, work, create=True)
    if as_json:
        print_json({"store": settings.store, "from": before, "to": after})
    elif before == after:
        typer.echo(f"The store has schema {after} already; nothing to do.")
    else:
        typer.echo(f"Brought the store from schema {before} to {after}.")
