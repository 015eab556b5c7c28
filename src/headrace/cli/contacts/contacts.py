"""`headrace contacts`: exporting and erasing a person."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import IO, Annotated

import typer

from headrace.cli.access.key import ProjectName
from headrace.cli.contacts import conflicts
from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.listing import Limit, print_list
from headrace.cli.shared.output import AsJson, print_json, print_rows
from headrace.cli.shared.settings import CLIENT, STORE, with_settings
from headrace.cli.shared.stores import ACTOR, DEFAULT_PROJECT, find_project, in_store
from headrace.cli.upkeep.destination import destination, is_standard_output
from headrace.config import Settings
from headrace.domain.ids import UUID_TEXT
from headrace.store.contract.erasures import FINISH_HINT, Erasure, ErasureStatus
from headrace.store.store import Store

app = typer.Typer(help="List, export or erase people, resolve conflicts.", no_args_is_help=True)
app.add_typer(conflicts.app)

#: Interval between polls of the job.
_LOOK_SECONDS = 0.2
#: A job without progress for this long has no worker.
_STILL_SECONDS_MAX = 20.0

ContactId = Annotated[str, typer.Argument(metavar="ID", help="ID of the contact.")]


@app.callback()
def group() -> None:
    """List, export or erase people, resolve conflicts."""


@app.command("list")
@with_settings(*CLIENT)
def list_(
    settings: Settings,
    search: Annotated[str, typer.Option(help="Only with an identifier that begins so.")] = "",
    external_id: Annotated[str, typer.Option(help="Only this external_id.")] = "",
    email: Annotated[str, typer.Option(help="Only this address.")] = "",
    audience_id: Annotated[str, typer.Option(help="Only members of this audience.")] = "",
    topic_id: Annotated[str, typer.Option(help="Only subscribers of this topic.")] = "",
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List contacts, newest first. All given filters must match.

    Example: headrace contacts list --search ada
    """
    query = {
        "search": search,
        "external_id": external_id,
        "email": email,
        "audience_id": audience_id,
        "topic_id": topic_id,
    }
    columns = ("id", "external_id", "email", "created_at", "updated_at")
    print_list(settings, "/contacts", query, columns, limit=limit, as_json=as_json)


@app.command()
@with_settings(*STORE)
def export(
    settings: Settings,
    contact_id: ContactId,
    output: Annotated[
        Path | None, typer.Option(help="File to write; standard output if omitted.")
    ] = None,
    mentions: Annotated[
        bool, typer.Option(help="Search other people's events for the person's identifiers.")
    ] = True,
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Write all data about a person as one JSON document.

    Example: headrace contacts export 750306c8-... --output ada.json
    """
    wanted = _id(contact_id)
    if output is not None and is_standard_output(output):
        output = None
    if as_json and output is None:
        raise usage("--json prints a report about the file; name the file with --output.")

    async def write(store: Store, file: IO[bytes]) -> None:
        from headrace.pipeline.contacts.person_document import person_document

        owner = await find_project(store, project)
        facts = await store.person_exports.find(owner.id, wanted)
        if facts is None:
            raise _nobody(project)
        async for piece in person_document(store.person_exports, facts, mentions=mentions):
            file.write(piece)
        file.write(b"\n")

    with destination(output) as file:
        in_store(settings, lambda store: write(store, file))
    if as_json:
        print_json({"contact_id": wanted, "output": str(output)})
    elif output is not None:
        typer.echo(f"Wrote {output}.")


@app.command()
@with_settings(*STORE)
def erase(
    settings: Settings,
    contact_id: ContactId,
    mask_mentions: Annotated[
        bool,
        typer.Option(
            "--mask-mentions", help="Mask the person's identifiers in other people's events."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only report what would be removed and found.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait until the worker has finished it.")] = True,
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Remove all data about a person. This cannot be undone. The server's worker does it.

    Example: headrace contacts erase 750306c8-... --dry-run
    """
    wanted = _id(contact_id)
    if not (yes or dry_run):
        _ask(wanted)

    async def work(store: Store) -> Erasure:
        owner = await find_project(store, project)
        begun = await store.erasures.begin(
            owner.id,
            wanted,
            store.clock_us(),
            actor=ACTOR,
            mask_mentions=mask_mentions,
            dry_run=dry_run,
        )
        if begun is None:
            raise _nobody(project)
        return await _watched(store, begun) if wait else begun

    _print(in_store(settings, work), as_json=as_json)


def _ask(contact_id: str) -> None:
    import sys

    # None where the shell closed it: `<&-`.
    if sys.stdin is None or not sys.stdin.isatty():
        raise usage("Erasing cannot be undone: check with --dry-run, then pass --yes.")
    typer.confirm(f"Remove all data about contact {contact_id}?", abort=True)


def _id(text: str) -> str:
    if UUID_TEXT.fullmatch(text) is None:
        raise usage(f"{text!r} is not a valid contact ID.")
    return text.lower()


def _nobody(project: str) -> CommandFailed:
    return CommandFailed(f"No data about this contact in project {project}.")


async def _watched(store: Store, begun: Erasure) -> Erasure:
    """The finished erasure.

    Raises:
        CommandFailed: no worker seems to process it.
    """
    seen, changed_at = begun, time.monotonic()
    while seen.status is not ErasureStatus.DONE:
        await asyncio.sleep(_LOOK_SECONDS)
        found = await store.erasures.get(begun.project_id, begun.id)
        if found is None:
            raise CommandFailed(f"Erasure {begun.id} no longer exists.")
        if found != seen:
            changed_at = time.monotonic()
        if time.monotonic() - changed_at > _STILL_SECONDS_MAX:
            raise CommandFailed(
                f"Erasure {begun.id} is waiting: no worker is running. "
                "It continues when one starts."
            )
        seen = found
    return seen


def _print(erasure: Erasure, *, as_json: bool) -> None:
    from headrace.app import erasure_text

    if as_json:
        typer.echo(erasure_text(erasure).decode())
        return
    mentions = erasure.report.mentions
    kind = "Dry run" if erasure.dry_run else "Erasure"
    done = "done" if erasure.status is ErasureStatus.DONE else "running"
    typer.echo(f"{kind} {erasure.id} is {done}.")
    rows = [[place, str(count)] for place, count in erasure.counts.items()]
    if rows:
        print_rows(["PLACE", "ROWS"], rows)
    typer.echo(
        f"{mentions.events} events of other people name the person; masked: {mentions.masked}."
    )
    if mentions.listed:
        rows = [[each.event_id, each.event, ", ".join(each.places)] for each in mentions.listed]
        print_rows(["EVENT", "NAME", "PLACES"], rows)
    if erasure.report.copies_may_remain:
        typer.echo(FINISH_HINT)
