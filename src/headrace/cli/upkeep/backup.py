"""`headrace backup`, `restore`, `hold` and `release`: keep a copy of a store, and go back to it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from headrace.cli.shared.failure import usage
from headrace.cli.shared.output import AsJson, print_json
from headrace.cli.shared.progress import progress
from headrace.cli.shared.settings import STORE, with_settings
from headrace.cli.shared.stores import ACTOR, in_store
from headrace.config import Settings
from headrace.domain.timestamps import to_text
from headrace.store.deliveries.held_work import HeldCounts, Hold, Overdue
from headrace.store.store import Store

#: The bar counts in thousandths, since the size is known only when the copy has begun.
_STEPS = 1000
_CHOICES = """
Decide what becomes of it:

  headrace release --overdue skip
    Does none of it. Mail becomes unknown (headrace messages settle), pushes expire, deliveries
    become dead letters (headrace dead-letters replay --cause restored), runs go on without the
    sends that they reach late, sends to audiences and replays stop.

  headrace release --overdue run
    Does all of it, some of it perhaps for the second time.

Either way events that were not yet processed are processed. Receivers may get their deliveries
again, with another webhook-id and the same event."""


@with_settings("store")
def backup(
    settings: Settings,
    target: Annotated[Path, typer.Argument(metavar="FILE", help="File to write; it must be new.")],
    as_json: AsJson = False,
) -> None:
    """Write a backup of the embedded store, also while a server uses it.

    It contains everything that was committed when it began. The key that opens its secrets is not
    in it: keep headrace.db.key in another place.

    Example: headrace backup /backups/headrace-2026-06-08.db --store sqlite:///headrace.db
    """
    from headrace.stores import backup_store, key_file

    with progress("Backing up", total=_STEPS) as advance:
        size_bytes, taken_us = backup_store(
            settings,
            target,
            lambda done, total, words: advance(_STEPS * done // max(1, total), words),
        )
    keys = key_file(settings.store)
    if as_json:
        found = {"backup": str(target), "size_bytes": size_bytes, "taken_at": to_text(taken_us)}
        print_json(found | {"key_file": None if keys is None else str(keys)})
        return
    typer.echo(
        f"Backed up {size_bytes / 1024 / 1024:,.1f} MiB to {target}, as of {to_text(taken_us)}."
    )
    if keys is not None:
        typer.echo(f"Its secrets are sealed with the key in {keys}. Back that up in another place.")


@with_settings("store")
def restore(
    settings: Settings,
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A backup; it is not changed.")],
    as_json: AsJson = False,
) -> None:
    """Make a new embedded store from a backup, and hold its work.

    The server accepts events at once. What was due since the backup may have been done already:
    workers do nothing until `headrace release`.

    Example: headrace restore /backups/headrace-2026-06-08.db --store sqlite:///headrace.db
    """
    from headrace.stores import restore_store, store_url

    with progress("Restoring", total=_STEPS) as advance:
        size_bytes, held = restore_store(
            settings,
            source,
            lambda done, total, words: advance(_STEPS * done // max(1, total), words),
        )
    shown = store_url(settings.store).shown
    if as_json:
        print_json({"store": shown, "size_bytes": size_bytes, **_times(held)})
        return
    taken = "" if held.backup_us is None else f", as of {to_text(held.backup_us)}"
    typer.echo(f"Restored {size_bytes / 1024 / 1024:,.1f} MiB to {shown}{taken}.")
    typer.echo(
        "Bring its key file back as well, then start the server. It accepts events, and does no\n"
        "work until you have decided what becomes of what was due: headrace release"
    )


@with_settings(*STORE)
def hold(settings: Settings, as_json: AsJson = False) -> None:
    """Hold the work of a store that was restored by other means, before any worker starts.

    For PostgreSQL, after pg_restore or a base backup. Workers that already run do not notice.

    Example: headrace hold --store postgresql://headrace@db/headrace_restored
    """

    async def work(store: Store) -> Hold:
        return await store.held_work.hold(store.clock_us(), actor=ACTOR)

    made = in_store(settings, work)
    if as_json:
        print_json(_times(made))
    else:
        typer.echo("Work is held. Start the processes, then decide: headrace release")


@with_settings(*STORE)
def release(
    settings: Settings,
    overdue: Annotated[
        Overdue | None,
        typer.Option(
            "--overdue",
            help="What becomes of what was due before: run does it, skip does not. Without it, "
            "nothing is changed.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the work that is held after a restore, or let workers do it. Works beside a server.

    Example: headrace release --overdue skip
    """

    async def work(store: Store) -> tuple[Hold, HeldCounts] | None:
        held = await store.held_work.get()
        if held is None:
            return None
        counts = await store.held_work.counts(held)
        if overdue is not None:
            await store.held_work.release(overdue, counts, store.clock_us(), actor=ACTOR)
        return held, counts

    found = in_store(settings, work)
    if found is None:
        raise usage("Work is not held.")
    held, counts = found
    if as_json:
        released = {"released": overdue is not None, "overdue": overdue}
        print_json({**_times(held), **released, "due": msgspec.structs.asdict(counts)})
        return
    typer.echo(_shown(held, counts))
    typer.echo(_CHOICES if overdue is None else _done(overdue))


def _times(held: Hold) -> dict[str, str | None]:
    taken_us = held.backup_us
    return {
        "held_at": to_text(held.held_us),
        "backup_taken_at": None if taken_us is None else to_text(taken_us),
    }


def _shown(held: Hold, counts: HeldCounts) -> str:
    since = "" if held.backup_us is None else f" The backup is of {to_text(held.backup_us)}."
    return (
        f"Work is held since {to_text(held.held_us)}.{since}\n"
        "Due before, so it may have been done already:\n\n"
        f"  {counts.deliveries:>7} deliveries\n"
        f"  {counts.mails:>7} mails\n"
        f"  {counts.pushes:>7} pushes\n"
        f"  {counts.runs:>7} runs of automations\n"
        f"  {counts.jobs:>7} sends to audiences and replays\n"
        f"  {counts.events:>7} events to process"
    )


def _done(overdue: Overdue) -> str:
    if overdue is Overdue.RUN:
        return "\nReleased. Workers do all of it."
    return "\nReleased. What was due before is not done; new work is."
