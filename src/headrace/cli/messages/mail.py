"""`headrace mail`: the emergency stop."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from headrace.cli.access.key import ProjectName
from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.output import AsJson, print_json
from headrace.cli.shared.settings import STORE, with_settings
from headrace.cli.shared.stores import ACTOR, DEFAULT_PROJECT, find_project, in_store
from headrace.config import Settings
from headrace.domain.messages.pausing import Pause, PauseError, pause_all, pause_domain, resume_all
from headrace.domain.messages.pausing import resume_domain as resume_one
from headrace.store.store import Store

app = typer.Typer(help="Stop sending at once, and resume it.", no_args_is_help=True)

Domain = Annotated[str, typer.Option("--domain", help="Only mail from this sending domain.")]


@app.command()
@with_settings(*STORE)
def pause(
    settings: Settings,
    project: ProjectName = DEFAULT_PROJECT,
    channel: Annotated[str, typer.Option(help="mail, push, or all.")] = "mail",
    domain: Domain = "",
    as_json: AsJson = False,
) -> None:
    """Stop sending: nothing leaves after this returns, and what waits stays.

    Example: headrace mail pause --domain example.org
    """
    name = _domain(domain)
    change = pause_domain(name) if name else pause_all(_channel(channel))
    _change(settings, project, change, as_json=as_json)


@app.command()
@with_settings(*STORE)
def resume(
    settings: Settings,
    project: ProjectName = DEFAULT_PROJECT,
    channel: Annotated[str, typer.Option(help="mail, push, or all.")] = "mail",
    domain: Domain = "",
    as_json: AsJson = False,
) -> None:
    """Resume sending; waiting messages are sent within 30 seconds.

    Domains that were paused one by one stay paused, unless the channel is all.

    Example: headrace mail resume
    """
    name = _domain(domain)
    change = resume_one(name) if name else resume_all(_channel(channel))
    _change(settings, project, change, as_json=as_json)


def _change(settings: Settings, project: str, change: Pause, *, as_json: bool) -> None:
    async def work(store: Store) -> tuple[Any, Any]:
        owner = await find_project(store, project)
        return await store.projects.change_policy(
            owner.id, "sending_paused", change, store.clock_us(), actor=ACTOR
        )

    try:
        before, now = in_store(settings, work)
    except PauseError as error:
        raise CommandFailed(str(error)) from None
    if as_json:
        print_json({"project": project, "name": "sending_paused", "from": before, "to": now})
    else:
        typer.echo(f"sending_paused: {_text(before)} -> {_text(now)}")


def _text(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def _channel(text: str) -> str:
    if text not in {"mail", "push", "all"}:
        raise usage("--channel must be mail, push or all.")
    return text


def _domain(text: str) -> str:
    from headrace.domain.messages.requests import check_domain

    try:
        return check_domain(text) if text else ""
    except ValueError as error:
        raise usage(f"The domain {error}.") from None
