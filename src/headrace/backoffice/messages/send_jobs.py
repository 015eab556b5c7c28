"""Sends to audiences: progress, and stopping one."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import Response

from headrace.backoffice.events.search import read_uuid
from headrace.backoffice.messages.notices import mail_page
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get, post
from headrace.domain.ids import uuid_text

ROWS = 25
_OPEN = frozenset({"scheduled", "running"})


async def list_jobs(visit: PageRequest) -> Response:
    """List jobs of the project, newest first."""
    found = await visit.store.messages.jobs.list(
        visit.project.id, before=visit.query.number("before"), limit=ROWS + 1
    )
    rows = found[:ROWS]
    return await mail_page(
        visit,
        "send_jobs.html",
        rows=rows,
        next_before=rows[-1].number if len(found) > ROWS else None,
    )


async def show_job(visit: PageRequest) -> Response:
    """Show progress; the page reloads itself until the job ends."""
    job = await visit.store.messages.jobs.get(visit.project.id, _job_id(visit))
    if job is None:
        raise HTTPException(404)
    is_open = job.status in _OPEN
    response = await mail_page(
        visit,
        "send_job.html",
        job=job,
        is_open=is_open,
        audiences=[await _name(visit, each) for each in job.audiences],
        excluded=[await _name(visit, each) for each in job.excluded],
    )
    if job.status == "running":
        # A header and not a script, so that the page also reloads where scripts are off.
        response.headers["Refresh"] = "2"
    return response


async def _name(visit: PageRequest, audience_id: str) -> str:
    found = await visit.store.audiences.get(visit.project.id, audience_id)
    return "a deleted audience" if found is None else found.name


async def stop(visit: PageRequest) -> Response:
    """Create no more messages, and cancel the waiting ones."""
    job_id = _job_id(visit)
    before = await visit.store.messages.jobs.get(visit.project.id, job_id)
    if before is None:
        raise HTTPException(404)
    address = visit.project_url(f"/send-jobs/{job_id}")
    if before.status not in _OPEN:
        return visit.go(address, f"It is already {before.status}.", kind="bad")
    await visit.store.messages.jobs.stop(visit.project.id, job_id, visit.now_us, actor=visit.actor)
    return visit.go(address, "Stopped. Unsent messages are cancelled.")


def _job_id(visit: PageRequest) -> str:
    raw = read_uuid(visit.request.path_params["job"])
    if raw is None:
        raise HTTPException(404)
    return uuid_text(raw)


_ONE = "/projects/{project}/send-jobs/{job}"
SCREENS = (
    get("/projects/{project}/send-jobs", list_jobs, Access.VIEWER),
    get(_ONE, show_job, Access.VIEWER),
    post(f"{_ONE}/stop", stop, Access.OPERATOR),
)
