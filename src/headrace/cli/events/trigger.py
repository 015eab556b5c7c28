"""`headrace trigger`: sends a made-up event, to try receivers."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

import msgspec
import typer

from headrace.cli.events.send import payload_of
from headrace.cli.shared.http_client import ask, client_of
from headrace.cli.shared.output import AsJson, print_json
from headrace.cli.shared.settings import CLIENT, with_settings
from headrace.config import Settings

#: Payloads for names that many projects have; others get `{"test": true}`.
SAMPLES: dict[str, dict[str, Any]] = {
    "cart.updated": {"cart_id": "c-1001", "items": 2, "total": 59.8, "currency": "EUR"},
    "order.completed": {"order_id": "A-1001", "total": 49.9, "currency": "EUR"},
    "order.refunded": {"order_id": "A-1001", "amount": 49.9, "reason": "damaged"},
    "payment.failed": {"invoice_id": "I-1001", "amount": 49.9, "code": "card_declined"},
    "subscription.started": {"plan": "pro", "seats": 5, "trial": True},
    "user.signed_up": {"plan": "free", "$set": {"plan": "free"}},
}


@with_settings(*CLIENT)
def trigger(
    settings: Settings,
    event: Annotated[str, typer.Argument(metavar="NAME", help="Name of the event.")],
    external_id: Annotated[
        str, typer.Option(help="Your own ID for the person; a sample person if omitted.")
    ] = "",
    payload: Annotated[
        str,
        typer.Option(help="A JSON object, @FILE or @- for standard input; a sample if omitted."),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Send a sample event, as a real one: it is stored, processed and delivered.

    Each call sends a new event, with an idempotency key of its own. Together with
    `headrace listen` it shows a signed webhook on your machine.

    Example: headrace trigger order.completed
    """
    body = {
        "event": event,
        "external_id": external_id or "sample-user",
        "payload": payload_of(payload) if payload else SAMPLES.get(event, {"test": True}),
        "idempotency_key": f"trigger-{secrets.token_hex(8)}",
    }
    response = ask(client_of(settings), "POST", "/events", msgspec.json.encode(body)).json()
    if as_json:
        print_json(response)
        return
    typer.echo(f"accepted as {response['data']['id']}")
