"""`headrace automation explain`: why a person started no run, or got no mail."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.access.key import ProjectName
from headrace.cli.automation.definitions import find
from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.output import AsJson, print_json, printable
from headrace.cli.shared.settings import STORE, with_settings
from headrace.cli.shared.stores import DEFAULT_PROJECT, find_project, in_store
from headrace.config import Settings
from headrace.domain.ids import UUID_TEXT
from headrace.store.store import Store

if TYPE_CHECKING:
    from headrace.pipeline.automations.explanation import (
        ContactExplanation,
        RunExplanation,
        StartExplanation,
    )


@with_settings(*STORE)
def explain(
    settings: Settings,
    which: Annotated[
        str | None, typer.Argument(metavar="[ID|NAME]", help="The automation; not with --event.")
    ] = None,
    contact_id: Annotated[str | None, typer.Option(help="ID of the contact.")] = None,
    external_id: Annotated[str | None, typer.Option(help="The contact's external_id.")] = None,
    email: Annotated[str | None, typer.Option(help="The contact's e-mail address.")] = None,
    event: Annotated[
        str | None, typer.Option(help="ID of an event: what became of it in all automations.")
    ] = None,
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Explain why a contact or an event started no run, or why a mail was not sent.

    Example: headrace automation explain "Abandoned checkout" --external-id user_42
    """
    given = {"contact_id": contact_id, "external_id": external_id, "email": email}
    named = {name: value for name, value in given.items() if value is not None}
    if event is not None:
        if which is not None or named:
            raise usage("--event explains all automations; give nothing else.")
        _explain_event(settings, event, project, as_json=as_json)
        return
    if which is None or len(named) != 1:
        raise usage(
            "Name an automation and exactly one of --contact-id, --external-id and --email, "
            "or give --event."
        )
    _explain_contact(settings, which, named, project, as_json=as_json)


def _explain_event(settings: Settings, event: str, project: str, *, as_json: bool) -> None:
    from headrace.pipeline.automations.explanation import explain_event

    event_id = uuid.UUID(_id(event, "event")).bytes

    async def work(store: Store) -> list[StartExplanation] | None:
        owner = await find_project(store, project)
        return await explain_event(store, owner.id, event_id)

    found = in_store(settings, work)
    if found is None:
        raise CommandFailed(f"There is no such event in project {project}.")
    if as_json:
        print_json(found)
        return
    if not found:
        typer.echo("No automation starts with this event.")
    for each in found:
        typer.echo(printable(f"{each.automation_name}: {_start_text(each)}"))


def _explain_contact(
    settings: Settings, which: str, named: dict[str, str], project: str, *, as_json: bool
) -> None:
    from headrace.domain.email import normalize_email
    from headrace.pipeline.automations.explanation import explain_contact, find_contact

    if "contact_id" in named:
        named = {"contact_id": _id(named["contact_id"], "contact")}
    if "email" in named:
        try:
            named = {"email": normalize_email(named["email"])}
        except ValueError as error:
            raise usage(f"--email {error}") from None

    async def work(store: Store) -> ContactExplanation:
        owner = await find_project(store, project)
        of = await find(store, owner.id, which)
        contact = await find_contact(store, owner.id, **named)
        if contact is None:
            raise CommandFailed("There is no such contact in this project.")
        return await explain_contact(store, of, contact)

    found = in_store(settings, work)
    if as_json:
        print_json(found)
        return
    _print(found)


def _print(found: ContactExplanation) -> None:
    typer.echo(
        printable(
            f"{found.automation_name} is {found.automation_status.value} and starts with "
            f"{found.trigger_event_name or 'no readable event'}."
        )
    )
    if not found.events:
        typer.echo("The contact has no such event that is processed.")
        if found.similar_event_names:
            typer.echo(printable(f"Similar ones: {', '.join(found.similar_event_names)}"))
    for each in found.events:
        typer.echo(printable(f"{each.received_at}  event {each.event_id}: {_start_text(each)}"))
    for run in found.runs:
        _print_run(run)


def _print_run(run: RunExplanation) -> None:
    reason = "" if run.status_reason is None else f" ({run.status_reason.value})"
    typer.echo(f"{run.started_at}  run {run.run_id}: {run.status.value}{reason}")
    for mail in run.mails:
        typer.echo(printable(f"    {mail.step_key}: {mail.sentence} [{mail.verdict.value}]"))


def _start_text(of: StartExplanation) -> str:
    now = " (evaluated now)" if of.basis == "evaluated_now" else ""
    run = "" if of.run_id is None else f" {of.run_id}"
    return f"{of.sentence}{run} [{of.verdict.value}]{now}"


def _id(text: str, what: str) -> str:
    if UUID_TEXT.fullmatch(text) is None:
        raise usage(f"{text!r} is no id of {'an' if what == 'event' else 'a'} {what}.")
    return text.lower()
