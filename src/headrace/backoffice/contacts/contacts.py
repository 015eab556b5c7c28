"""Contacts: find one; its identifiers, properties, topics, audiences and events; delete it."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from headrace.backoffice.events.search import read_uuid
from headrace.backoffice.messages.notices import mail_notices
from headrace.backoffice.push.words import reason_words as device_words
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get, post
from headrace.domain.contacts.contact import Contact
from headrace.domain.contacts.search import check_search
from headrace.domain.events.event import Status
from headrace.domain.ids import uuid_text
from headrace.domain.messages.explanations import reason_words
from headrace.store.contract.contacts import ContactFilter

ROWS = 50
EVENTS_SHOWN = 20
MESSAGES_SHOWN = 10
RUNS_SHOWN = 10
DEVICES_SHOWN = 20
TOPICS_SHOWN_MAX = 200
SOURCE = "backoffice"


async def list_contacts(visit: PageRequest) -> Response:
    """List the newest, or those with an identifier that begins with the search text."""
    search, problem = visit.query.exact("search"), ""
    contact_id = read_uuid(search.strip())
    if contact_id is not None:
        found = await visit.store.contacts.get(visit.project.id, uuid_text(contact_id))
        if found is not None:
            return visit.go(visit.project_url(f"/contacts/{found.id}"))
    try:
        wanted = ContactFilter(search=check_search(search) if search else None)
    except ValueError as error:
        wanted, problem = ContactFilter(), f"This {error}."
    page = await visit.store.contacts.list(
        visit.project.id, wanted, before=visit.query.number("before"), limit=ROWS
    )
    return visit.page(
        "contacts.html",
        422 if problem else 200,
        rows=[] if problem else page.contacts,
        next_before=None if problem else page.next_before,
        search=search,
        problem=problem,
    )


async def show_contact(visit: PageRequest) -> Response:
    """Everything known about a person, with recent activity."""
    contact = await find_contact(visit)
    if contact.id != visit.request.path_params["contact"].lower():
        # The id of a merged contact redirects to the surviving one.
        return visit.go(visit.project_url(f"/contacts/{contact.id}"))
    store, project_id = visit.store, visit.project.id
    subscriptions = await store.topics.subscriptions(
        project_id, contact.id, before=None, limit=TOPICS_SHOWN_MAX
    )
    timeline = await store.events.of_contact(
        project_id, contact.id, before=visit.query.number("before"), limit=EVENTS_SHOWN
    )
    runs = await store.automations.runs.of_contact(contact, limit=RUNS_SHOWN)
    messages = await store.messages.lists.of_contact(contact, before=None, limit=MESSAGES_SHOWN + 1)
    devices = await store.push.devices.of_contact(project_id, contact.id)
    return visit.page(
        "contact.html",
        **await mail_notices(visit),
        runs=runs,
        messages=messages[:MESSAGES_SHOWN],
        more_messages=len(messages) > MESSAGES_SHOWN,
        reason_words=reason_words,
        devices=devices[-DEVICES_SHOWN:],
        device_words=device_words,
        contact=contact,
        properties=_properties(contact),
        subscriptions=subscriptions or [],
        audiences=await store.audiences.of_contact(project_id, contact.id),
        events=timeline.events if timeline else [],
        next_before=timeline.next_before if timeline else None,
        status_names={status.value: status.name.lower() for status in Status},
    )


async def find_contact(visit: PageRequest) -> Contact:
    """The contact in the path.

    Raises:
        HTTPException: 404.
    """
    raw = read_uuid(visit.request.path_params["contact"])
    found = None
    if raw is not None:
        found = await visit.store.contacts.get(visit.project.id, uuid_text(raw))
    if found is None:
        raise HTTPException(404)
    return found


def _properties(contact: Contact) -> list[tuple[str, Any, int | None]]:
    """Name, value and time of the last change, by name."""
    times = contact.property_times
    return [
        (name, value, times[name].at_us if name in times else None)
        for name, value in sorted(contact.properties.items())
    ]


async def delete(visit: PageRequest) -> Response:
    """Delete the contact; its events stay."""
    contact = await find_contact(visit)
    await visit.store.contacts.delete(visit.project.id, contact.id, visit.now_us, source=SOURCE)
    return visit.go(visit.project_url("/contacts"), "Contact deleted. Its events stay.")


SCREENS = (
    get("/projects/{project}/contacts", list_contacts, Access.VIEWER),
    get("/projects/{project}/contacts/{contact}", show_contact, Access.VIEWER),
    post("/projects/{project}/contacts/{contact}/delete", delete, Access.OPERATOR),
)
