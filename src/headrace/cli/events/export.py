"""`headrace export`: events as newline-delimited JSON, oldest first, read from the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Annotated, Literal

import msgspec
import typer

from headrace.cli.access.key import ProjectName
from headrace.cli.shared.failure import usage
from headrace.cli.shared.output import AsJson, print_json
from headrace.cli.shared.progress import progress
from headrace.cli.shared.settings import STORE, with_settings
from headrace.cli.shared.stores import DEFAULT_PROJECT, find_project, in_store
from headrace.cli.upkeep.destination import destination, is_standard_output
from headrace.config import Settings
from headrace.domain.deliveries.subscriptions import check_filter, pattern_wants
from headrace.domain.events.event import Source, Status, StoredEvent
from headrace.domain.ids import first_sequence_at, uuid_text
from headrace.domain.timestamps import parse, to_text
from headrace.store.store import Store

PAGE_EVENTS = 500
StatusName = Literal["accepted", "processing", "retrying", "processed", "dead_lettered"]
#: Steps of the progress bar, which follows the time received: counting the events would be slow.
_STEPS = 1000
#: Inside a JSON payload line breaks are only white space between tokens, never part of a string.
_LINE_ENDS = bytes.maketrans(b"\r\n", b"  ")


@with_settings(*STORE)
def export(  # noqa: PLR0913, PLR0917 - one parameter a flag
    settings: Settings,
    event: Annotated[str, typer.Option(help="Only events of this name or prefix (order.*).")] = "",
    since: Annotated[
        str, typer.Option(help="Only events received at or after this RFC 3339 time.")
    ] = "",
    until: Annotated[str, typer.Option(help="Only events received before this time.")] = "",
    status: Annotated[
        StatusName | None, typer.Option(help="Only events in this processing status.")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=0, help="Stop after this many events; 0 means never.")
    ] = 0,
    output: Annotated[
        Path | None, typer.Option(help="File to write; standard output if omitted.")
    ] = None,
    importable: Annotated[
        bool, typer.Option("--importable", help="Only the fields that import accepts.")
    ] = False,
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Export events as lines of JSON, oldest first. Works beside a running server.

    Example: headrace export --since 2026-06-01T00:00:00Z --output events.ndjson
    """
    if output is not None and is_standard_output(output):
        output = None
    _check_name(event)
    if as_json and output is None:
        raise usage("--json prints a report about the file; name the file with --output.")
    start, before_us = _start(since), _moment("--until", until)
    wanted = _Wanted(event, before_us, None if status is None else Status[status.upper()], limit)

    async def write(store: Store, file: IO[bytes]) -> int:
        owner = await find_project(store, project)
        count = 0
        async for stored in _events(store, owner.id, start):
            if wanted.has_ended(stored, count):
                break
            line = _line(stored, importable=importable) if wanted.has(stored) else None
            if line is not None:
                file.write(line + b"\n")
                count += 1
        return count

    # Opened before the loop runs: a pipe may block until it has a reader, and Ctrl-C must end that.
    with destination(output) as file:
        count = in_store(settings, lambda store: write(store, file))
    if as_json:
        print_json({"events": count, "output": str(output)})
    elif output is not None:
        typer.echo(f"Wrote {count} events to {output}.")


def _check_name(event: str) -> None:
    """Reject a name that no event can have, which would find nothing."""
    try:
        check_filter(event) if event else None
    except ValueError as error:
        raise usage(f"--event {error}, got {event!r}") from None


def _start(since: str) -> int:
    if not since:
        return 0
    return max(0, first_sequence_at(_moment("--since", since) or 0) - 1)


def _moment(option: str, text: str) -> int | None:
    try:
        return parse(text) if text else None
    except ValueError as error:
        raise usage(f"{option} {error}, got {text!r}") from None


class _Wanted(msgspec.Struct, frozen=True):
    """Which events to export, and where to end."""

    event: str
    before_us: int | None
    status: int | None
    #: 0: no limit.
    limit: int

    def has(self, stored: StoredEvent) -> bool:
        if self.before_us is not None and stored.received_us >= self.before_us:
            return False
        named = not self.event or pattern_wants(self.event, stored.event)
        return named and self.status in {None, stored.status}

    def has_ended(self, stored: StoredEvent, count: int) -> bool:
        """Whether nothing from this event on is wanted."""
        if self.limit and count >= self.limit:
            return True
        # A sequence holds its time of receipt, but another server's clock may have been ahead.
        slack_us = 60_000_000
        return self.before_us is not None and stored.sequence >= first_sequence_at(
            self.before_us + slack_us
        )


async def _events(store: Store, project_id: int, start: int) -> AsyncIterator[StoredEvent]:
    """Events above `start` up to the newest at the time of the call, so that it ends."""
    last = await store.events.last_sequence()
    position, first = start, None
    with progress("Exporting", total=_STEPS) as advance_to:
        while page := await store.events.after(project_id, position, PAGE_EVENTS):
            for stored in page:
                if stored.sequence > last:
                    return
                yield stored
            position = page[-1].sequence
            first = page[0].sequence if first is None else first
            advance_to(_STEPS * (position - first) // max(1, last - first), "")


def _line(event: StoredEvent, *, importable: bool) -> bytes | None:
    from headrace.app import event_text

    if not importable:
        return event_text(event).translate(_LINE_ENDS)
    if event.source == Source.SYSTEM:
        return None
    return _sent(event)


def _sent(event: StoredEvent) -> bytes:
    members = {
        "event": event.event,
        "contact_id": event.contact_id,
        "external_id": event.external_id,
        "email": event.email_original or event.email,
        # In microseconds, so that importing it again gives an identical event.
        "occurred_at": f"{to_text(event.occurred_us)[:-1]}{event.occurred_us % 1000:03d}Z",
        "idempotency_key": event.idempotency_key or f"export:{uuid_text(event.id)}",
        "payload": msgspec.Raw(event.payload.encode()),
    }
    sent = {name: value for name, value in members.items() if value is not None}
    return msgspec.json.encode(sent).translate(_LINE_ENDS)
