"""`headrace copy`: move from the embedded store to PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from headrace.cli.shared.output import AsJson, print_json
from headrace.cli.shared.progress import progress

#: The bar counts in thousandths, since the number of rows is known only after a scan.
_STEPS = 1000


def copy(
    source: Annotated[str, typer.Option("--from", help="Store to copy: sqlite:///path/file.db")],
    target: Annotated[
        str, typer.Option("--to", help="Target: postgresql://..., migrated and empty.")
    ],
    as_json: AsJson = False,
) -> None:
    """Copy an embedded store into an empty PostgreSQL store, and compare the two.

    No server, worker or command may use the source or the target meanwhile. Run it again
    after an interruption to continue. The source is not changed.

    Example: headrace copy --from sqlite:///headrace.db --to postgresql://headrace@db/headrace
    """
    from headrace.stores import copy_store, key_file, store_url

    with progress("Copying", total=_STEPS) as advance_to:

        def advance(done: int, total: int, words: str) -> None:
            advance_to(_STEPS * done // max(1, total), words)

        report = asyncio.run(copy_store(source, target, advance))
    if as_json:
        tables = {name: found.rows for name, found in report.tables.items()}
        print_json({"to": store_url(target).shown, "rows": report.rows, "tables": tables})
        return
    events = report.tables["events"].rows
    typer.echo(
        f"Copied {report.rows} rows, {events} events among them, to {store_url(target).shown}. "
        "Counts and checksums of every table agree."
    )
    keys = key_file(source)
    if keys is not None:
        typer.echo(
            f"Its secrets stay sealed: set HEADRACE_SECRET_KEY_FILE={keys} on every process."
        )
