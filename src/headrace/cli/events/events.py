"""`headrace events`: list, show and send again stored events."""

from __future__ import annotations

import uuid
from typing import Annotated
from urllib.parse import quote

import msgspec
import typer

from headrace.cli.access.key import ProjectName
from headrace.cli.events.resend import resend
from headrace.cli.events.shown import print_event, print_trace
from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.http_client import ask, client_of
from headrace.cli.shared.listing import Limit, print_list
from headrace.cli.shared.output import AsJson
from headrace.cli.shared.settings import CLIENT, STORE, with_settings
from headrace.cli.shared.stores import DEFAULT_PROJECT, find_project, in_store
from headrace.config import Settings
from headrace.domain.ids import UUID_TEXT
from headrace.store.contract.trace import TraceFacts
from headrace.store.store import Store

app = typer.Typer(help="List, show and send again stored events.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """List, show and send again stored events."""


@app.command("list")
@with_settings(*CLIENT)
def list_(  # noqa: PLR0913, PLR0917 - one parameter a flag
    settings: Settings,
    event: Annotated[str, typer.Option(help="Only this name or prefix (order.*).")] = "",
    status: Annotated[str, typer.Option(help="Only in this processing status.")] = "",
    delivery_status: Annotated[
        str, typer.Option(help="Only none, pending, delivered, partly_failed or failed.")
    ] = "",
    contact_id: Annotated[str, typer.Option(help="Only of this contact.")] = "",
    external_id: Annotated[str, typer.Option(help="Only sent with this external_id.")] = "",
    email: Annotated[str, typer.Option(help="Only sent with this address.")] = "",
    since: Annotated[str, typer.Option(help="Only received at or after this RFC 3339 time.")] = "",
    until: Annotated[str, typer.Option(help="Only received before this RFC 3339 time.")] = "",
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List events, newest first. All given filters must match.

    Example: headrace events list --event 'order.*' --delivery-status failed
    """
    query = {
        "event": event,
        "status": status,
        "delivery_status": delivery_status,
        "contact_id": contact_id,
        "external_id": external_id,
        "email": email,
        "received_after": since,
        "received_before": until,
    }
    columns = ("received_at", "id", "event", "status", "delivery_status", "external_id", "email")
    print_list(settings, "/events", query, columns, limit=limit, as_json=as_json)


@app.command()
@with_settings(*STORE, *CLIENT)
def show(
    settings: Settings,
    event_id: Annotated[str, typer.Argument(metavar="[ID]", help="ID of the event.")] = "",
    idempotency_key: Annotated[
        str, typer.Option(help="Look up by this idempotency key instead.")
    ] = "",
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Show one event and its trace: over HTTP with an API key, else from the store.

    Example: headrace events show --idempotency-key order-A-1001
    """
    if bool(event_id) == bool(idempotency_key):
        raise usage("Pass either the ID of the event or --idempotency-key.")
    if event_id and UUID_TEXT.fullmatch(event_id) is None:
        raise usage(
            f"{event_id!r} is not a valid event ID. To look up by key use --idempotency-key."
        )
    if settings.key:
        event, entries = _over_http(settings, event_id, idempotency_key)
    else:
        event, entries = _from_store(settings, project, event_id, idempotency_key)
    if as_json:
        # Joined as text, so that the payload keeps the exact bytes that were sent.
        typer.echo(f'{event.decode().removesuffix("}")},"trace":{entries.decode()}}}')
        return
    members = msgspec.json.decode(event, type=dict[str, msgspec.Raw])
    payload = bytes(members.pop("payload")).decode()
    print_event({name: msgspec.json.decode(raw) for name, raw in members.items()}, payload)
    typer.echo("")
    print_trace(msgspec.json.decode(entries))


app.command()(resend)


def _over_http(settings: Settings, event_id: str, idempotency_key: str) -> tuple[bytes, bytes]:
    client = client_of(settings)
    if idempotency_key:
        path = f"/events/by-idempotency-key/{quote(idempotency_key, safe='')}"
        event_id = ask(client, "GET", path).json()["data"]["id"]
    response = ask(client, "GET", f"/events/{event_id}/trace")
    shown = msgspec.json.decode(response.body, type=dict[str, dict[str, msgspec.Raw]])["data"]
    return bytes(shown["event"]), bytes(shown["entries"])


def _from_store(
    settings: Settings, project: str, event_id: str, idempotency_key: str
) -> tuple[bytes, bytes]:
    from headrace.app import event_text
    from headrace.pipeline.trace.trace import trace_of

    async def work(store: Store) -> TraceFacts | None:
        owner = await find_project(store, project)
        wanted = uuid.UUID(event_id).bytes if event_id else b""
        if idempotency_key:
            found = await store.events.get_by_key(owner.id, idempotency_key)
            wanted = found.id if found is not None else b""
        return await store.trace.facts(owner.id, wanted) if wanted else None

    facts = in_store(settings, work)
    if facts is None:
        raise CommandFailed(f"Event not found in project {project}.")
    trace = trace_of(facts)
    return event_text(trace.event), msgspec.json.encode(trace.entries)
