"""`headrace mail`: the emergency stop, and what receivers see of the set-up."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from headrace.cli.access.key import ProjectName
from headrace.cli.doctor.finding import Finding
from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.output import AsJson, print_json
from headrace.cli.shared.settings import STORE, with_settings
from headrace.cli.shared.stores import ACTOR, DEFAULT_PROJECT, find_project, in_store
from headrace.config import Settings
from headrace.domain.messages.pausing import Pause, PauseError, pause_all, pause_domain, resume_all
from headrace.domain.messages.pausing import resume_domain as resume_one
from headrace.store.store import Store

app = typer.Typer(help="Stop and resume sending; check the set-up.", no_args_is_help=True)

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


@app.command()
@with_settings(*STORE, "public_url", "mail_relay", "mail_bounce_domain")
def doctor(
    settings: Settings,
    project: ProjectName = DEFAULT_PROJECT,
    domain: Annotated[
        str, typer.Option("--domain", help="Only this sending domain; without it, all of them.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Check the relay, links and DNS records of sending domains; changes nothing.

    Example: headrace mail doctor --domain example.org
    """
    from headrace.cli.doctor.command import report
    from headrace.cli.doctor.mail import check_mail

    name = _domain(domain)

    async def work(store: Store) -> list[Finding]:
        return await _looked_up(store, settings, project, name)

    report([*check_mail(settings), *in_store(settings, work)], as_json=as_json)


async def _looked_up(store: Store, settings: Settings, project: str, name: str) -> list[Finding]:
    from headrace.cli.doctor.mail_domains import check_domain_records, check_relay_name
    from headrace.delivery.mail.dns_lookup import ResolverLookup
    from headrace.pipeline.messages.mail_services import relay_of, sending_domains
    from headrace.store.contract.messages import DOMAINS_MAX

    owner = await find_project(store, project)
    held = await store.messages.domains.list(owner.id, before=None, limit=DOMAINS_MAX)
    wanted = [one for one in held if not name or one.name == name]
    if name and not wanted:
        raise CommandFailed(f"There is no domain {name!r} in project {project}.")
    domains = sending_domains(settings, store)
    findings: list[Finding] = []
    for one in wanted:
        findings += check_domain_records(one.name, await domains.check(one))
    if host := relay_of(settings).host:
        findings.append(await check_relay_name(host, ResolverLookup()))
    return findings


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
