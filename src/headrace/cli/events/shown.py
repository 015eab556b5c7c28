"""Display of events: one line each, or field by field."""

from __future__ import annotations

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
    """A line for each trace entry, with its error below."""
    for entry in entries:
        typer.echo(f"{entry['at']}  {printable(entry['text'])}")
        if "error" in entry:
            cause, error = printable(entry.get("cause", "")), printable(entry["error"])
            # Processing errors begin with their cause.
            typer.echo(f"{'':26}{error if error.startswith(cause) else f'{cause}: {error}'}")
