"""`headrace events resend`: send events to webhooks again and follow the jobs."""

from __future__ import annotations

import time
from typing import Annotated, Any

import msgspec
import typer

from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.http_client import Client, ask, client_of
from headrace.cli.shared.output import AsJson, print_json, print_rows
from headrace.cli.shared.progress import progress
from headrace.cli.shared.settings import CLIENT, with_settings
from headrace.config import Settings
from headrace.domain.deliveries.dead_letters import PER_SECOND_DEFAULT, PER_SECOND_MAX
from headrace.domain.ids import UUID_TEXT

#: Interval between polls of a job.
_POLL_SECONDS = 0.3
#: A job without progress for this long has no worker; the slowest rate is one a second.
_STILL_SECONDS_MAX = 20.0


@with_settings(*CLIENT)
def resend(  # noqa: PLR0913, PLR0917 - one parameter a flag
    settings: Settings,
    event_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="IDs of events to send again.")
    ] = None,
    webhook: Annotated[
        list[str] | None,
        typer.Option(help="ID of a webhook that gets them; can be given several times."),
    ] = None,
    since: Annotated[
        str, typer.Option(help="Instead of IDs: received at or after this RFC 3339 time.")
    ] = "",
    until: Annotated[str, typer.Option(help="Received before this RFC 3339 time.")] = "",
    event: Annotated[str, typer.Option(help="Only this name or prefix (order.*).")] = "",
    only_failed: Annotated[
        bool, typer.Option("--only-failed", help="Only events whose delivery failed for good.")
    ] = False,
    only_look: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be sent, change nothing.")
    ] = False,
    per_second: Annotated[
        int, typer.Option(min=1, max=PER_SECOND_MAX, help="Maximum events per second.")
    ] = PER_SECOND_DEFAULT,
    wait: Annotated[bool, typer.Option(help="Wait until all are queued.")] = True,
    as_json: AsJson = False,
) -> None:
    """Send events to webhooks again: chosen ones, or those of a time range.

    Example: headrace events resend --webhook 0198c2c0-... --since 2026-06-08T14:00:00Z --dry-run
    """
    if not webhook:
        raise usage("Pass --webhook; `headrace webhooks list` shows their IDs.")
    for each in (*webhook, *(event_ids or ())):
        if UUID_TEXT.fullmatch(each) is None:
            raise usage(f"{each!r} is not a valid ID.")
    if bool(event_ids) == bool(since):
        raise usage("Pass the IDs of events, or --since.")
    fields: dict[str, Any] = {"event_ids": event_ids} if event_ids else {"from": since}
    chosen = {"to": until, "event": event, "only_failed": only_failed, "dry_run": only_look}
    fields |= {name: value for name, value in chosen.items() if value}
    body = msgspec.json.encode(fields | {"per_second": per_second})
    client = client_of(settings)
    found = [
        {"webhook_id": each.lower()}
        | ask(client, "POST", f"/webhooks/{each}/resend", body).json()["data"]
        for each in dict.fromkeys(webhook)
    ]
    if only_look:
        _print_dry_run(found, as_json=as_json)
        return
    if wait:
        found = [_watched(client, job) for job in found]
    if as_json:
        print_json(found)
        return
    for job in found:
        counts = f"{job['done']} of {job['total']} queued"
        typer.echo(f"{job['webhook_id']}: job {job['id']} is {job['status']}, {counts}.")


def _watched(client: Client, job: dict[str, Any]) -> dict[str, Any]:
    """Show progress until the job ends; returns its final state."""
    seen, changed_at = job, time.monotonic()
    with progress("sending again", job["total"]) as show:
        while seen["status"] == "running":
            time.sleep(_POLL_SECONDS)
            found = ask(client, "GET", f"/replays/{job['id']}").json()["data"]
            if found["done"] != seen["done"]:
                changed_at = time.monotonic()
            if time.monotonic() - changed_at > _STILL_SECONDS_MAX:
                raise CommandFailed(
                    f"Job {job['id']} makes no progress: is a worker running? "
                    "It continues when one starts."
                )
            seen = found
            show(seen["done"], f"{seen['done']} of {seen['total']}")
    return seen


def _print_dry_run(found: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    for each in found:
        typer.echo(f"{each['count']} would be sent to {each['webhook_id']}.")
        names = ("id", "event", "received_at")
        rows = [[row[name] for name in names] for row in each["sample"]]
        if rows:
            print_rows([name.upper() for name in names], rows)
