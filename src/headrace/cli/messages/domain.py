"""`headrace domain`: what mail is sent from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.output import AsJson, print_json, print_rows
from headrace.cli.shared.settings import STORE, with_settings
from headrace.cli.shared.stores import ACTOR, DEFAULT_PROJECT, find_project, in_store
from headrace.config import Settings
from headrace.store.store import Store

if TYPE_CHECKING:
    from headrace.domain.messages.dns_records import DnsRecord
    from headrace.store.contract.messages import Domain

app = typer.Typer(help="Create and list domains that mail is sent from.", no_args_is_help=True)
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
        print_json(_shown(domain, records))
        return
    typer.echo(f"Created domain {domain.name}, {domain.status.value}. Records to publish:")
    print_rows(
        ("TYPE", "NAME", "FOR", "VALUE"),
        [(one.type, one.name, one.purpose.value, one.value) for one in records],
    )


def _shown(domain: Domain, records: tuple[DnsRecord, ...]) -> dict[str, Any]:
    return {
        "id": domain.id,
        "name": domain.name,
        "status": domain.status.value,
        "records": [
            {"type": one.type, "name": one.name, "value": one.value, "purpose": one.purpose.value}
            for one in records
        ],
    }
