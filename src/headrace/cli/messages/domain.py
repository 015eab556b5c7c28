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
from headrace.store.store import Store

if TYPE_CHECKING:
    from headrace.domain.messages.dns_records import DnsRecord, RecordCheck
    from headrace.pipeline.messages.sending_domains import Checked
    from headrace.store.contract.messages import Domain

app = typer.Typer(
    help="Create, verify and list domains that mail is sent from.", no_args_is_help=True
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
