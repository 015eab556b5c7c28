"""`headrace domain`: sending domains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.messages.views import cell, time_of
from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.output import AsJson, print_json, print_rows
from headrace.cli.shared.settings import STORE, with_settings
from headrace.cli.shared.stores import ACTOR, DEFAULT_PROJECT, find_project, in_store
from headrace.config import Settings
from headrace.domain.messages.warm_up import (
    DAILY_START_DEFAULT,
    DAILY_START_MAX,
    DAYS_DEFAULT,
    DAYS_MAX,
    WarmUp,
    WarmUpChange,
)
from headrace.store.store import Store

if TYPE_CHECKING:
    from headrace.domain.messages.dns_records import DnsRecord, RecordCheck
    from headrace.pipeline.messages.sending_domains import Checked
    from headrace.store.contract.messages import Domain

app = typer.Typer(
    help="Create, verify, warm up and list domains that mail is sent from.", no_args_is_help=True
)
SETTINGS = (*STORE, "mail_relay", "mail_bounce_domain")
Project = Annotated[str, typer.Option("--project", help="Name of the project.")]


@app.command()
@with_settings(*SETTINGS)
def create(
    settings: Settings,
    name: Annotated[str, typer.Argument(help="The domain, such as example.org.")],
    project: Project = DEFAULT_PROJECT,
    *,
    verified: Annotated[
        bool,
        typer.Option(
            "--verified", help="Mark it verified without a check, for a relay that signs; audited."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create a sending domain and print the DNS records that it needs.

    Example: headrace domain create example.org
    """
    from headrace.domain.errors import ApiError
    from headrace.domain.messages.requests import DomainFields, check_domain
    from headrace.pipeline.messages.mail_services import sending_domains

    try:
        checked = check_domain(name)
    except ValueError as error:
        raise usage(f"The domain {error}.") from None

    async def work(store: Store) -> tuple[Domain, tuple[DnsRecord, ...]]:
        domains = sending_domains(settings, store)
        project_id = (await find_project(store, project)).id
        fields = DomainFields(name=checked)
        made = await domains.create(project_id, fields, verified=verified, actor=ACTOR)
        return made, domains.records(made)

    try:
        domain, records = in_store(settings, work)
    except ApiError as error:
        raise CommandFailed(f"{checked}: {error.message}") from None
    if as_json:
        print_json(_view(domain, records))
        return
    typer.echo(f"Created domain {domain.name}, {domain.status.value}. Records to publish:")
    print_rows(
        ("TYPE", "NAME", "FOR", "VALUE"),
        [(one.type, one.name, one.purpose.value, one.value) for one in records],
    )


@app.command()
@with_settings(*SETTINGS)
def verify(
    settings: Settings,
    name: Annotated[str, typer.Argument(help="The domain, such as example.org.")],
    project: Project = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Look up the DNS records of a domain, and say what is missing.

    Example: headrace domain verify example.org
    """
    from headrace.domain.messages.requests import check_domain
    from headrace.pipeline.messages.mail_services import sending_domains

    try:
        checked = check_domain(name)
    except ValueError as error:
        raise usage(f"The domain {error}.") from None

    async def work(store: Store) -> Checked | None:
        project_id = (await find_project(store, project)).id
        found = await store.messages.domains.by_name(project_id, checked)
        if found is None:
            return None
        return await sending_domains(settings, store).verify(project_id, found.id, actor=ACTOR)

    done = in_store(settings, work)
    if done is None:
        raise CommandFailed(f"There is no domain {checked!r} in project {project}.")
    is_verified = done.domain.status.value == "verified"
    if as_json:
        print_json(_listed(done.domain) | {"checks": [_check(one) for one in done.checks]})
    else:
        by = f" ({done.domain.verified_by})" if is_verified else ""
        typer.echo(f"{done.domain.name} is {done.domain.status.value}{by}.")
        names = ("purpose", "type", "name", "state", "message")
        rows = [[_check(one)[each] or "-" for each in names] for one in done.checks]
        print_rows([each.upper() for each in names], rows)
    if not is_verified:
        raise CommandFailed("" if as_json else "Publish what is missing, then verify again.")


@app.command("warm-up")
@with_settings(*STORE)
def warm_up(
    settings: Settings,
    name: Annotated[str, typer.Argument(help="The domain, such as example.org.")],
    project: Project = DEFAULT_PROJECT,
    *,
    start: Annotated[
        int | None,
        typer.Option(
            min=1, max=DAILY_START_MAX, help=f"Mails on the first day ({DAILY_START_DEFAULT})."
        ),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option(min=1, max=DAYS_MAX, help=f"Days with a limit ({DAYS_DEFAULT})."),
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="End the plan.")] = False,
    as_json: AsJson = False,
) -> None:
    """Limit the mail of a new domain: the limit doubles each day (UTC), the rest waits.

    Without an option, show the plan. A plan that runs keeps its first day.

    Example: headrace domain warm-up example.org --start 50 --days 14
    """
    from headrace.domain.messages.requests import check_domain

    if off and (start is not None or days is not None):
        raise usage("--off ends the plan; leave out --start and --days.")
    try:
        checked = check_domain(name)
    except ValueError as error:
        raise usage(f"The domain {error}.") from None
    change = WarmUpChange(enabled=not off, daily_start=start, days=days)
    shows = not off and start is None and days is None

    async def work(store: Store) -> tuple[bool, WarmUp | None]:
        project_id, now_us = (await find_project(store, project)).id, store.clock_us()
        found = await store.messages.domains.by_name(project_id, checked)
        if found is None:
            return False, None
        if not shows:
            await store.messages.domains.update(
                project_id, found.id, now_us, warm_up=change, actor=ACTOR
            )
        return True, await store.messages.warm_ups.get(project_id, checked, now_us)

    is_there, plan = in_store(settings, work)
    if not is_there:
        raise CommandFailed(f"There is no domain {checked!r} in project {project}.")
    if as_json:
        print_json(None if plan is None else _plan(plan))
    elif plan is None:
        typer.echo(f"{checked} has no warm-up plan.")
    elif plan.ceiling is None:
        typer.echo(f"{checked}: the warm-up that began on {plan.started_on} is over.")
    else:
        typer.echo(
            f"{checked}: day {plan.number} of {plan.days} since {plan.started_on}, "
            f"{plan.sent} of {plan.ceiling} mails sent today."
        )


def _plan(plan: WarmUp) -> dict[str, Any]:
    return {
        "daily_start": plan.daily_start,
        "days": plan.days,
        "started_on": plan.started_on,
        "day": plan.number,
        "ceiling": plan.ceiling,
        "sent_today": plan.sent,
    }


@app.command("list")
@with_settings(*STORE)
def list_(settings: Settings, project: Project = DEFAULT_PROJECT, as_json: AsJson = False) -> None:
    """List the sending domains of a project, newest first.

    Example: headrace domain list
    """
    from headrace.store.contract.messages import DOMAINS_MAX

    async def work(store: Store) -> list[Domain]:
        project_id = (await find_project(store, project)).id
        return list(await store.messages.domains.list(project_id, before=None, limit=DOMAINS_MAX))

    shown = [_listed(found) for found in in_store(settings, work)]
    if as_json:
        print_json(shown)
        return
    names = ("name", "status", "verified_by", "track_opens", "track_clicks", "created_at")
    rows = [[cell(each[name]) for name in names] for each in shown]
    print_rows([name.upper() for name in names], rows)


def _listed(domain: Domain) -> dict[str, Any]:
    return {
        "id": domain.id,
        "name": domain.name,
        "status": domain.status.value,
        "verified_by": domain.verified_by,
        "track_opens": domain.track_opens,
        "track_clicks": domain.track_clicks,
        "created_at": time_of(domain.created_us),
    }


def _check(check: RecordCheck) -> dict[str, Any]:
    return {
        "purpose": check.record.purpose.value,
        "type": check.record.type,
        "name": check.record.name,
        "state": check.state.value,
        "message": check.message,
        "found": list(check.found),
    }


def _view(domain: Domain, records: tuple[DnsRecord, ...]) -> dict[str, Any]:
    return {
        "id": domain.id,
        "name": domain.name,
        "status": domain.status.value,
        "records": [
            {"type": one.type, "name": one.name, "value": one.value, "purpose": one.purpose.value}
            for one in records
        ],
    }
