"""`headrace mail`: the emergency stop, what came back, and what receivers see of the set-up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import msgspec
import typer

from headrace.cli.access.key import ProjectName
from headrace.cli.doctor.finding import Finding
from headrace.cli.messages.views import LIMIT_MAX, cell, id_of, notification_view
from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.input import standard_input
from headrace.cli.shared.output import AsJson, print_json, print_rows
from headrace.cli.shared.settings import BOUNCES, CLIENT, STORE, with_settings
from headrace.cli.shared.stores import ACTOR, DEFAULT_PROJECT, find_project, in_store
from headrace.config import Settings
from headrace.domain.messages.feedback.form import FeedbackKind, Source
from headrace.domain.messages.feedback.notification import Effect
from headrace.domain.messages.pausing import Pause, PauseError, pause_all, pause_domain, resume_all
from headrace.domain.messages.pausing import resume_domain as resume_one
from headrace.store.store import Store

if TYPE_CHECKING:
    from headrace.store.contract.messages import Notification

app = typer.Typer(
    help="Stop and resume sending, read bounces, check the set-up.", no_args_is_help=True
)

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
@with_settings(*CLIENT)
def bounce(
    settings: Settings,
    recipient: Annotated[
        str, typer.Option("--recipient", help="Envelope recipient, if the mail server passes it.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Pass a mail that came back from standard input to the server.

    After every failure the exit status is 75, so that the mail server keeps the mail and calls
    again.

    Example: headrace mail bounce --recipient "$RECIPIENT" < message
    """
    shown = _pass_on(settings, _standard_input(), recipient)
    if as_json:
        print_json(shown)
    elif shown is None:
        typer.echo("Stored; the message belongs to another project.")
    else:
        typer.echo(f"{shown['kind']}: {shown['effect']} (message {shown['message_id'] or '-'})")


def _standard_input() -> bytes:
    """The start of the mail; the rest is read and dropped, as mail servers expect."""
    from headrace.domain.messages.feedback.mime import BYTES_MAX

    source = standard_input()
    raw = source.read(BYTES_MAX)
    while source.read(BYTES_MAX):
        pass
    return raw


def _pass_on(settings: Settings, raw: bytes, recipient: str) -> Any:
    from headrace.cli.shared.http_client import Unreachable, client_of, error_text

    path = "/mail/bounces" + (f"?recipient={quote(recipient, safe='')}" if recipient else "")
    client = client_of(settings)
    try:
        response = client.ask("POST", path, raw, headers={"Content-Type": "message/rfc822"})
    except Unreachable as error:
        raise CommandFailed(str(error)) from None
    if response.status >= 400:
        raise CommandFailed(f"{response.status} {error_text(response.json())}")
    return response.json()["data"]["notification"]


@app.command()
@with_settings(*STORE)
def notifications(
    settings: Settings,
    project: ProjectName = DEFAULT_PROJECT,
    kind: Annotated[FeedbackKind | None, typer.Option(help="Only of this kind.")] = None,
    source: Annotated[Source | None, typer.Option(help="Only from this source.")] = None,
    effect: Annotated[Effect | None, typer.Option(help="Only with this effect.")] = None,
    message_id: Annotated[str, typer.Option("--message", help="Only about this message.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List what came back about mail, newest first: understood as what, and what followed.

    Example: headrace mail notifications --kind hard
    """
    wanted = id_of(message_id, "message") if message_id else None

    async def work(store: Store) -> list[Notification]:
        from headrace.store.messages.feedback.notifications import Wanted

        owner = await find_project(store, project)
        filters = Wanted(kind=kind, source=source, effect=effect, message_id=wanted)
        return list(await store.messages.notifications.list(owner.id, filters, limit=limit))

    shown = [notification_view(one) for one in in_store(settings, work)]
    if as_json:
        print_json(shown)
        return
    names = ("received_at", "kind", "effect", "source", "status", "message_id")
    print_rows([name.upper() for name in names], [[cell(e[name]) for name in names] for e in shown])


@app.command()
@with_settings(*STORE, "host", "port", "public_url", "mail_relay", "mail_bounce_domain", *BOUNCES)
def doctor(
    settings: Settings,
    project: ProjectName = DEFAULT_PROJECT,
    domain: Annotated[
        str, typer.Option("--domain", help="Only this sending domain; without it, all of them.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Check the relay, links and DNS records of sending domains.

    The page of each domain shows the last result about it; nothing else changes.

    Example: headrace mail doctor --domain example.org
    """
    from headrace.cli.doctor.command import report
    from headrace.cli.doctor.mail import check_mail

    name = _domain(domain)

    async def work(store: Store) -> list[Finding]:
        return await _looked_up(store, settings, project, name)

    report([*check_mail(settings), *in_store(settings, work)], as_json=as_json)


@app.command()
@with_settings(*STORE)
def deliverability(
    settings: Settings,
    domain: Annotated[str, typer.Argument(help="The sending domain.")],
    project: ProjectName = DEFAULT_PROJECT,
    days: Annotated[int, typer.Option(min=1, max=366, help="Days until today.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Show what receivers do with mail of a sending domain.

    Example: headrace mail deliverability example.org --days 7
    """
    from headrace.pipeline.messages.deliverability import Deliverability, read_deliverability

    name = _domain(domain)

    async def work(store: Store) -> Deliverability:
        owner = await find_project(store, project)
        return await read_deliverability(
            store.messages.receivers, owner.id, name, store.clock_us(), days
        )

    found = in_store(settings, work)
    if as_json:
        print_json(found)
        return
    names = ("sent", "delivered", "bounced", "complained", "blocked")
    for title, figures in (("RECEIVER", found.by_receiver), ("DAY", found.by_day)):
        rows = [[one.name, *(str(getattr(one, each)) for each in names)] for one in figures]
        print_rows([title, *(each.upper() for each in names)], rows)
    for held in found.held:
        typer.echo(f"{held.open.receiver} rejects {name}: {held.open.breaker.rejection.text}")
        typer.echo(f"  {held.advice.meaning} {held.advice.fix}")


async def _looked_up(store: Store, settings: Settings, project: str, name: str) -> list[Finding]:
    from headrace.cli.doctor.mail_domains import check_domain_records, check_relay_name
    from headrace.delivery.mail.dns_lookup import ResolverLookup
    from headrace.pipeline.messages.mail_services import relay_of, sending_domains
    from headrace.store.contract.messages import DOMAINS_MAX
    from headrace.store.messages.content.domain_checks import CheckFinding

    owner = await find_project(store, project)
    held = await store.messages.domains.list(owner.id, before=None, limit=DOMAINS_MAX)
    wanted = [one for one in held if not name or one.name == name]
    if name and not wanted:
        raise CommandFailed(f"There is no domain {name!r} in project {project}.")
    domains = sending_domains(settings, store)
    findings: list[Finding] = []
    for one in wanted:
        of_domain = list(check_domain_records(one.name, await domains.check(one)))
        kept = [CheckFinding(**msgspec.structs.asdict(each)) for each in of_domain]
        await store.messages.domain_checks.write(owner.id, one.name, kept, store.clock_us())
        findings += of_domain
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
