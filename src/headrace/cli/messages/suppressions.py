"""`headrace suppressions`: addresses that get no mail."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.access.key import ProjectName
from headrace.cli.messages.views import (
    LIMIT_MAX,
    cell,
    id_of,
    json_members,
    suppression_view,
)
from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.output import AsJson, print_json, print_rows
from headrace.cli.shared.settings import STORE, with_settings
from headrace.cli.shared.stores import ACTOR, DEFAULT_PROJECT, find_project, in_store
from headrace.config import Settings
from headrace.domain.messages.kinds import SuppressionReason, SuppressionScope
from headrace.private_files import create_private
from headrace.store.store import Store

if TYPE_CHECKING:
    from headrace.store.contract.messages import Suppressed

#: Of a file that is imported.
FILE_BYTES_MAX = 512 * 1024 * 1024

app = typer.Typer(
    help="Suppress mail to addresses; list, remove, import and export suppressions.",
    no_args_is_help=True,
)


@app.command("list")
@with_settings(*STORE)
def list_(
    settings: Settings,
    project: ProjectName = DEFAULT_PROJECT,
    email: Annotated[str, typer.Option("--email", help="Only those of this address.")] = "",
    reason: Annotated[
        SuppressionReason | None, typer.Option(help="Only those held back for it.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List addresses that get no mail, newest first.

    Example: headrace suppressions list --reason hard_bounce
    """
    wanted = _address(email) if email else ""

    async def work(store: Store) -> list[Suppressed]:
        owner, entries = await find_project(store, project), store.messages.suppressions
        if wanted:
            found = await entries.of_address(owner.id, wanted)
            return [one for one in found if reason in {None, one.reason}]
        return list(await entries.list(owner.id, reason=reason, limit=limit))

    shown = [suppression_view(found) for found in in_store(settings, work)]
    if as_json:
        print_json(shown)
        return
    names = ("id", "created_at", "email", "scope", "reason", "note", "evidence")
    print_rows([name.upper() for name in names], [[cell(e[name]) for name in names] for e in shown])


@app.command()
@with_settings(*STORE)
def add(
    settings: Settings,
    email: Annotated[str, typer.Argument(help="The address.")],
    project: ProjectName = DEFAULT_PROJECT,
    scope: Annotated[
        SuppressionScope, typer.Option(help="Which mail is held back.")
    ] = SuppressionScope.ALL,
    reason: Annotated[str, typer.Option(help="In your own words.")] = "",
    as_json: AsJson = False,
) -> None:
    """Hold back mail to an address; an entry that is there is widened, never narrowed.

    Example: headrace suppressions add mike@example.com --reason "asked by phone"
    """
    from headrace.domain.errors import ApiError
    from headrace.domain.messages.requests import decode_suppression

    body = json_members(email=email, scope=scope.value, reason=reason)
    try:
        fields = decode_suppression(body)
    except ApiError as error:
        raise usage("; ".join(f"{one.field} {one.message}" for one in error.details)) from None

    async def work(store: Store) -> Suppressed:
        owner = await find_project(store, project)
        return await store.messages.suppressions.add(
            owner.id, fields, store.clock_us(), actor=ACTOR
        )

    made = suppression_view(in_store(settings, work))
    if as_json:
        print_json(made)
    else:
        typer.echo(f"{made['email']} gets no mail (scope {made['scope']}): {made['id']}")


@app.command()
@with_settings(*STORE)
def remove(
    settings: Settings,
    which: Annotated[
        str, typer.Argument(metavar="ID|ADDRESS", help="One entry, or all of an address.")
    ],
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Remove suppressions of an address, so that it gets mail again.

    Example: headrace suppressions remove mike@example.com
    """
    wanted = _address(which) if "@" in which else id_of(which, "suppression")

    async def work(store: Store) -> list[Suppressed]:
        owner, entries = await find_project(store, project), store.messages.suppressions
        ids = [wanted]
        if "@" in wanted:
            ids = [one.id for one in await entries.of_address(owner.id, wanted)]
        gone = [await entries.remove(owner.id, each, store.clock_us(), actor=ACTOR) for each in ids]
        return [one for one in gone if one is not None]

    gone = [suppression_view(one) for one in in_store(settings, work)]
    if not gone:
        raise CommandFailed(f"There is no such entry in project {project}.")
    if as_json:
        print_json(gone)
    else:
        typer.echo(f"Removed {len(gone)}: {', '.join(one['reason'] for one in gone)}")


@app.command("import")
@with_settings(*STORE)
def import_(
    settings: Settings,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV in UTF-8.")],
    project: ProjectName = DEFAULT_PROJECT,
    reason: Annotated[
        SuppressionReason, typer.Option(help="Of entries for which the file has no reason.")
    ] = SuppressionReason.MANUAL,
    scope: Annotated[
        SuppressionScope | None,
        typer.Option(help="Of entries that are no hard bounces; by default that of their kind."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Import a suppression list of SendGrid, Mailgun, Postmark, Amazon SES, Mailchimp or Headrace.

    Columns are found by their names. Lines that are not imported are named; the others count.

    Example: headrace suppressions import bounces.csv --reason hard_bounce
    """
    from headrace.domain.messages.suppression_files import ImportRules, encoding_of
    from headrace.pipeline.messages.suppression_lists import ImportReport, import_suppressions

    if file.stat().st_size > FILE_BYTES_MAX:
        raise usage(f"{file} is larger than {FILE_BYTES_MAX} bytes; split it.")
    rules = ImportRules(reason=reason, scope=scope)
    with file.open("rb") as start:
        encoding = encoding_of(start.read(2))

    async def work(store: Store) -> ImportReport:
        owner, entries = await find_project(store, project), store.messages.suppressions
        with file.open(encoding=encoding, newline="") as lines:
            return await import_suppressions(
                entries, owner.id, lines, rules, now_us=store.clock_us(), actor=ACTOR
            )

    try:
        report = in_store(settings, work)
    except UnicodeDecodeError:
        raise CommandFailed(
            f"{file} is not text in UTF-8; save it as CSV UTF-8. Entries before stay imported."
        ) from None
    if as_json:
        print_json(report)
    else:
        for one in report.problems:
            typer.echo(f"line {one.line}: {one.message}", err=True)
        if report.rejected > len(report.problems):
            typer.echo(f"and {report.rejected - len(report.problems)} more lines", err=True)
        typer.echo(
            f"{report.added} added, {report.already_listed} already listed, "
            f"{report.rejected} rejected"
        )
    if report.rejected:
        raise typer.Exit(1)


@app.command()
@with_settings(*STORE)
def export(
    settings: Settings,
    project: ProjectName = DEFAULT_PROJECT,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new file; without it, to the terminal.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Export the suppression list as CSV; entries of erased persons have no address in it.

    Example: headrace suppressions export --output suppressions.csv
    """
    from headrace.pipeline.messages.suppression_lists import export_suppressions

    async def work(store: Store) -> str:
        owner = await find_project(store, project)
        pieces = export_suppressions(store.messages.suppressions, owner.id)
        if output is not None:
            await _write_file(output, pieces)
            return ""
        kept: list[str] = []
        async for piece in pieces:
            if as_json:
                kept.append(piece)
            else:
                typer.echo(piece, nl=False)
        return "".join(kept)

    text = in_store(settings, work)
    if as_json:
        print_json({"csv": text} if output is None else {"output": str(output)})


async def _write_file(path: Path, pieces: AsyncIterator[str]) -> None:
    try:
        descriptor = create_private(path)
    except OSError as error:
        raise CommandFailed(f"{path} cannot be created: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as written:
        async for piece in pieces:
            written.write(piece.encode())


def _address(text: str) -> str:
    from headrace.domain.email import normalize_email

    try:
        return normalize_email(text)
    except ValueError as error:
        raise usage(f"{text!r} {error}") from None
