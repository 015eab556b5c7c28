"""`headrace dead-letters`: list, replay or discard what failed for good."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from headrace.cli.access.key import ProjectName
from headrace.cli.deliveries.replaying import dry_run, start, watch
from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.output import AsJson, print_json, print_rows
from headrace.cli.shared.settings import STORE, with_settings
from headrace.cli.shared.stores import ACTOR, DEFAULT_PROJECT, find_project, in_store
from headrace.config import Settings
from headrace.domain.deliveries.dead_letters import PER_SECOND_DEFAULT, PER_SECOND_MAX
from headrace.domain.ids import UUID_TEXT
from headrace.store.contract.dead_letters import (
    Closed,
    Closing,
    DeadLetter,
    DeadLetterFilter,
    DeadLetterGroup,
    Replay,
)
from headrace.store.store import Store

app = typer.Typer(help="List, replay or discard dead letters.", no_args_is_help=True)

LIMIT_MAX = 1000

Event = Annotated[str, typer.Option("--event", help="Only this event name.")]
SubscriberId = Annotated[str, typer.Option("--subscriber-id", help="Only this subscriber.")]
Cause = Annotated[str, typer.Option("--cause", help="Only this cause.")]
Kind = Annotated[str, typer.Option("--kind", help="Only processing, delivery or automation.")]

_REJECTED = {
    Closing.NOT_FOUND: "Dead letter not found in this project.",
    Closing.CLOSED_BEFORE: "It was already replayed or discarded.",
    Closing.NOTHING_TO_REPLAY: "The event, delivery or run is no longer dead-lettered.",
    Closing.SUBSCRIBER_DELETED: "Its subscriber was deleted, so it cannot be delivered.",
    Closing.SUBSCRIBER_DISABLED: "Its subscriber is disabled; enable it first.",
}


@app.command("list")
@with_settings(*STORE)
def list_(
    settings: Settings,
    project: ProjectName = DEFAULT_PROJECT,
    event: Event = "",
    subscriber_id: SubscriberId = "",
    cause: Cause = "",
    kind: Kind = "",
    limit: Annotated[
        int, typer.Option(min=1, max=LIMIT_MAX, help="Maximum number of results.")
    ] = 50,
    as_json: AsJson = False,
) -> None:
    """List open dead letters, newest first.

    Example: headrace dead-letters list --event order.completed
    """
    wanted = _wanted(event, subscriber_id, cause, kind)

    async def work(store: Store) -> list[DeadLetter]:
        owner = await find_project(store, project)
        found: list[DeadLetter] = []
        before: int | None = None
        while len(found) < limit:
            page = await store.dead_letters.list(
                owner.id, wanted, before=before, limit=limit - len(found)
            )
            found += page.dead_letters
            before = page.next_before
            if before is None:
                break
        return found

    shown = [dead_letter_view(found) for found in in_store(settings, work)]
    if as_json:
        print_json(shown)
        return
    names = ("id", "dead_lettered_at", "kind", "event", "cause", "attempts", "error")
    print_rows(
        [name.upper() for name in names], [[str(each[name]) for name in names] for each in shown]
    )


@app.command()
@with_settings(*STORE)
def groups(
    settings: Settings,
    project: ProjectName = DEFAULT_PROJECT,
    event: Event = "",
    subscriber_id: SubscriberId = "",
    cause: Cause = "",
    kind: Kind = "",
    as_json: AsJson = False,
) -> None:
    """Count open dead letters by kind, subscriber, cause and event, largest group first.

    Example: headrace dead-letters groups --kind delivery
    """
    wanted = _wanted(event, subscriber_id, cause, kind)

    async def work(store: Store) -> list[DeadLetterGroup]:
        owner = await find_project(store, project)
        return list(await store.dead_letters.groups(owner.id, wanted))

    shown = [_group_view(group) for group in in_store(settings, work)]
    if as_json:
        print_json(shown)
        return
    names = ("count", "kind", "event", "cause", "subscriber_id", "last_dead_lettered_at")
    rows = [
        ["-" if each[name] is None else str(each[name]) for name in names]
        for each in shown[:LIMIT_MAX]
    ]
    print_rows([name.upper() for name in names], rows)


@app.command()
@with_settings(*STORE)
def replay(  # noqa: PLR0913, PLR0917 - one parameter a flag
    settings: Settings,
    dead_letter_id: Annotated[
        str, typer.Argument(metavar="[ID]", help="ID of one dead letter to replay.")
    ] = "",
    project: ProjectName = DEFAULT_PROJECT,
    event: Event = "",
    subscriber_id: SubscriberId = "",
    cause: Cause = "",
    kind: Kind = "",
    everything: Annotated[
        bool, typer.Option("--all", help="Every dead letter of the project.")
    ] = False,
    only_look: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be replayed, change nothing.")
    ] = False,
    per_second: Annotated[
        int, typer.Option(min=1, max=PER_SECOND_MAX, help="Maximum replays per second.")
    ] = PER_SECOND_DEFAULT,
    wait: Annotated[bool, typer.Option(help="Wait until the worker has finished it.")] = True,
    as_json: AsJson = False,
) -> None:
    """Run what failed again: one dead letter, or all that match.

    Example: headrace dead-letters replay --cause server_error --per-second 20 --dry-run
    """
    wanted = _wanted(event, subscriber_id, cause, kind)
    filtered = wanted != DeadLetterFilter()
    if (bool(dead_letter_id), filtered, everything).count(True) != 1:
        raise usage("Pass the ID of one dead letter, or filters, or --all.")
    if dead_letter_id:
        if only_look:
            raise usage(
                "--dry-run works with filters and --all only; list shows single dead letters."
            )
        _replay_one(settings, project, dead_letter_id, as_json=as_json)
        return
    if only_look:
        count, sample = dry_run(settings, project, wanted)
        _print_dry_run(count, [dead_letter_view(each) for each in sample], as_json=as_json)
        return
    job = start(settings, project, wanted, per_second)
    ended = watch(settings, job) if wait else job
    _print_job(ended, as_json=as_json)


@app.command()
@with_settings(*STORE)
def discard(
    settings: Settings,
    dead_letter_id: Annotated[str, typer.Argument(metavar="ID", help="ID of the dead letter.")],
    reason: Annotated[str, typer.Option(help="Reason, shown in the trace.")],
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Close a dead letter without running it again. This cannot be undone.

    Example: headrace dead-letters discard 0b0e7f3e-... --reason "order was a test"
    """
    from headrace.domain.deliveries.dead_letters import check_reason

    try:
        checked = check_reason(reason)
    except ValueError as error:
        raise usage(f"The reason {error}") from None
    wanted_id = _id(dead_letter_id)

    async def work(store: Store) -> Closed:
        owner = await find_project(store, project)
        return await store.dead_letters.discard(
            owner.id, wanted_id, checked, store.clock_us(), actor=ACTOR
        )

    _print_closed(in_store(settings, work), "Discarded", as_json=as_json)


def _replay_one(settings: Settings, project: str, dead_letter_id: str, *, as_json: bool) -> None:

    wanted_id = _id(dead_letter_id)

    async def work(store: Store) -> Closed:
        owner = await find_project(store, project)
        return await store.dead_letters.replay(owner.id, wanted_id, store.clock_us(), actor=ACTOR)

    _print_closed(in_store(settings, work), "Queued again", as_json=as_json)


def _id(text: str) -> str:
    if UUID_TEXT.fullmatch(text) is None:
        raise usage(f"{text!r} is not a valid dead letter ID.")
    return text.lower()


def _wanted(event: str, subscriber_id: str, cause: str, kind: str) -> DeadLetterFilter:
    import msgspec

    from headrace.domain.deliveries.dead_letters import check_filter
    from headrace.domain.errors import ApiError

    given = {"event": event, "subscriber_id": subscriber_id, "cause": cause, "kind": kind}
    try:
        checked = check_filter({name: text for name, text in given.items() if text})
    except ApiError as error:
        problems = (f"--{each.field.replace('_', '-')} {each.message}" for each in error.details)
        raise usage("; ".join(problems)) from None
    return msgspec.convert(checked, DeadLetterFilter)


def dead_letter_view(dead_letter: DeadLetter) -> dict[str, Any]:
    """A dead letter as in responses of the API."""
    from headrace.domain.ids import uuid_text
    from headrace.domain.timestamps import to_text

    return {
        "id": dead_letter.id,
        "event_id": uuid_text(dead_letter.event_id),
        "event": dead_letter.event,
        "kind": dead_letter.kind.value,
        "subscriber_id": dead_letter.subscriber_id,
        "run_id": dead_letter.run_id,
        "cause": dead_letter.cause,
        "error": dead_letter.error,
        "attempts": dead_letter.attempts,
        "first_failed_at": to_text(dead_letter.first_failed_us),
        "dead_lettered_at": to_text(dead_letter.dead_lettered_us),
    }


def _group_view(group: DeadLetterGroup) -> dict[str, Any]:
    from headrace.domain.timestamps import to_text

    return {
        "kind": group.kind.value,
        "subscriber_id": group.subscriber_id,
        "cause": group.cause,
        "event": group.event,
        "count": group.count,
        "first_dead_lettered_at": to_text(group.first_us),
        "last_dead_lettered_at": to_text(group.last_us),
    }


def _print_closed(closed: Closed, done: str, *, as_json: bool) -> None:
    if closed.closing is not Closing.DONE or closed.dead_letter is None:
        raise CommandFailed(_REJECTED[closed.closing])
    shown = dead_letter_view(closed.dead_letter)
    if as_json:
        print_json(shown)
    else:
        typer.echo(f"{done}: {shown['kind']} of event {shown['event_id']}")


def _print_dry_run(count: int, sample: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json({"count": count, "sample": sample})
        return
    typer.echo(f"{count} would be replayed.")
    if sample:
        names = ("id", "kind", "event", "cause", "error")
        print_rows([name.upper() for name in names], [[e[name] for name in names] for e in sample])


def _print_job(job: Replay, *, as_json: bool) -> None:
    if as_json:
        status = job.status.value
        print_json({"id": job.id, "status": status, "total": job.total, "done": job.done})
    else:
        typer.echo(f"Replay {job.id} is {job.status.value}: {job.done} of {job.total} replayed.")
