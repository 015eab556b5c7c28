"""Sends to audiences: progress, what would be sent, start, pause and stop."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import Response

from headrace.backoffice.events.search import read_uuid
from headrace.backoffice.messages.listing import place_text, read_place
from headrace.backoffice.messages.notices import mail_page
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get, post
from headrace.domain.ids import uuid_text
from headrace.domain.messages.email_request import PER_SECOND_MAX
from headrace.domain.messages.explanations import reason_words
from headrace.domain.messages.kinds import MessageStatus
from headrace.store.messages.sending.jobs import OUTCOMES_MAX, SendJob
from headrace.store.messages.sending.message_search import MessageFilter

ROWS = 25
#: Messages of a send on its page.
MESSAGES_SHOWN = 25
_OPEN = frozenset({"draft", "scheduled", "running", "paused"})
_WAITS = frozenset({"draft", "paused"})


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
    """Show progress and messages; the page reloads itself while the job runs."""
    job = await _find(visit)
    messages = visit.store.messages
    email = await messages.emails.get(visit.project.id, job.id)
    wanted = MessageFilter(email_id=job.id, status=_status(visit), reason=_reason(visit))
    page = await messages.search.find(
        visit.project.id,
        wanted,
        before=read_place(visit.query.text("before")),
        limit=MESSAGES_SHOWN,
    )
    forecast = None
    if visit.query.text("dry_run") and job.status in _OPEN:
        forecast = await visit.backoffice.mail.mailing.forecast_job(job)
    response = await mail_page(
        visit,
        "send_job.html",
        job=job,
        is_open=job.status in _OPEN,
        waits=job.status in _WAITS,
        content=None if email is None else email.email.content,
        forecast=forecast,
        per_second_max=PER_SECOND_MAX,
        outcomes=await messages.jobs.outcomes(job.id),
        outcomes_max=OUTCOMES_MAX,
        rows=page.messages,
        next_before=place_text(page.next_before),
        searched=wanted.status is not None or wanted.reason is not None,
        status=wanted.status or "",
        reason=wanted.reason or "",
        reason_words=reason_words,
        audiences=[await _name(visit, each) for each in job.audiences],
        excluded=[await _name(visit, each) for each in job.excluded],
    )
    if job.status == "running" and not visit.query.pairs():
        # A header and not a script, so that the page also reloads where scripts are off.
        response.headers["Refresh"] = "2"
    return response


async def _name(visit: PageRequest, audience_id: str) -> str:
    found = await visit.store.audiences.get(visit.project.id, audience_id)
    return "a deleted audience" if found is None else found.name


async def start(visit: PageRequest) -> Response:
    """Start a draft, or continue a paused send, at the rate of the form."""
    job = await _find(visit)
    address = visit.project_url(f"/send-jobs/{job.id}")
    text = visit.form.text("per_second")
    per_second = visit.form.number("per_second")
    if text and (per_second is None or not 1 <= per_second <= PER_SECOND_MAX):
        wrong = f"Not started: the rate must be 1 to {PER_SECOND_MAX} messages a second."
        return visit.go(address, wrong, kind="bad")
    jobs = visit.store.messages.jobs
    started = await jobs.start(
        visit.project.id, job.id, per_second, visit.now_us, actor=visit.actor
    )
    if not started:
        return visit.go(address, f"It is already {job.status}.", kind="bad")
    return visit.go(address, "Started.")


async def pause(visit: PageRequest) -> Response:
    """Create no more messages until it is continued."""
    job = await _find(visit)
    address = visit.project_url(f"/send-jobs/{job.id}")
    jobs = visit.store.messages.jobs
    if not await jobs.pause(visit.project.id, job.id, visit.now_us, actor=visit.actor):
        return visit.go(address, f"It is {job.status}, so it cannot be paused.", kind="bad")
    return visit.go(address, "Paused. Messages that were created are still sent.")


async def _find(visit: PageRequest) -> SendJob:
    job = await visit.store.messages.jobs.get(visit.project.id, _job_id(visit))
    if job is None:
        raise HTTPException(404)
    return job


def _status(visit: PageRequest) -> MessageStatus | None:
    text = visit.query.one_of("status", tuple(MessageStatus))
    return MessageStatus(text) if text else None


def _reason(visit: PageRequest) -> str | None:
    return visit.query.text("reason")[:64] or None


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
    post(f"{_ONE}/start", start, Access.OPERATOR),
    post(f"{_ONE}/pause", pause, Access.OPERATOR),
    post(f"{_ONE}/stop", stop, Access.OPERATOR),
)
