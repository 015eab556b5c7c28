"""`headrace send`: one event over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from headrace.cli.shared.failure import usage
from headrace.cli.shared.http_client import ask, client_of
from headrace.cli.shared.input import standard_input
from headrace.cli.shared.output import AsJson, print_json
from headrace.cli.shared.settings import CLIENT, with_settings
from headrace.config import Settings


@with_settings(*CLIENT)
def send(  # noqa: PLR0913, PLR0917 - one parameter a flag
    settings: Settings,
    event: Annotated[str, typer.Option(help="Name of the event.")],
    external_id: Annotated[str, typer.Option(help="Your own ID for the person.")] = "",
    email: Annotated[str, typer.Option(help="E-mail address of the person.")] = "",
    contact_id: Annotated[str, typer.Option(help="Headrace's ID of the contact.")] = "",
    payload: Annotated[
        str,
        typer.Option(
            help="A JSON object, @FILE to read one from a file, or @- for standard input."
        ),
    ] = "",
    occurred_at: Annotated[str, typer.Option(help="RFC 3339 time; now if omitted.")] = "",
    idempotency_key: Annotated[
        str, typer.Option(help="Key of this event; sending it again creates no duplicate.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Send one event.

    Example: headrace send --event order.completed --external-id u1 --payload '{"total": 49.9}'
    """
    members: dict[str, Any] = {
        "event": event,
        "external_id": external_id,
        "email": email,
        "contact_id": contact_id,
        "occurred_at": occurred_at,
        "idempotency_key": idempotency_key,
    }
    body = {name: value for name, value in members.items() if value}
    if payload:
        body["payload"] = payload_of(payload)
    sent = ask(client_of(settings), "POST", "/events", msgspec.json.encode(body))
    response = sent.json()
    if "idempotency-mismatch" in sent.headers:
        typer.echo(
            "headrace: the event stored first with this key has other content; it is kept", err=True
        )
    if as_json:
        print_json(response)
        return
    data = response["data"]
    word = "duplicate: already stored as" if "deduplicated" in data else "accepted as"
    typer.echo(f"{word} {data['id']}")


def payload_of(text: str) -> msgspec.Raw:
    """The value of `--payload`.

    Raises:
        CommandFailed: it cannot be read, or is no JSON.
    """
    try:
        if text == "@-":
            raw = standard_input().read()
        elif text.startswith("@"):
            raw = Path(text[1:]).read_bytes()
        else:
            raw = text.encode()
        msgspec.json.decode(raw)
    except OSError as error:
        raise usage(f"--payload: {text[1:]} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise usage(f"--payload is not valid JSON: {error}") from None
    return msgspec.Raw(raw)
