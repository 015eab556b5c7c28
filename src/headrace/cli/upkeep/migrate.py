"""`headrace migrate`: bring a store to the schema of this release."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from headrace.cli.shared.output import AsJson, print_json
from headrace.cli.shared.settings import STORE, with_settings
from headrace.config import Settings


@with_settings(*STORE)
def migrate(
    settings: Settings,
    distribute: Annotated[
        bool,
        typer.Option("--distribute", help="Then distribute it over the nodes of a Citus cluster."),
    ] = False,
    shards: Annotated[
        int, typer.Option(min=1, max=256, help="Shards per table for --distribute.")
    ] = 16,
    as_json: AsJson = False,
) -> None:
    """Create the store or migrate it to the newest schema.

    The server migrates an embedded store at its start; PostgreSQL needs this command.

    Example: headrace migrate --store sqlite:///headrace.db
    """
    from headrace.observability.logs import configure_logs
    from headrace.stores import distribute_store, migrate_store, store_url

    # How far it is goes to standard error.
    configure_logs("info", "auto")
    before, after = asyncio.run(migrate_store(settings))
    distributed = asyncio.run(distribute_store(settings, shards)) if distribute else []
    if as_json:
        found = {"store": store_url(settings.store).shown, "from": before, "to": after}
        print_json(found | ({"distributed": distributed} if distribute else {}))
        return
    if before == after:
        typer.echo(f"The store already has schema {after}; nothing to do.")
    else:
        typer.echo(f"Migrated the store from schema {before} to {after}.")
    if distribute:
        typer.echo(_summary(distributed))


def _summary(distributed: list[str]) -> str:
    if not distributed:
        return "Every table that grows with traffic is already distributed."
    return f"Distributed {len(distributed)} tables by lane: {', '.join(distributed)}."
