"""Exporting and erasing a person, for owners; the receipt names nobody."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from headrace.backoffice.contacts.contacts import find_contact
from headrace.backoffice.events.search import read_uuid
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get, post
from headrace.domain.ids import uuid_text
from headrace.pipeline.contacts.person_document import person_document
from headrace.store.contract.erasures import FINISH_HINT, ErasureStatus


async def erase(visit: PageRequest) -> Response:
    """Start the erasure, or a dry run; the receipt's page shows progress."""
    contact = await find_contact(visit)
    begun = await visit.store.erasures.begin(
        visit.project.id,
        contact.id,
        visit.now_us,
        actor=visit.actor,
        mask_mentions=visit.form.text("mask_mentions") == "yes",
        dry_run=visit.form.text("dry_run") == "yes",
    )
    if begun is None:
        raise HTTPException(404)
    return visit.go(visit.project_url(f"/erasures/{begun.id}"))


async def show_erasure(visit: PageRequest) -> Response:
    """The job's progress, and what it has removed where."""
    raw = read_uuid(visit.request.path_params["erasure"])
    found = None
    if raw is not None:
        found = await visit.store.erasures.get(visit.project.id, uuid_text(raw))
    if found is None:
        raise HTTPException(404)
    done = found.status is ErasureStatus.DONE
    hint = FINISH_HINT if found.report.copies_may_remain else ""
    response = visit.page("erasure.html", erasure=found, done=done, hint=hint)
    if not done:
        response.headers["Refresh"] = "2"
    return response


async def export(visit: PageRequest) -> Response:
    """Download everything stored about a person, unmasked, as a file; audited."""
    contact = await find_contact(visit)
    exports = visit.store.person_exports
    facts = await exports.find(visit.project.id, contact.id)
    if facts is None:
        raise HTTPException(404)
    if exports.is_full:
        text = "Other exports are running. Try again in a few seconds."
        return visit.go(visit.project_url(f"/contacts/{contact.id}"), text)
    await exports.note(visit.project.id, contact.id, visit.now_us, actor=visit.actor)
    headers = {
        "cache-control": "no-store",
        "content-disposition": f'attachment; filename="contact-{contact.id}.json"',
    }
    pieces = person_document(exports, facts)
    return StreamingResponse(pieces, media_type="application/json", headers=headers)


SCREENS = (
    post("/projects/{project}/contacts/{contact}/export", export, Access.OWNER),
    post("/projects/{project}/contacts/{contact}/erase", erase, Access.OWNER),
    get("/projects/{project}/erasures/{erasure}", show_erasure, Access.VIEWER),
)
