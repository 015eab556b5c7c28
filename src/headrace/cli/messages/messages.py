"""`headrace messages`: status of mail, and why it did or did not arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.access.key import ProjectName
from headrace.cli.messages.views import LIMIT_MAX, cell, id_of, message_view, trace_view
from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.output import AsJson, print_json, print_rows, printable
from headrace.cli.shared.settings import STORE, with_settings
from headrace.cli.shared.stores import ACTOR, DEFAULT_PROJECT, find_project, in_store
from headrace.config import Settings
from headrace.domain.messages.kinds import MessageStatus
from headrace.store.store import Store

if TYPE_CHECKING:
    from headrace.store.contract.messages import Message
    from headrace.store.messages.sending.message_lists import MessageDetail
    from headrace.store.messages.sending.message_search import MessageFilter, Place

app = typer.Typer(help="Find messages, and settle those that are unknown.", no_args_is_help=True)

#: Messages per page.
PAGE = 200
SETTLEMENTS = ("sent", "failed", "retry")
MessageId = Annotated[str, typer.Argument(metavar="ID", help="Id of the message.")]


@app.command("list")
@with_settings(*STORE)
def list_(
    settings: Settings,
    project: ProjectName = DEFAULT_PROJECT,
    status: Annotated[MessageStatus | None, typer.Option(help="Only those in this status.")] = None,
    email: Annotated[str, typer.Option("--email", help="Only those to this address.")] = "",
    contact_id: Annotated[
        str, typer.Option("--contact-id", help="Only those to this contact.")
    ] = "",
    domain: Annotated[str, typer.Option("--domain", help="Only those sent from this domain.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List messages, newest first, with the reason of those that did not arrive.

    Example: headrace messages list --email mike@example.com
    """
    wanted = _filter(status, email, contact_id, domain)

    async def work(store: Store) -> list[Message]:
        owner = await find_project(store, project)
        found: list[Message] = []
        before: Place | None = None
        while len(found) < limit:
            page = await store.messages.search.find(
                owner.id, wanted, before=before, limit=min(PAGE, limit - len(found))
            )
            found += page.messages
            before = page.next_before
            if before is None:
                break
        return found

    shown = [message_view(found) for found in in_store(settings, work)]
    if as_json:
        print_json(shown)
        return
    names = ("id", "created_at", "status", "to", "subject", "reason")
    print_rows([name.upper() for name in names], [[cell(e[name]) for name in names] for e in shown])


@app.command()
@with_settings(*STORE)
def show(
    settings: Settings,
    message_id: MessageId,
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Show why a message did or did not arrive: composed, checked, attempted, replied to.

    Example: headrace messages show 0f3b6a2e-...
    """
    wanted = id_of(message_id, "message")

    async def work(store: Store) -> MessageDetail | None:
        owner = await find_project(store, project)
        return await store.messages.lists.detail(owner.id, wanted, store.clock_us())

    detail = in_store(settings, work)
    if detail is None:
        raise _nothing(project)
    from headrace.pipeline.messages.message_trace import trace_of

    shown = trace_view(trace_of(detail))
    if as_json:
        print_json(shown)
    else:
        _print_trace(shown)


@app.command()
@with_settings(*STORE)
def settle(
    settings: Settings,
    message_id: Annotated[str, typer.Argument(metavar="[ID]", help="Settle this one alone.")] = "",
    outcome: Annotated[
        str, typer.Option("--as", help="sent, failed, or retry, which may send it twice.")
    ] = "",
    everything: Annotated[
        bool, typer.Option("--all", help="Every unknown message of the project.")
    ] = False,
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Settle messages of which it is unknown whether the relay accepted them.

    Example: headrace messages settle --all --as sent
    """
    if outcome not in SETTLEMENTS:
        raise usage(f"Say --as one of {', '.join(SETTLEMENTS)}.")
    if bool(message_id) is everything:
        raise usage("Name one message by its ID, or --all.")
    wanted = id_of(message_id, "message") if message_id else ""

    async def work(store: Store) -> list[Message]:
        owner = await find_project(store, project)
        ids = [wanted] if wanted else await _unknown(store, owner.id)
        settled = []
        for each in ids:
            found = await store.messages.lists.settle(
                owner.id, each, outcome, store.clock_us(), actor=ACTOR
            )
            if found is None and wanted:
                raise _nothing(project)
            if found is not None:
                settled.append(found)
        return settled

    settled = in_store(settings, work)
    after = {"sent": MessageStatus.SENT, "failed": MessageStatus.FAILED}
    expected = after.get(outcome, MessageStatus.DEFERRED)
    if wanted and settled[0].state is not expected:
        raise CommandFailed(f"The message is {settled[0].state.value}, not unknown.")
    if as_json:
        print_json([message_view(one) for one in settled])
    else:
        typer.echo(f"Settled as {outcome}: {len(settled)}")


async def _unknown(store: Store, project_id: int) -> list[str]:
    """Ids of all messages with an unknown outcome."""
    ids: list[str] = []
    before: Place | None = None
    while True:
        page = await store.messages.lists.list(
            project_id, state=MessageStatus.UNKNOWN, before=before, limit=PAGE
        )
        ids += [one.id for one in page]
        if len(page) < PAGE:
            return ids
        before = (page[-1].created_us, page[-1].id)


@app.command()
@with_settings(*STORE)
def cancel(
    settings: Settings,
    message_id: MessageId,
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Cancel a message that waits.

    Example: headrace messages cancel 0f3b6a2e-...
    """
    wanted = id_of(message_id, "message")

    async def work(store: Store) -> Message | None:
        owner = await find_project(store, project)
        return await store.messages.lists.cancel(owner.id, wanted, store.clock_us())

    found = in_store(settings, work)
    if found is None:
        raise _nothing(project)
    if found.state is not MessageStatus.CANCELLED:
        raise CommandFailed(f"The message is {found.state.value}, not waiting.")
    if as_json:
        print_json(message_view(found))
    else:
        typer.echo(f"Cancelled message {found.id}.")


def _nothing(project: str) -> CommandFailed:
    return CommandFailed(f"There is no such message in project {project}.")


def _filter(
    status: MessageStatus | None, email: str, contact_id: str, domain: str
) -> MessageFilter:
    from headrace.domain.email import normalize_email
    from headrace.domain.messages.requests import check_domain
    from headrace.store.messages.sending.message_search import MessageFilter

    try:
        return MessageFilter(
            status=status,
            recipient=normalize_email(email) if email else None,
            contact_id=id_of(contact_id, "contact") if contact_id else None,
            domain=check_domain(domain) if domain else None,
        )
    except ValueError as error:
        raise usage(f"{'--email' if email else '--domain'} {error}") from None


def _print_trace(shown: dict[str, Any]) -> None:
    message = shown["message"]
    typer.echo(printable(shown["explanation"]))
    for name in ("id", "created_at", "status", "to", "subject", "reason", "rule", "contact_id"):
        typer.echo(printable(f"  {name:14} {cell(message[name])}"))
    typer.echo(f"composed: {shown['composing']}")
    when = {"now": "now", "hand_over": "at the last hand-over", "end": "at its end"}
    if shown["guardrails"]:
        typer.echo(f"guardrails, {when[shown['checked_when']]}:")
    for one in shown["guardrails"]:
        words = [one["reason"], one["rule"], f"until {one['until']}" if one["until"] else None]
        said = ", ".join(word for word in words if word)
        typer.echo(printable(f"  {one['guardrail']:14} {one['decision']:6} {said}".rstrip()))
    typer.echo(f"attempts: {'' if shown['attempts'] else 'none'}".rstrip())
    for one in shown["attempts"]:
        codes = " ".join(str(code) for code in (one["code"], one["enhanced_code"]) if code)
        said = " ".join(word for word in (codes, one["diagnostic"]) if word)
        line = f"  {one['number']}  {one['started_at']}  {one['relay']}  {cell(one['outcome'])}"
        typer.echo(printable(f"{line}  {said}".rstrip()))
    for one in shown["engagement"]:
        by = f"{one['verdict']} ({one['reason']})" if one["reason"] else one["verdict"]
        typer.echo(printable(f"{one['kind']}: {one['count']} by {by}, first {one['first_at']}"))
