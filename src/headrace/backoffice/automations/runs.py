"""Runs of automations, and events that started none."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import Response

from headrace.backoffice.automations.finding import find_automation
from headrace.backoffice.events.search import read_uuid
from headrace.backoffice.messages.listing import place_text, read_place
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get, post
from headrace.domain.automations.running.states import RunStatus
from headrace.domain.ids import uuid_text
from headrace.domain.labels import DESCRIPTION_CHARACTERS_MAX, check_description
from headrace.pipeline.automations.run_requests import check_step_key
from headrace.store.automations.operations import NotEligibleError
from headrace.store.contract.automations import VERSIONS_MAX, RunDetail, RunFilter

ROWS = 50
NO_REASON = "no reason given"


async def list_runs(visit: PageRequest) -> Response:
    """Runs of one automation, newest first."""
    held = await find_automation(visit)
    status = visit.query.one_of("status", tuple(RunStatus))
    typed = visit.query.text("contact")
    raw = read_uuid(typed) if typed else None
    problem = "This is not a valid contact id." if typed and raw is None else ""
    step, step_problem = visit.query.text("at_step"), ""
    try:
        at_step = check_step_key(step) if step else None
    except ValueError as error:
        at_step, step_problem = None, f"This {error}."
    version = visit.query.number("version")
    wanted = RunFilter(
        status=RunStatus(status) if status else None,
        contact_id=None if raw is None else uuid_text(raw),
        version=None if version is None else min(version, VERSIONS_MAX + 1),
        at_step=at_step,
    )
    found = await visit.store.automations.runs.page(
        visit.project.id,
        held.id,
        wanted,
        before=read_place(visit.query.text("before")),
        limit=ROWS,
    )
    if problem or step_problem:
        found = None
    rows = [] if found is None else found.rows
    following = None if found is None else found.following
    return visit.page(
        "automation_runs.html",
        422 if problem or step_problem else 200,
        held=held,
        rows=rows,
        next_before=None if following is None else place_text(following),
        at_step=step,
        step_problem=step_problem,
        version=version,
        status=status,
        contact=typed,
        problem=problem,
        statuses=[("", "any"), *((each.value, each.value) for each in RunStatus)],
    )


async def show_stats(visit: PageRequest) -> Response:
    """What the newest runs of one automation did, by version and step."""
    held = await find_automation(visit)
    found = await visit.store.automations.stats.of_automation(visit.project.id, held.id)
    return visit.page("automation_stats.html", held=held, stats=found)


async def list_rejected(visit: PageRequest) -> Response:
    """Events that would have started a run of one automation but for a rule."""
    held = await find_automation(visit)
    found = await visit.store.automations.runs.rejected_starts(
        visit.project.id, held.id, before=visit.query.number("before"), limit=ROWS + 1
    )
    rows = list(found or ())[:ROWS]
    return visit.page(
        "automation_rejected.html",
        held=held,
        rows=rows,
        next_before=rows[-1].sequence if len(found or ()) > ROWS else None,
    )


async def show_run(visit: PageRequest) -> Response:
    """One run: its steps, what was decided, and its mails."""
    detail = await _find(visit)
    held = await visit.store.automations.definitions.get(visit.project.id, detail.row.automation_id)
    return visit.page(
        "automation_run.html",
        detail=detail,
        row=detail.row,
        run=detail.run,
        held=held,
        messages={each.step_key: each for each in detail.messages},
        reason_max=DESCRIPTION_CHARACTERS_MAX,
    )


async def cancel(visit: PageRequest) -> Response:
    """End an open run; audited."""
    detail = await _find(visit)
    address = visit.project_url(f"/automation-runs/{detail.row.id}")
    try:
        reason = check_description(visit.form.text("reason")) or NO_REASON
    except ValueError as error:
        return visit.go(address, f"Nothing was changed: the reason {error}.", kind="bad")
    operations = visit.store.automations.operations
    try:
        await operations.cancel(visit.project.id, detail.row.id, reason, actor=visit.actor)
    except NotEligibleError as error:
        return visit.go(address, f"Nothing was changed: {error}", kind="bad")
    return visit.go(address, "The run is cancelled.")


async def retry(visit: PageRequest) -> Response:
    """Retry a failed run at the step that failed; audited."""
    detail = await _find(visit)
    address = visit.project_url(f"/automation-runs/{detail.row.id}")
    operations = visit.store.automations.operations
    try:
        await operations.retry(visit.project.id, detail.row.id, NO_REASON, actor=visit.actor)
    except NotEligibleError as error:
        return visit.go(address, f"Nothing was changed: {error}", kind="bad")
    return visit.go(address, "The run is retried.")


async def _find(visit: PageRequest) -> RunDetail:
    raw = read_uuid(visit.request.path_params["run"])
    found = None
    if raw is not None:
        found = await visit.store.automations.runs.get(visit.project.id, uuid_text(raw))
    if found is None:
        raise HTTPException(404)
    return found


_OF_AUTOMATION = "/projects/{project}/automations/{automation}"
_ONE = "/projects/{project}/automation-runs/{run}"
SCREENS = (
    get(f"{_OF_AUTOMATION}/runs", list_runs, Access.VIEWER),
    get(f"{_OF_AUTOMATION}/stats", show_stats, Access.VIEWER),
    get(f"{_OF_AUTOMATION}/rejected-starts", list_rejected, Access.VIEWER),
    get(_ONE, show_run, Access.VIEWER),
    post(f"{_ONE}/cancel", cancel, Access.OPERATOR),
    post(f"{_ONE}/retry", retry, Access.OPERATOR),
)
