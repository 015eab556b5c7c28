"""`headrace compact`: give disk space of the embedded store back."""

from __future__ import annotations

import typer

from headrace.cli.shared.failure import CommandFailed
from headrace.cli.shared.output import AsJson, print_json
from headrace.cli.shared.progress import progress
from headrace.cli.shared.settings import with_settings
from headrace.config import Settings


@with_settings("store")
def compact(settings: Settings, as_json: AsJson = False) -> None:
    """Give disk space of the embedded store back: a smaller copy takes its place.

    Stop the server and the workers first. It can be interrupted at any time: the store is then
    either the old file or the new one, whole.

    Example: headrace compact --store sqlite:///headrace.db
    """
    from headrace.stores import compact_store, store_url

    with compact_store(settings) as (space, run):
        typer.echo(
            f"Needs up to {_size(space.needed_bytes)} of free disk ({_size(space.free_bytes)} are "
            f"free), gives back at least {_size(space.given_back_bytes)}.",
            err=True,
        )
        if space.free_bytes < space.needed_bytes:
            raise CommandFailed("The disk has too little room for the copy. Nothing was changed.")
        with progress("Compacting", total=max(1, space.used_bytes)) as advance:
            size_bytes = run(
                lambda done, step: advance(
                    done, f"{step}, {_size(done)} of {_size(space.used_bytes)}"
                )
            )
    given_back_bytes = space.size_bytes - size_bytes
    if as_json:
        found = {"store": store_url(settings.store).shown, "before_bytes": space.size_bytes}
        found |= {"after_bytes": size_bytes, "given_back_bytes": given_back_bytes}
        print_json(found)
        return
    typer.echo(f"The store has {_size(size_bytes)} now, before it had {_size(space.size_bytes)}.")


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1024 / 1024:,.1f} MiB"
