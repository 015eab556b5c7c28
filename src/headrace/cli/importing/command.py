"""The command itself: which file, to whom, and what it reports."""

from __future__ import annotations

import contextlib
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Annotated

import msgspec
import typer

from headrace.cli.failure import CommandFailed, usage
from headrace.cli.http_client import Client
from headrace.cli.importing.job import ImportJob, Refusals
from headrace.cli.importing.lines import FINGERPRINT_CHARACTERS, fingerprint, read_lines
from headrace.cli.importing.local_server import local_server
from headrace.cli.importing.sender import Sender
from headrace.cli.importing.state import State, StateFile
from headrace.cli.key import ProjectName
from headrace.cli.output import AsJson, print_json
from headrace.cli.progress import progress
from headrace.cli.settings import CLIENT, STORE, given, with_settings
from headrace.cli.stores import DEFAULT_PROJECT
from headrace.config import Settings
from headrace.domain.api_keys import PREFIX, PUBLIC_ID_CHARACTERS

STDIN = "-"


@with_settings(*STORE, *CLIENT)
def import_(
    settings: Settings,
    file: Annotated[str, typer.Argument(help="File with one event a line; - is standard input.")],
    project: ProjectName = DEFAULT_PROJECT,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew, whatever an earlier run left.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Import events, one JSON object a line, as POST /events takes them.

    With an API key over HTTP, else straight into the store, which no server may be using then.
    Run it again after an interruption and it goes on; nothing is stored twice.

    Example: headrace import events.ndjson
    """
    if given(settings, "url") and not settings.key:
        raise usage("--url needs an API key: pass --key or set HEADRACE_KEY.")
    with _opened(file) as (source, path), _target(settings, project) as (client, target):
        state, save, finish = _state(path, target, restart=restart)
        refusals = Refusals(_beside(path, ".rejected.ndjson"))
        refusals.reset(state.rejected_bytes)
        if path is not None:
            source.seek(state.offset)
        prefix = f"import:{state.fingerprint}"
        job = ImportJob(Sender(client), state, refusals, key_prefix=prefix, save=save)
        lines = read_lines(source, number=state.line, offset=state.offset)
        with progress("Importing", total=_size(path)) as advance_to:
            try:
                job.run(lines, lambda now: advance_to(now.offset, f"{now.counts.lines} lines"))
            except KeyboardInterrupt:
                hint = "" if path is None else "; run the same command again to go on"
                typer.echo(f"headrace: interrupted{hint}", err=True)
                raise
        finish()
    _report(state, refusals.path, as_json=as_json)


def _state(
    path: Path | None, target: str, *, restart: bool
) -> tuple[State, Callable[[State], None], Callable[[], None]]:
    """`(state to begin with, how to save it, what to do at the end)`."""
    if path is None:
        # Standard input cannot be read again, so its keys need only be new.
        name = secrets.token_hex(FINGERPRINT_CHARACTERS // 2)
        return State(name, target), lambda _: None, lambda: None
    kept = StateFile(path)
    if restart:
        kept.remove()
    return kept.load(State(fingerprint(path), target)), kept.save, kept.remove


@contextlib.contextmanager
def _opened(name: str) -> Iterator[tuple[IO[bytes], Path | None]]:
    if name == STDIN:
        yield sys.stdin.buffer, None
        return
    path = Path(name)
    try:
        source = path.open("rb")
        if not source.seekable():
            raise usage(f"{name} cannot be read twice; pipe it into: headrace import -")
    except OSError as error:
        raise usage(f"{name} cannot be read: {error.strerror}") from None
    with source:
        yield source, path


@contextlib.contextmanager
def _target(settings: Settings, project: str) -> Iterator[tuple[Client, str]]:
    """Whom to send to, and the name of that for the state."""
    if settings.key:
        # The key's public part stands for the project, which only the server knows.
        public = settings.key[: len(PREFIX) + 1 + PUBLIC_ID_CHARACTERS]
        yield Client(settings.url, settings.key), f"{settings.url} as {public}"
        return
    from headrace.observability.logs import configure_logs

    configure_logs("error", "auto")
    with local_server(settings, project) as (url, key):
        yield Client(url, key), f"{settings.store} project {project}"


def _beside(path: Path | None, ending: str) -> Path:
    return Path(f"stdin{ending}") if path is None else path.with_name(path.name + ending)


def _size(path: Path | None) -> int:
    return 0 if path is None else path.stat().st_size


def _report(state: State, rejected: Path, *, as_json: bool) -> None:
    counts = state.counts
    if as_json:
        refused = str(rejected) if counts.rejected else None
        print_json(
            {"lines": counts.lines, **msgspec.structs.asdict(counts), "rejected_file": refused}
        )
    else:
        typer.echo(
            f"{counts.lines} lines: {counts.accepted} accepted, {counts.deduplicated} duplicates, "
            f"{counts.rejected} rejected"
        )
    if counts.mismatched:
        typer.echo(
            f"headrace: {counts.mismatched} duplicates say something else than the event stored "
            "first under their key; the first one stays",
            err=True,
        )
    if counts.rejected:
        refused = "1 line was" if counts.rejected == 1 else f"{counts.rejected} lines were"
        raise CommandFailed(f"{refused} refused; see {rejected}")
