"""A new send to audiences: the form, checked by the rules of the API, and saved as a draft."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from headrace.backoffice.messages.notices import mail_page
from headrace.backoffice.shell.forms import Fields
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get, post
from headrace.domain.errors import ApiError
from headrace.domain.json_text import Number
from headrace.domain.messages.email_request import PER_SECOND_MAX, email_of
from headrace.domain.messages.kinds import TemplateStatus

#: Audiences, topics and templates to choose from, the newest; others are for the API.
CHOICES_MAX = 100
_TEXTS = ("from", "subject", "text", "template_version_id", "topic_id")


async def new_send(visit: PageRequest) -> Response:
    """The empty form."""
    return await _page(visit, Fields([]))


async def create_draft(visit: PageRequest) -> Response:
    """Save a draft; nothing is sent."""
    mailing = visit.backoffice.mail.mailing
    project_id = visit.project.id
    try:
        request = email_of(
            _members(visit.form),
            visit.now_us,
            topicless_marketing=await mailing.allows_topicless_marketing(project_id),
        )
        job = await mailing.draft(project_id, request, actor=visit.actor)
    except ApiError as error:
        problems: dict[str, str] = {}
        for each in error.details:
            name = each.field.partition("[")[0]
            problems.setdefault(name, f"{each.field} {each.message}.")
        return await _page(visit, visit.form, 422, problems=problems or {"": error.message})
    return visit.go(
        visit.project_url(f"/send-jobs/{job.id}", dry_run=1), "Saved as a draft. Nothing is sent."
    )


def _members(form: Fields) -> dict[str, Any]:
    """The form as the body of `POST /emails`."""
    given: dict[str, Any] = {name: form.raw(name).strip() for name in _TEXTS}
    given["scheduled_at"] = _time(form.text("scheduled_at"))
    rate = form.text("per_second")
    given["per_second"] = Number(rate) if form.number("per_second") is not None else rate
    given["audiences"] = form.all("audience")
    given["excluded_audiences"] = form.all("excluded")
    members = {name: value for name, value in given.items() if value}
    return {"audiences": [], "kind": "marketing", **members}


def _time(text: str) -> str:
    # Browsers send `2026-12-01T09:00`, the time zone of the form is UTC.
    short = len(text) == len("2026-12-01T09:00")
    return f"{text}:00Z" if short else text


async def _page(
    visit: PageRequest, typed: Fields, status: int = 200, *, problems: dict[str, str] | None = None
) -> Response:
    store, project_id = visit.store, visit.project.id
    audiences = await store.audiences.list(project_id, before=None, limit=CHOICES_MAX)
    topics = await store.topics.list(project_id, before=None, limit=CHOICES_MAX)
    templates = await store.messages.templates.list(project_id, before=None, limit=CHOICES_MAX)
    versions = [("", "no template")]
    for template in templates:
        if template.channel != "email" or template.status is not TemplateStatus.ACTIVE:
            continue
        newest = await store.messages.templates.versions(
            project_id, template.id, before=None, limit=1
        )
        versions += [(each.id, f"{template.name}, version {each.number}") for each in newest]
    return await mail_page(
        visit,
        "send_new.html",
        status,
        audiences=audiences,
        topics=[("", "no topic"), *((each.id, each.name) for each in topics)],
        versions=versions,
        typed=typed,
        problems=problems or {},
        per_second_max=PER_SECOND_MAX,
    )


SCREENS = (
    get("/projects/{project}/send-jobs/new", new_send, Access.OPERATOR),
    post("/projects/{project}/send-jobs", create_draft, Access.OPERATOR),
)
