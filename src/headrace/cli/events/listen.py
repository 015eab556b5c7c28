"""`headrace listen`: forwards events to a program on this machine, signed as webhooks."""

from __future__ import annotations

import http.client
import os
import time
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
import typer

from headrace.cli.events.tail import SILENCE_SECONDS_MAX, messages
from headrace.cli.shared.failure import usage
from headrace.cli.shared.http_client import client_of
from headrace.cli.shared.output import AsJson, print_json, printable
from headrace.cli.shared.settings import CLIENT, with_settings
from headrace.config import Settings
from headrace.domain.deliveries.subscriptions import check_filter, pattern_wants

#: As for webhooks.
DEADLINE_SECONDS = 15.0
#: Bytes of a response that are read.
RESPONSE_BYTES_MAX = 64 * 1024
#: Keeps the secret the same over several runs, without showing it to other users of the machine.
SECRET_VARIABLE = "HEADRACE_LISTEN_SECRET"  # noqa: S105 - a name, no secret


@with_settings(*CLIENT)
def listen(
    settings: Settings,
    forward_to: Annotated[
        str, typer.Option(help="URL to call, such as http://localhost:3000/webhooks.")
    ],
    event: Annotated[
        list[str] | None,
        typer.Option(help="Only this name or prefix (order.*); can be given several times."),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=0, help="Stop after this many calls; 0 means never.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Forward events to your program as they are accepted, as signed webhooks, until Ctrl-C.

    No webhook is created and nothing is stored: each event is sent once and not retried, and the
    URL may be on this machine. The signing secret is printed at the start;
    HEADRACE_LISTEN_SECRET chooses it. The API key needs the scope read.

    Example: headrace listen --forward-to http://localhost:3000/webhooks
    """
    target = _Target(forward_to, _secret())
    patterns = _patterns(event or [])
    client = client_of(settings, SILENCE_SECONDS_MAX)
    typer.echo(f"headrace: signing secret {target.secret}", err=True)
    left = limit or None
    try:
        for message in messages(client):
            if message.kind != "event":
                continue
            name = str(msgspec.json.decode(message.data)["event"])
            if patterns and not any(pattern_wants(pattern, name) for pattern in patterns):
                continue
            _report(message.data, *target.send(message.data), as_json=as_json)
            left = None if left is None else left - 1
            if left == 0:
                return
    except KeyboardInterrupt:
        return


def _patterns(texts: list[str]) -> list[str]:
    try:
        for text in texts:
            check_filter(text)
    except ValueError as error:
        raise usage(f"--event {error}") from None
    return texts


def _secret() -> str:
    from headrace.delivery.webhook.signing import check_secret, new_secret

    given = os.environ.get(SECRET_VARIABLE, "")
    try:
        return check_secret(given) if given else new_secret()
    except ValueError as error:
        raise usage(f"{SECRET_VARIABLE} {error}") from None


def _report(event: bytes, status: int, problem: str, took_s: float, *, as_json: bool) -> None:
    shown = msgspec.json.decode(event)
    duration_ms = round(took_s * 1000, 1)
    if as_json:
        names = ("id", "event")
        fields = {name: shown[name] for name in names}
        print_json(
            fields
            | {"http_status": status or None, "error": problem or None}
            | {"duration_ms": duration_ms}
        )
        return
    result = problem or str(status)
    typer.echo(
        printable(f"{shown['received_at']}  {shown['id']}  {shown['event']}  ")
        + f"{printable(result)}  {duration_ms} ms"
    )


class _Target:
    """The program that gets the events.

    Raises:
        CommandFailed: it is no URL.
    """

    def __init__(self, url: str, secret: str) -> None:
        self.secret = secret
        parts = urlsplit(url)
        try:
            self._port = parts.port
        except ValueError as error:
            raise usage(f"--forward-to {url!r}: {error}") from None
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise usage(f"--forward-to {url!r} is not a URL such as http://localhost:3000/webhooks")
        self._make = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._host = parts.hostname
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def send(self, event: bytes) -> tuple[int, str, float]:
        """Send an event; `(status or 0, problem or nothing, seconds)`.

        Args:
            event: JSON text as the API shows it.
        """
        from headrace.delivery.webhook.signing import signature_headers
        from headrace.domain.ids import new_uuid, uuid_text

        shown = msgspec.json.decode(event)
        body = b'{"type":%b,"timestamp":%b,"data":%b}' % (
            msgspec.json.encode(shown["event"]),
            msgspec.json.encode(shown["occurred_at"]),
            event,
        )
        signed = signature_headers(
            uuid_text(new_uuid()), body, [self.secret], time.time_ns() // 1000
        )
        headers = {"Content-Type": "application/json", "User-Agent": "Headrace"} | signed
        began = time.monotonic()
        connection = self._make(self._host, self._port, timeout=DEADLINE_SECONDS)
        try:
            connection.request("POST", self._path, body, headers)
            response = connection.getresponse()
            response.read(RESPONSE_BYTES_MAX)
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            return 0, f"no response: {reason}", time.monotonic() - began
        finally:
            connection.close()
        problem = "" if 200 <= response.status < 300 else f"failed with status {response.status}"
        return response.status, problem, time.monotonic() - began
