"""`headrace automation cancel-run|retry-run|cancel-runs|retry-runs`: changes of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.access.key import ProjectName
from headrace.cli.automation.definitions import Which, find
from headrace.cli.automation.views import run_view
from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.output import AsJson, print_json, print_rows
from headrace.cli.shared.settings import STORE, with_settings
from headrace.cli.shared.stores import ACTOR, DEFAULT_PROJECT, find_project, in_store
from headrace.config import Settings
from headrace.domain.automations.running.states import RunStatus
from headrace.domain.ids import UUID_TEXT
from headrace.store.contract.automations import RunAction, RunFilter
from headrace.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.store.contract.automations import BulkPreview

RunId = Annotated[str, typer.Argument(metavar="ID", help="The run.")]
Reason = Annotated[str, typer.Option(help="Why; it is audited.")]
Status = Annotated[RunStatus | None, typer.Option(help="Only those in this status.")]
Version = Annotated[int | None, typer.Option(min=1, help="Only those of this version.")]
AtStep = Annotated[str, typer.Option("--at-step", help="Only those at this step.")]
ContactId = Annotated[str, typer.Option("--contact-id", help="Only those of this contact.")]
StartedBefore = Annotated[
    str, typer.Option("--started-before", help="Only those started before, in RFC 3339.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be changed, change nothing.")
]


@with_settings(*STORE)
def cancel_run(
    settings: Settings,
    run_id: RunId,
    reason: Reason,
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Cancel an open run. A mail that is still queued is cancelled, too.

    Example: headrace automation cancel-run 0197a3f0-6b2e-5c41-9f0a-1d2c3b4a5f60 --reason "a test"
    """
    _one(settings, run_id, project, RunAction.CANCEL, reason, as_json=as_json)


@with_settings(*STORE)
def retry_run(
    settings: Settings,
    run_id: RunId,
    reason: Reason,
    from_step: Annotated[
        str, typer.Option("--from-step", help="Continue at this step, not at the one that failed.")
    ] = "",
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Retry a failed run at the step that failed. Completed steps are not taken again.

    Example: headrace automation retry-run 0197a3f0-6b2e-5c41-9f0a-1d2c3b4a5f60 --reason "fixed"
    """
    _one(settings, run_id, project, RunAction.RETRY, reason, from_step, as_json=as_json)


@with_settings(*STORE)
def cancel_runs(  # noqa: PLR0913, PLR0917 - one parameter a flag
    settings: Settings,
    which: Which,
    reason: Reason = "",
    status: Status = None,
    version: Version = None,
    at_step: AtStep = "",
    contact_id: ContactId = "",
    started_before: StartedBefore = "",
    only_look: DryRun = False,
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Cancel all open runs of an automation that match.

    Example: headrace automation cancel-runs "Abandoned checkout" --at-step mail --dry-run
    """
    wanted = _wanted(status, version, at_step, contact_id, started_before)
    action = RunAction.CANCEL
    _many(settings, which, project, action, wanted, reason, only_look=only_look, as_json=as_json)


@with_settings(*STORE)
def retry_runs(  # noqa: PLR0913, PLR0917 - one parameter a flag
    settings: Settings,
    which: Which,
    reason: Reason = "",
    version: Version = None,
    at_step: AtStep = "",
    contact_id: ContactId = "",
    started_before: StartedBefore = "",
    only_look: DryRun = False,
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Retry all failed runs of an automation that match, each at the step that failed.

    Example: headrace automation retry-runs "Abandoned checkout" --reason "the relay works again"
    """
    wanted = _wanted(None, version, at_step, contact_id, started_before)
    action = RunAction.RETRY
    _many(settings, which, project, action, wanted, reason, only_look=only_look, as_json=as_json)


@with_settings(*STORE)
def forget_entries(
    settings: Settings,
    which: Which,
    contact_id: Annotated[str, typer.Option("--contact-id", help="The contact.")],
    project: ProjectName = DEFAULT_PROJECT,
    as_json: AsJson = False,
) -> None:
    """Forget earlier starts of a contact, so that `once` and `once_per` allow one again.

    Example: headrace automation forget-entries Welcome --contact-id 0197a3f0-...
    """
    from headrace.domain.events.fields import check_contact_id

    wanted_id = checked("--contact-id", contact_id, check_contact_id)

    async def work(store: Store) -> bool:
        owner = await find_project(store, project)
        of = await find(store, owner.id, which)
        operations = store.automations.operations
        return await operations.forget_entries(owner.id, of.id, wanted_id, actor=ACTOR)

    if not in_store(settings, work):
        raise CommandFailed(f"There is no such contact in project {project}.")
    if as_json:
        print_json({"contact_id": wanted_id, "forgotten": True})
        return
    typer.echo("Earlier starts of the contact are forgotten.")


def _one(
    settings: Settings,
    run_id: str,
    project: str,
    action: RunAction,
    reason: str,
    from_step: str = "",
    *,
    as_json: bool,
) -> None:
    from headrace.store.automations.operations import NotEligibleError

    if UUID_TEXT.fullmatch(run_id) is None:
        raise usage(f"{run_id!r} is no id of a run.")
    why = checked("--reason", reason, _rules()[0])
    step = checked("--from-step", from_step, _rules()[1]) if from_step else None

    async def work(store: Store) -> bool:
        owner = await find_project(store, project)
        operations, wanted_id = store.automations.operations, run_id.lower()
        if action is RunAction.CANCEL:
            return await operations.cancel(owner.id, wanted_id, why, actor=ACTOR)
        return await operations.retry(owner.id, wanted_id, why, from_step=step, actor=ACTOR)

    try:
        done = in_store(settings, work)
    except NotEligibleError as error:
        raise CommandFailed(str(error)) from None
    if not done:
        raise CommandFailed(f"There is no such run in project {project}.")
    if as_json:
        print_json({"id": run_id.lower(), "action": action.value})
    else:
        typer.echo("Cancelled." if action is RunAction.CANCEL else "Retried.")


def _many(
    settings: Settings,
    which: str,
    project: str,
    action: RunAction,
    wanted: RunFilter,
    reason: str,
    *,
    only_look: bool,
    as_json: bool,
) -> None:
    why = "" if only_look else checked("--reason", reason, _rules()[0])

    async def look(store: Store) -> BulkPreview | None:
        owner = await find_project(store, project)
        of = await find(store, owner.id, which)
        return await store.automations.operations.preview(owner.id, of.id, action, wanted)

    async def work(store: Store) -> int:
        owner = await find_project(store, project)
        of = await find(store, owner.id, which)
        done, has_more = 0, True
        while has_more:
            part = await store.automations.operations.apply(
                owner.id, of.id, action, wanted, why, actor=ACTOR
            )
            if part is None:
                break
            done += part.done
            # Without progress, others change the same runs.
            has_more = part.has_more and part.done > 0
        return done

    if not only_look:
        done = in_store(settings, work)
        verb = "cancelled" if action is RunAction.CANCEL else "will be retried"
        if as_json:
            print_json({"count": done})
        else:
            typer.echo(f"{done} run{'' if done == 1 else 's'} {verb}.")
        return
    found = in_store(settings, look)
    if found is None:
        raise CommandFailed("The automation was removed in the meantime.")
    sample = [run_view(row) for row in found.sample]
    if as_json:
        print_json({"count": found.count, "has_more": found.more, "sample": sample})
        return
    more = "More than " if found.more else ""
    typer.echo(f"{more}{found.count} would be changed.")
    names = ("id", "version_number", "status", "at_step", "started_at")
    print_rows(
        [name.upper() for name in names],
        [["" if each[name] is None else str(each[name]) for name in names] for each in sample],
    )


def _rules() -> tuple[Callable[[str], str], Callable[[str], str]]:
    from headrace.pipeline.automations.run_requests import check_reason, check_step_key

    return check_reason, check_step_key


def _wanted(
    status: RunStatus | None, version: int | None, at_step: str, contact_id: str, before: str
) -> RunFilter:
    from headrace.domain import timestamps
    from headrace.domain.events.fields import check_contact_id

    before_us = None
    if before:
        try:
            before_us = timestamps.parse(before)
        except ValueError as error:
            raise usage(f"--started-before {error}") from None
    return RunFilter(
        status=status,
        version=version,
        at_step=checked("--at-step", at_step, _rules()[1]) if at_step else None,
        contact_id=checked("--contact-id", contact_id, check_contact_id) if contact_id else None,
        started_before_us=before_us,
    )


def checked(flag: str, value: str, rule: Callable[[str], str]) -> str:
    """A value of a flag by its rule.

    Raises:
        CommandFailed: the rule rejects it.
    """
    try:
        return rule(value)
    except ValueError as error:
        raise usage(f"{flag} {error}") from None
