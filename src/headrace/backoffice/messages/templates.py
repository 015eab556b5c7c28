"""Templates: the draft as a contact would get it, publishing it, and its versions."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from headrace.backoffice.events.search import read_uuid
from headrace.backoffice.messages.message import mail_frame
from headrace.backoffice.messages.notices import mail_page
from headrace.backoffice.shell import content_policy
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get, post
from headrace.delivery.mail.templates import Rendered
from headrace.domain.contacts.contact import Contact
from headrace.domain.contacts.search import check_search
from headrace.domain.errors import ApiError, FieldProblem
from headrace.domain.ids import uuid_text
from headrace.domain.messages.kinds import TemplateStatus
from headrace.domain.push.device_tests import PushTest
from headrace.pipeline.messages.templating import PushPreview
from headrace.store.contract.contacts import ContactFilter
from headrace.store.contract.messages import Template
from headrace.store.contract.push import APPS_MAX

ROWS = 50
VERSIONS_SHOWN = 20
#: How many contacts are searched for the one that was typed.
_CANDIDATES_MAX = 50


class _Preview(msgspec.Struct, kw_only=True):
    """Input of a preview, and its result."""

    contact: str
    variables: str
    contact_id: str | None = None
    values: dict[str, Any] = {}
    problem: str = ""
    #: A contact's data is personal: shown only while unmasked.
    masked: bool = False
    rendered: Rendered | None = None
    #: Of a push template.
    pushed: PushPreview | None = None


async def list_templates(visit: PageRequest) -> Response:
    """List templates of the project, newest first."""
    found = await visit.store.messages.templates.list(
        visit.project.id, before=visit.query.number("before"), limit=ROWS + 1
    )
    rows = found[:ROWS]
    return await mail_page(
        visit,
        "templates.html",
        rows=rows,
        next_before=rows[-1].created_us if len(found) > ROWS else None,
    )


async def show_template(visit: PageRequest) -> Response:
    """One template, with its draft, a preview and its versions."""
    return await _page(visit, await _find(visit))


async def _page(
    visit: PageRequest,
    template: Template,
    status: int = 200,
    *,
    published: int = 0,
    problems: tuple[FieldProblem, ...] = (),
    warnings: tuple[FieldProblem, ...] = (),
    tested: str = "",
) -> Response:
    preview = await _preview(visit, template)
    versions = await visit.store.messages.templates.versions(
        visit.project.id,
        template.id,
        before=visit.query.number("before"),
        limit=VERSIONS_SHOWN + 1,
    )
    shown = versions[:VERSIONS_SHOWN]
    response = await mail_page(
        visit,
        "template.html",
        status,
        held=template,
        is_mail=template.channel == "email",
        archived=template.status is TemplateStatus.ARCHIVED,
        preview=preview,
        data_text="" if preview.pushed is None else json.dumps(preview.pushed.data, indent=2),
        apps=await _apps(visit, template),
        tested=tested,
        versions=shown,
        next_before=shown[-1].number if len(versions) > VERSIONS_SHOWN else None,
        published=published,
        problems=problems,
        warnings=warnings,
    )
    return content_policy.with_mail(response)


async def show_html(visit: PageRequest) -> Response:
    """The HTML of the preview, for a frame."""
    preview = await _preview(visit, await _find(visit))
    if preview.rendered is None:
        raise HTTPException(404)
    return mail_frame(preview.rendered.html)


async def _preview(visit: PageRequest, template: Template) -> _Preview:
    preview = _Preview(contact=visit.query.text("contact"), variables=visit.query.text("variables"))
    try:
        preview.values = _read_variables(preview.variables)
    except ValueError as error:
        preview.problem = f"The variables {error}."
        return preview
    if preview.contact:
        if not visit.shows_personal_data:
            preview.masked = True
            return preview
        found = await _find_contact(visit, preview.contact)
        if found is None:
            preview.problem = "No contact has this external id, e-mail or id."
            return preview
        preview.contact_id = found.id
    try:
        if template.channel == "push":
            preview.pushed = await visit.backoffice.mail.templating.preview_push(
                visit.project.id,
                template,
                contact_id=preview.contact_id,
                variables=preview.values,
            )
            return preview
        preview.rendered = await visit.backoffice.mail.templating.preview(
            visit.project.id,
            template.id,
            contact_id=preview.contact_id,
            variables=preview.values,
        )
    except ApiError as error:
        preview.problem = _sentence(error)
    return preview


def _read_variables(text: str) -> dict[str, Any]:
    """Variables as JSON text; empty: none.

    Raises:
        ValueError: as the rest of a sentence.
    """
    if not text:
        return {}
    message = 'must be a JSON object such as {"order_id": 7}'
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(message) from None
    if not isinstance(value, dict):
        raise ValueError(message)  # noqa: TRY004 - of what was typed, not of a type
    return value


async def _find_contact(visit: PageRequest, text: str) -> Contact | None:
    """Find the contact by id, external id or e-mail address."""
    raw = read_uuid(text)
    if raw is not None:
        found = await visit.store.contacts.get(visit.project.id, uuid_text(raw))
        if found is not None:
            return found
    try:
        wanted = ContactFilter(search=check_search(text))
    except ValueError:
        return None
    page = await visit.store.contacts.list(
        visit.project.id, wanted, before=None, limit=_CANDIDATES_MAX
    )
    names = {text, text.lower()}
    exact = [c for c in page.contacts if c.external_id in names or c.email in names]
    return exact[0] if exact else None


def _sentence(error: ApiError) -> str:
    said = "; ".join(f"{each.field} {each.message}".strip() for each in error.details)
    said = said or error.message
    return f"{said[:1].upper()}{said[1:].rstrip('.')}."


async def publish(visit: PageRequest) -> Response:
    """Publish the draft as a version; the page shows warnings for its author."""
    template = await _find(visit)
    try:
        made = await visit.backoffice.mail.templating.publish(
            visit.project.id, template.id, actor=visit.actor
        )
    except ApiError as error:
        problems = error.details or (FieldProblem("", error.message),)
        return await _page(visit, template, 422, problems=problems)
    if made is None:
        raise HTTPException(404)
    return await _page(
        visit, await _find(visit), published=made.version.number, warnings=made.warnings
    )


async def send_test(visit: PageRequest) -> Response:
    """Send the draft of a push template to one device."""
    template = await _find(visit)
    device_id = visit.form.text("device").strip()
    try:
        variables = _read_variables(visit.query.text("variables"))
        test = PushTest(
            app_id=visit.form.text("app"),
            device_id=device_id,
            template_id=template.id,
            variables=variables,
        )
        await visit.backoffice.push_sending.send_test(visit.project.id, test, actor=visit.actor)
    except ValueError as error:
        return await _page(visit, template, 422, tested=f"The variables {error}.")
    except ApiError as error:
        return await _page(visit, template, 422, tested=_sentence(error))
    address = visit.project_url(f"/templates/{template.id}")
    return visit.go(address, f"The test to device {device_id} is on its way.")


async def _apps(visit: PageRequest, template: Template) -> list[tuple[str, str]]:
    """Ids and names of push apps, for tests of a push template."""
    if template.channel != "push":
        return []
    found = await visit.store.push.apps.list(visit.project.id, before=None, limit=APPS_MAX)
    return sorted(((app.id, app.name) for app in found), key=lambda each: each[1])


async def restore(visit: PageRequest) -> Response:
    """Replace the draft with a version."""
    template = await _find(visit)
    number = visit.form.number("number")
    restored = None
    if number is not None:
        restored = await visit.store.messages.templates.restore(
            visit.project.id, template.id, number, visit.now_us
        )
    if restored is None:
        raise HTTPException(404)
    address = visit.project_url(f"/templates/{template.id}")
    return visit.go(address, f"The draft is now that of version {number}.")


async def _find(visit: PageRequest) -> Template:
    raw = read_uuid(visit.request.path_params["template"])
    found = None
    if raw is not None:
        found = await visit.store.messages.templates.get(visit.project.id, uuid_text(raw))
    if found is None:
        raise HTTPException(404)
    return found


_ONE = "/projects/{project}/templates/{template}"
SCREENS = (
    get("/projects/{project}/templates", list_templates, Access.VIEWER),
    get(_ONE, show_template, Access.VIEWER),
    get(f"{_ONE}/html", show_html, Access.VIEWER),
    post(f"{_ONE}/publish", publish, Access.OPERATOR),
    post(f"{_ONE}/restore", restore, Access.OPERATOR),
    post(f"{_ONE}/test", send_test, Access.OPERATOR),
)
