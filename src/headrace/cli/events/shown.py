"""Display of events: one line each, or field by field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from headrace.cli.shared.output import printable

#: Characters of a payload in one line of a list.
PAYLOAD_CHARACTERS_MAX = 120


def event_line(event: dict[str, Any], payload: str) -> str:
    """One line about an event; `event` as in the API, `payload` its JSON text."""
    who = next(
        (f"{name}={event[name]}" for name in ("contact_id", "external_id", "email") if event[name]),
        "-",
    )
    shown = (
        payload
        if len(payload) <= PAYLOAD_CHARACTERS_MAX
        else f"{payload[:PAYLOAD_CHARACTERS_MAX]}…"
    )
    return printable(f"{event['received_at']}  {event['id']}  {event['event']}  {who}  {shown}")


def print_event(event: dict[str, Any], payload: str) -> None:
    """Each field on its own line, the payload last."""
    for name, value in event.items():
        if name != "payload":
            typer.echo(f"{name:16} {'-' if value is None else printable(str(value))}")
    typer.echo(f"{'payload':16} {printable(payload)}")


def print_trace(entries: list[dict[str, Any]]) -> None:
    """A line for each trace entry; below it its error, and request and response of a webhook."""
    for entry in entries:
        typer.echo(f"{entry['at']}  {printable(entry['text'])}")
        if "error" in entry:
            cause, error = printable(entry.get("cause", "")), printable(entry["error"])
            # Processing errors begin with their cause.
            typer.echo(f"{'':26}{error if error.startswith(cause) else f'{cause}: {error}'}")
        for line in _exchange_lines(entry):
            typer.echo(f"{'':26}{printable(line)}")


def _exchange_lines(entry: dict[str, Any]) -> Iterator[str]:
    """As `curl -v` shows them: what was sent after `>`, what came back after `<`."""
    request = entry.get("request")
    if request is not None:
        yield f"> {request['method']} {request['url']}"
        yield from (f"> {name}: {value}" for name, value in request["headers"].items())
    if "http_status" in entry:
        yield f"< {entry['http_status']}"
        headers = entry.get("response_headers", {})
        yield from (f"< {name}: {value}" for name, value in headers.items())
    for line in entry.get("excerpt", "").splitlines():
        yield f"  {line}"
