"""`headrace webhooks`: endpoints of a project and their deliveries."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.http_client import ask, client_of
from headrace.cli.shared.listing import Limit, print_list
from headrace.cli.shared.output import AsJson, print_json
from headrace.cli.shared.settings import CLIENT, with_settings
from headrace.config import Settings
from headrace.domain.deliveries.body_format import BodyFormat
from headrace.domain.deliveries.dead_letters import PER_SECOND_MAX
from headrace.domain.deliveries.own_headers import parse_lines
from headrace.domain.ids import UUID_TEXT

app = typer.Typer(
    help="Create, list, test, pause, resume, enable, disable and delete webhooks.",
    no_args_is_help=True,
)

WebhookId = Annotated[str, typer.Argument(metavar="ID", help="ID of the webhook.")]


@app.command("list")
@with_settings(*CLIENT)
def list_(settings: Settings, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List webhooks, newest first.

    Example: headrace webhooks list
    """
    columns = ("id", "url", "events", "enabled", "disabled_reason", "paused", "paused_until")
    print_list(settings, "/webhooks", {}, columns, limit=limit, as_json=as_json)


@app.command()
@with_settings(*CLIENT)
def create(
    settings: Settings,
    endpoint: Annotated[str, typer.Argument(metavar="URL", help="Address that gets the events.")],
    event: Annotated[
        list[str] | None,
        typer.Option(help="Name or prefix (order.*); can be given several times. All if omitted."),
    ] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    header: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'NAME: VALUE'", help="Sent with each request; can be given several times."
        ),
    ] = None,
    body_format: Annotated[
        BodyFormat | None, typer.Option("--format", help="Form of the body; headrace if omitted.")
    ] = None,
    paused: Annotated[
        bool, typer.Option("--paused", help="Let its deliveries wait until it is resumed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create a webhook; prints its ID and its secret, which is shown only once.

    Example: headrace webhooks create https://shop.example/hooks --event 'order.*'
    """
    fields: dict[str, Any] = {"url": endpoint, "events": event or ["*"]}
    if description:
        fields["description"] = description
    if header:
        fields["headers"] = _headers(header)
    if body_format is not None:
        fields["format"] = body_format.value
    if paused:
        fields["paused"] = True
    data = ask(client_of(settings), "POST", "/webhooks", msgspec.json.encode(fields)).json()["data"]
    if as_json:
        print_json(data)
        return
    typer.echo(f"id      {data['id']}\nsecret  {data['secret']}")


@app.command("test")
@with_settings(*CLIENT)
def make_test_call(settings: Settings, webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Make one signed call now, with a test event that is not stored.

    Example: headrace webhooks test 0198c2c0-...
    """
    path = f"/webhooks/{_id(webhook_id)}/test"
    data = ask(client_of(settings), "POST", path).json()["data"]
    if as_json:
        print_json(data)
    else:
        result = f"status {data['http_status']}" if data["delivered"] else data["error"]
        typer.echo(f"{result} after {data['latency_ms']:.1f} ms")
    if not data["delivered"]:
        raise CommandFailed("" if as_json else "The endpoint did not accept the test.")


@app.command()
@with_settings(*CLIENT)
def enable(settings: Settings, webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Enable a webhook; deliveries that waited are made.

    Example: headrace webhooks enable 0198c2c0-...
    """
    data = _change(settings, webhook_id, {"enabled": True})
    _print_state(data, "enabled" if data["enabled"] else "disabled", as_json=as_json)


@app.command()
@with_settings(*CLIENT)
def disable(settings: Settings, webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Disable a webhook; its deliveries wait for 72 hours before they become dead letters.

    Example: headrace webhooks disable 0198c2c0-...
    """
    data = _change(settings, webhook_id, {"enabled": False})
    _print_state(data, "enabled" if data["enabled"] else "disabled", as_json=as_json)


@app.command()
@with_settings(*CLIENT)
def pause(settings: Settings, webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Pause a webhook; its deliveries wait, however long, until it is resumed.

    Example: headrace webhooks pause 0198c2c0-...
    """
    data = _change(settings, webhook_id, {"paused": True})
    _print_state(data, "paused", as_json=as_json)


@app.command()
@with_settings(*CLIENT)
def resume(
    settings: Settings,
    webhook_id: WebhookId,
    per_second: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=PER_SECOND_MAX,
            help="Deliveries a second until none is due; as fast as it accepts them if omitted.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Resume a paused webhook; deliveries that waited are made.

    Example: headrace webhooks resume 0198c2c0-... --per-second 20
    """
    fields: dict[str, Any] = {"paused": False}
    if per_second is not None:
        fields["per_second"] = per_second
    data = _change(settings, webhook_id, fields)
    rate = "" if data["per_second"] is None else f" at {data['per_second']} a second"
    _print_state(data, f"resumed{rate}", as_json=as_json)


@app.command()
@with_settings(*CLIENT)
def delete(settings: Settings, webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Delete a webhook; its pending deliveries become dead letters that cannot be replayed.

    Example: headrace webhooks delete 0198c2c0-...
    """
    wanted = _id(webhook_id)
    ask(client_of(settings), "DELETE", f"/webhooks/{wanted}")
    if as_json:
        print_json({"deleted": wanted})
    else:
        typer.echo(f"deleted {wanted}")


@app.command()
@with_settings(*CLIENT)
def deliveries(
    settings: Settings, webhook_id: WebhookId, limit: Limit = 50, as_json: AsJson = False
) -> None:
    """List the deliveries of a webhook, newest first; as JSON with their attempts.

    Example: headrace webhooks deliveries 0198c2c0-... --limit 20
    """
    path = f"/webhooks/{_id(webhook_id)}/deliveries"
    columns = ("created_at", "event", "status", "event_id", "next_attempt_at", "last_error")
    print_list(settings, path, {}, columns, limit=limit, as_json=as_json)


def _headers(lines: list[str]) -> dict[str, str]:
    members, problems = parse_lines("\n".join(lines))
    if problems:
        raise usage(f"--header: {problems[0]}.")
    return members


def _change(settings: Settings, webhook_id: str, fields: dict[str, Any]) -> dict[str, Any]:
    path = f"/webhooks/{_id(webhook_id)}"
    response = ask(client_of(settings), "PATCH", path, msgspec.json.encode(fields))
    data: dict[str, Any] = response.json()["data"]
    return data


def _print_state(data: dict[str, Any], state: str, *, as_json: bool) -> None:
    if as_json:
        print_json(data)
    else:
        typer.echo(f"{state} {data['id']}")


def _id(text: str) -> str:
    if UUID_TEXT.fullmatch(text) is None:
        raise usage(f"{text!r} is not a valid webhook ID.")
    return text.lower()
