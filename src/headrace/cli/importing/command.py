"""The import command: its file, target and report."""

from __future__ import annotations

import contextlib
import gzip
import secrets
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Annotated, cast

import typer

from headrace.cli.access.key import ProjectName
from headrace.cli.importing.csv_file import read_records
from headrace.cli.importing.job import ImportJob, RejectedLines
from headrace.cli.importing.kinds import CONTACTS, EVENTS, Kind
from headrace.cli.importing.lines import FINGERPRINT_CHARACTERS, Line, fingerprint, read_lines
from headrace.cli.importing.local_server import local_server
from headrace.cli.importing.sender import Sender
from headrace.cli.importing.state import State, StateFile
from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.http_client import Client
from headrace.cli.shared.input import standard_input
from headrace.cli.shared.output import AsJson, print_json
from headrace.cli.shared.progress import progress
from headrace.cli.shared.settings import CLIENT, STORE, given, with_settings
from headrace.cli.shared.stores import DEFAULT_PROJECT
from headrace.config import Settings
from headrace.domain.access.api_keys import PREFIX, PUBLIC_ID_CHARACTERS
from headrace.private_files import open_to_others

STDIN = "-"
_GZIP = ".gz"
_REJECTED = ".rejected.ndjson"
#: A dry run has its own file, so that it does not overwrite the one of a real run.
_REJECTED_DRY = ".rejected.dry-run.ndjson"


@with_settings(*STORE, *CLIENT)
def import_(
    settings: Settings,
    file: Annotated[
        str, typer.Argument(help="File with one event or contact per line; - reads standard input.")
    ],
    contacts: Annotated[
        bool,
        typer.Option(
            "--contacts",
            help="Import contacts instead of events; CSV if the name ends in .csv or .tsv.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --contacts: write nothing, only report.")
    ] = False,
    project: ProjectName = DEFAULT_PROJECT,
    rename: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help="With --contacts and CSV: a name in the header and the column it stands for, such "
            "as 'E-Mail=email' or 'Seats=seats:number'; nothing after = leaves it out.",
        ),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Start over, ignoring saved progress.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Import events, one JSON object per line with the fields of POST /events; or contacts.

    With an API key it imports over HTTP, else into the store directly; no server may use the store
    then. Run it again after an interruption to continue; nothing is stored twice. A contact is
    found by its external_id, else by its email, and created if it does not exist.

    Example: headrace import events.ndjson

    Example: headrace import --contacts people.csv --dry-run
    """
    if dry_run and not contacts:
        raise usage("--dry-run works with --contacts only; POST /events/validate checks an event.")
    renamed = _renamed(rename or [])
    if renamed and not (contacts and _is_csv(Path(file))):
        raise usage("--map works with --contacts and a file that is CSV only.")
    kind = CONTACTS if contacts else EVENTS
    if given(settings, "url") and not settings.key:
        raise usage("--url needs an API key: pass --key or set HEADRACE_KEY.")
    with _opened(file) as (source, path), _target(settings, project, kind) as (client, target):
        state, save, finish = _state(None if dry_run else path, target, restart=restart)
        rejections = RejectedLines(_beside(path, _REJECTED_DRY if dry_run else _REJECTED))
        rejections.reset(state.rejected_bytes)
        prefix = f"import:{state.fingerprint}"
        sender = Sender(client, path=f"{kind.path}?dry_run=true" if dry_run else kind.path)
        job = ImportJob(sender, state, rejections, kind=kind, key_prefix=prefix, save=save)
        lines = _lines(source, path, state, kind, renamed)
        with progress("Importing", total=_size(path)) as advance_to:
            try:
                job.run(lines, lambda now: advance_to(now.offset, f"{now.decided} lines"))
            except KeyboardInterrupt:
                hint = "" if path is None else "; run the same command again to continue"
                typer.echo(f"headrace: interrupted{hint}", err=True)
                raise
        finish()
    _report(state, kind, rejections.path, as_json=as_json)


def _lines(
    source: IO[bytes], path: Path | None, state: State, kind: Kind, renamed: dict[str, str]
) -> Iterator[Line]:
    """The lines still to send after an earlier run."""
    if kind is CONTACTS and path is not None and _is_csv(path):
        return read_records(source, number=state.line, offset=state.offset, renamed=renamed)
    if path is not None:
        source.seek(state.offset)
    return read_lines(source, number=state.line, offset=state.offset)


def _is_csv(path: Path) -> bool:
    name = path.name.lower().removesuffix(_GZIP)
    return name.endswith((".csv", ".tsv"))


def _renamed(texts: list[str]) -> dict[str, str]:
    """The pairs of `--map`."""
    pairs = [text.rpartition("=") for text in texts]
    for text, (name, _, _) in zip(texts, pairs, strict=True):
        if not name:
            raise usage(f"--map {text!r} is not of the form NAME=COLUMN.")
    return {name: column for name, _, column in pairs}


def _state(
    path: Path | None, target: str, *, restart: bool
) -> tuple[State, Callable[[State], None], Callable[[], None]]:
    """`(initial state, how to save it, what to do at the end)`."""
    if path is None:
        # Standard input cannot be read again, so its keys only have to be unique.
        name = secrets.token_hex(FINGERPRINT_CHARACTERS // 2)
        return State(name, target), lambda _: None, lambda: None
    kept = StateFile(path)
    if restart:
        kept.remove()
    return kept.load(State(fingerprint(path), target)), kept.save, kept.remove


@contextlib.contextmanager
def _opened(name: str) -> Iterator[tuple[IO[bytes], Path | None]]:
    if name == STDIN:
        yield standard_input(), None
        return
    path = Path(name)
    try:
        source = path.open("rb")
        if not source.seekable():
            raise usage(f"{name} cannot be read twice; pipe it into: headrace import -")
    except OSError as error:
        raise usage(f"{name} cannot be read: {error.strerror}") from None
    with source:
        if not name.lower().endswith(_GZIP):
            yield source, path
            return
        try:
            with gzip.GzipFile(fileobj=source) as unpacked:
                yield cast("IO[bytes]", unpacked), path
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise CommandFailed(f"{name} is not complete gzip data: {error}") from None


@contextlib.contextmanager
def _target(settings: Settings, project: str, kind: Kind) -> Iterator[tuple[Client, str]]:
    """The client to send with, and the target's name in the state file."""
    what = "" if kind is EVENTS else f", {kind.name}"
    if settings.key:
        # The key's public part identifies the project, which only the server knows.
        public = settings.key[: len(PREFIX) + 1 + PUBLIC_ID_CHARACTERS]
        yield Client(settings.url, settings.key), f"{settings.url} as {public}{what}"
        return
    from headrace.observability.logs import configure_logs
    from headrace.stores import store_url

    configure_logs("error", "auto")
    with local_server(settings, project, kind.scope) as (url, key):
        yield Client(url, key), f"{store_url(settings.store).shown} project {project}{what}"


def _beside(path: Path | None, ending: str) -> Path:
    return Path(f"stdin{ending}") if path is None else path.with_name(path.name + ending)


def _size(path: Path | None) -> int:
    # The position in a packed file says nothing about its size unpacked.
    packed = path is None or path.name.lower().endswith(_GZIP)
    return 0 if path is None or packed else path.stat().st_size


def _report(state: State, kind: Kind, rejected: Path, *, as_json: bool) -> None:
    counts = {name: state.counts.get(name, 0) for name in kind.counts}
    if as_json:
        rejected_file = str(rejected) if counts["rejected"] else None
        print_json({"lines": state.decided, **counts, "rejected_file": rejected_file})
    else:
        typer.echo(f"{state.decided} lines: {kind.report.format(**counts)}")
    if counts.get("mismatched"):
        typer.echo(
            f"headrace: {counts['mismatched']} duplicates differ from the event stored "
            "first with their key; the stored event is kept",
            err=True,
        )
    if counts["rejected"]:
        if open_to_others(rejected):
            hint = f"other users can read the rejected lines; run: chmod 600 {rejected}"
            typer.echo(f"headrace: {hint}", err=True)
        lines = "1 line was" if counts["rejected"] == 1 else f"{counts['rejected']} lines were"
        raise CommandFailed(f"{lines} rejected; see {rejected}")
