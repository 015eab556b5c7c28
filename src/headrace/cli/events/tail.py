"""`headrace tail`: events as they are accepted."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from typing import Annotated

import msgspec
import typer

from headrace.cli.events.shown import event_line
from headrace.cli.shared.failure import CommandFailed
from headrace.cli.shared.http_client import Client, Unreachable, client_of, error_text
from headrace.cli.shared.output import AsJson
from headrace.cli.shared.settings import CLIENT, with_settings
from headrace.config import Settings

RECONNECT_SECONDS = 1.0
#: The server sends a heartbeat every 15 s; three missing ones mean that it is gone.
SILENCE_SECONDS_MAX = 45.0
#: A line of the stream holds one event, with a payload of at most 1 MiB.
LINE_BYTES_MAX = 8 * 1024 * 1024


class Message(msgspec.Struct, frozen=True):
    """One server-sent event."""

    kind: str
    data: bytes


@with_settings(*CLIENT)
def tail(
    settings: Settings,
    event: Annotated[str, typer.Option(help="Only names that start with this text.")] = "",
    limit: Annotated[
        int, typer.Option(min=0, help="Stop after this many events; 0 means never.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Show events as they are accepted, until Ctrl-C. Reconnects after a restart of the server.

    Example: headrace tail --event order.
    """
    client = client_of(settings, SILENCE_SECONDS_MAX)
    left = limit or None
    try:
        for message in _messages(client):
            if message.kind == "missed":
                count = msgspec.json.decode(message.data)["count"]
                typer.echo(
                    f"headrace: {count} events skipped because they arrived too fast", err=True
                )
            if message.kind != "event" or not _show(message.data, event, as_json=as_json):
                continue
            left = None if left is None else left - 1
            if left == 0:
                return
    except KeyboardInterrupt:
        return


def _show(data: bytes, prefix: str, *, as_json: bool) -> bool:
    members = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    payload = bytes(members.pop("payload")).decode()
    event = {name: msgspec.json.decode(value) for name, value in members.items()}
    if not str(event["event"]).startswith(prefix):
        return False
    one_line = payload.replace("\n", " ").replace("\r", " ")
    if as_json:
        typer.echo(data.replace(b"\n", b" ").replace(b"\r", b" ").decode())
    else:
        typer.echo(event_line(event, one_line))
    return True


def _messages(client: Client) -> Iterator[Message]:
    """Messages of one connection after another; never ends."""
    connected = reported = False
    while True:
        try:
            response = client.open("GET", "/events/stream")
            if response.status in {429, 503}:
                raise Unreachable(f"{client.url} returned {response.status}")
            if response.status != 200:
                reason = error_text(msgspec.json.decode(response.read(65536) or b"null"))
                raise CommandFailed(f"{response.status} {reason}")
            typer.echo(f"headrace: watching {client.url}", err=True)
            connected, reported = True, False
            yield from _parse(response)
            raise Unreachable(f"{client.url} closed the stream")
        except (Unreachable, OSError, http.client.HTTPException) as error:
            client.close()
            if not connected:
                raise CommandFailed(str(error)) from None
            if not reported:
                typer.echo(f"headrace: {error}; reconnecting", err=True)
            reported = True
            time.sleep(RECONNECT_SECONDS)


def _parse(response: http.client.HTTPResponse) -> Iterator[Message]:
    kind, data = "", []
    while line := response.readline(LINE_BYTES_MAX):
        name, _, value = line.rstrip(b"\r\n").partition(b": ")
        if name == b"event":
            kind = value.decode()
        elif name == b"data":
            data.append(value)
        elif not name and not value and line.strip() == b"":
            if data:
                yield Message(kind, b"\n".join(data))
            kind, data = "", []
