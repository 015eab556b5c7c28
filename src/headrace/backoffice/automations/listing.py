"""Automations: the list, one with its publish check, and its versions."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import Response

from headrace.backoffice.automations.finding import find_automation, find_person
from headrace.backoffice.events.payload import pretty
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get, post
from headrace.domain.automations.running.starting import AutomationStatus
from headrace.domain.timestamps import parse
from headrace.pipeline.automations.explanation import explain_contact
from headrace.store.automations.automations import (
    Checked,
    TooManyAutomationsError,
    WrongStatusError,
)
from headrace.store.contract.automations import (
    VERSIONS_MAX,
    Automation,
    Overdue,
    PauseMode,
    RunFilter,
)

ROWS = 50
RUNS_SHOWN = 10
VERSIONS_SHOWN = 20
SEARCH_CHARACTERS_MAX = 200
_CHANGES = ("pause", "resume", "archive")


async def list_automations(visit: PageRequest) -> Response:
    """Automations of the project, newest first."""
    status = visit.query.one_of("status", tuple(AutomationStatus))
    search = visit.query.text("search")[:SEARCH_CHARACTERS_MAX]
    found = await visit.store.automations.definitions.list(
        visit.project.id,
        status=status or None,
        text=search,
        before=visit.query.number("before"),
        limit=ROWS + 1,
    )
    rows = found[:ROWS]
    return visit.page(
        "automations.html",
        rows=rows,
        next_before=rows[-1].created_us if len(found) > ROWS else None,
        status=status,
        search=search,
        statuses=[("", "any"), *((each.value, each.value) for each in AutomationStatus)],
    )


async def show_automation(visit: PageRequest) -> Response:
    """One automation with its draft, the problems of it, its versions, and the newest runs."""
    return await _page(visit, await find_automation(visit))


async def _page(
    visit: PageRequest, held: Automation, status: int = 200, *, refused: bool = False
) -> Response:
    automations = visit.store.automations
    checked = await automations.definitions.check(visit.project.id, held.id)
    versions = await automations.definitions.versions(
        visit.project.id, held.id, before=visit.query.number("before"), limit=VERSIONS_SHOWN + 1
    )
    runs = await automations.runs.list(
        visit.project.id, held.id, RunFilter(), before=None, limit=RUNS_SHOWN
    )
    rejected = await automations.runs.rejected_starts(visit.project.id, held.id, limit=RUNS_SHOWN)
    if checked is None or versions is None:
        raise HTTPException(404)
    shown = versions[:VERSIONS_SHOWN]
    return visit.page(
        "automation.html",
        status,
        held=checked.automation,
        definition=pretty(held.draft),
        problems=checked.report.problems,
        left_out=checked.left_out,
        warnings=checked.report.warnings,
        refused=refused,
        versions=shown,
        next_before=shown[-1].number if len(versions) > VERSIONS_SHOWN else None,
        runs=runs or (),
        rejected=rejected or (),
    )


async def show_version(visit: PageRequest) -> Response:
    """One published version."""
    held = await find_automation(visit)
    number = visit.request.path_params["number"]
    if not (number.isascii() and number.isdigit() and len(number) <= 6):
        raise HTTPException(404)
    found = await visit.store.automations.definitions.version(
        visit.project.id, held.id, int(number)
    )
    if found is None:
        raise HTTPException(404)
    return visit.page(
        "automation_version.html", held=held, version=found, definition=pretty(found.definition)
    )


async def publish(visit: PageRequest) -> Response:
    """Publish the draft, unless the check finds a problem."""
    held = await find_automation(visit)
    address = visit.project_url(f"/automations/{held.id}")
    try:
        done: Checked | None = await visit.store.automations.definitions.publish(
            visit.project.id, held.id, visit.now_us, actor=visit.actor
        )
    except TooManyAutomationsError:
        text = f"Nothing was published: an automation has at most {VERSIONS_MAX} versions."
        return visit.go(address, text, kind="bad")
    except WrongStatusError:
        return visit.go(address, "It is archived.", kind="bad")
    if done is None:
        raise HTTPException(404)
    if done.version is None:
        return await _page(visit, held, 422, refused=True)
    return visit.go(address, f"Version {done.version.number} is published and active.")


async def set_status(visit: PageRequest) -> Response:
    """Pause, resume or archive."""
    held = await find_automation(visit)
    change = visit.form.one_of("change", _CHANGES)
    if not change:
        raise HTTPException(404)
    address = visit.project_url(f"/automations/{held.id}")
    try:
        changed = await _change(visit, held, change)
    except WrongStatusError:
        text = f"Nothing was changed: it is {held.status.value}."
        return visit.go(address, text, kind="bad")
    if changed is None:
        raise HTTPException(404)
    return visit.go(address, f"It is {changed.status.value}.")


async def _change(visit: PageRequest, held: Automation, change: str) -> Automation | None:
    """Make a change.

    Raises:
        WrongStatusError: its status does not allow the change.
    """
    automations, project_id = visit.store.automations, visit.project.id
    if change == "pause":
        mode = visit.form.one_of("mode", tuple(PauseMode)) or PauseMode.DRAIN.value
        return await automations.pausing.pause(
            project_id, held.id, PauseMode(mode), visit.now_us, actor=visit.actor
        )
    if change == "resume":
        overdue = visit.form.one_of("overdue", tuple(Overdue)) or Overdue.RUN.value
        return await automations.pausing.resume(
            project_id, held.id, visit.now_us, overdue=Overdue(overdue), actor=visit.actor
        )
    return await automations.definitions.set_status(
        project_id, held.id, AutomationStatus.ARCHIVED, visit.now_us, actor=visit.actor
    )


async def explain(visit: PageRequest) -> Response:
    """Why a person has started runs or none, and what became of their mails."""
    held = await find_automation(visit)
    person = visit.query.exact("person").strip()
    contact = None if not person else await find_person(visit, person)
    found = None if contact is None else await explain_contact(visit.store, held, contact)
    return visit.page(
        "automation_explain.html",
        422 if person and contact is None else 200,
        held=held,
        person=person,
        problem="No contact has this external id, e-mail or id." if person and not contact else "",
        found=found,
        at_us=parse,
    )


_ONE = "/projects/{project}/automations/{automation}"
SCREENS = (
    get("/projects/{project}/automations", list_automations, Access.VIEWER),
    get(_ONE, show_automation, Access.VIEWER),
    get(f"{_ONE}/versions/{{number}}", show_version, Access.VIEWER),
    get(f"{_ONE}/explain", explain, Access.VIEWER),
    post(f"{_ONE}/publish", publish, Access.OPERATOR),
    post(f"{_ONE}/status", set_status, Access.OPERATOR),
)
