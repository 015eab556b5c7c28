"""`headrace tail`: events as they are accepted."""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlencode

import msgspec
import typer

from headrace.cli.events.shown import event_line
from headrace.cli.shared.durations import duration_us
from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.http_client import Client, Unreachable, ask, client_of, error_text
from headrace.cli.shared.output import AsJson
from headrace.cli.shared.settings import CLIENT, with_settings
from headrace.config import Settings
from headrace.domain.timestamps import to_text

RECONNECT_SECONDS = 1.0
#: The server sends a heartbeat every 15 s; three missing ones mean that it is gone.
SILENCE_SECONDS_MAX = 45.0
#: Kind of the message that leads those of a connection.
CONNECTED = "connected"
#: What can be the start of a name.
_NAMES = re.compile(r"[a-z0-9_.]*(?:(?<=\.)\*)?|\*")
#: Events that `--since` shows.
EARLIER_MAX = 1000
#: A line of the stream holds one event, with a payload of at most 1 MiB.
LINE_BYTES_MAX = 8 * 1024 * 1024


class _Page(msgspec.Struct):
    """A page of `GET /events`."""

    data: list[msgspec.Raw]
    next_cursor: str | None


class Message(msgspec.Struct, frozen=True):
    """One server-sent event."""

    kind: str
    data: bytes


@with_settings(*CLIENT)
def tail(
    settings: Settings,
    event: Annotated[
        str, typer.Option(help="Only this name, prefix (order.*) or start of a name (order.).")
    ] = "",
    limit: Annotated[
        int, typer.Option(min=0, help="Stop after this many events; 0 means never.")
    ] = 0,
    since: Annotated[
        str,
        typer.Option(
            help="First show events received in this time, such as 15m or 2h; the newest 1,000."
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Show events as they are accepted, until Ctrl-C. Reconnects after a restart of the server.

    Example: headrace tail --event order. --since 15m
    """
    if event and _NAMES.fullmatch(event) is None:
        raise usage(
            f"--event must be a name, a prefix such as order.*, or its start, got {event!r}"
        )
    client = client_of(settings, SILENCE_SECONDS_MAX)
    left = limit or None
    try:
        for message in _with_earlier(settings, messages(client), since):
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


def _with_earlier(
    settings: Settings, following: Iterator[Message], since: str
) -> Iterator[Message]:
    """The messages of a stream, after earlier events; each event once."""
    if not since:
        yield from following
        return
    after_us = time.time_ns() // 1000 - duration_us(since)
    # Read once the stream is open, so that none is missed between the two.
    first = next(following)
    assert first.kind == CONNECTED
    shown = []
    for data in _earlier(client_of(settings), after_us):
        shown.append(str(msgspec.json.decode(data)["id"]))
        yield Message("event", data)
    recent = frozenset(shown)
    for message in following:
        if message.kind == "event" and msgspec.json.decode(message.data)["id"] in recent:
            continue
        yield message


def _earlier(client: Client, after_us: int) -> list[bytes]:
    """The newest events received since, oldest first, each as the JSON text of the API."""
    query = {"received_after": to_text(after_us), "limit": "200"}
    found: list[bytes] = []
    while len(found) < EARLIER_MAX:
        response = ask(client, "GET", f"/events?{urlencode(query)}")
        page = msgspec.json.decode(response.body, type=_Page)
        found += [bytes(each) for each in page.data]
        if page.next_cursor is None:
            break
        query["cursor"] = page.next_cursor
    return found[:EARLIER_MAX][::-1]


def _show(data: bytes, prefix: str, *, as_json: bool) -> bool:
    members = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    payload = bytes(members.pop("payload")).decode()
    event = {name: msgspec.json.decode(value) for name, value in members.items()}
    if not str(event["event"]).startswith(prefix.removesuffix("*")):
        return False
    one_line = payload.replace("\n", " ").replace("\r", " ")
    if as_json:
        typer.echo(data.replace(b"\n", b" ").replace(b"\r", b" ").decode())
    else:
        typer.echo(event_line(event, one_line))
    return True


def messages(client: Client) -> Iterator[Message]:
    """Messages of one connection after another, each led by `CONNECTED`; never ends."""
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
            yield Message(CONNECTED, b"")
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
