"""The automation of a path, and the person that was typed."""

from __future__ import annotations

from starlette.exceptions import HTTPException

from headrace.backoffice.events.search import read_uuid
from headrace.backoffice.shell.request import PageRequest
from headrace.domain.contacts.contact import Contact
from headrace.domain.email import normalize_email
from headrace.domain.events.fields import check_external_id
from headrace.domain.ids import uuid_text
from headrace.pipeline.automations.explanation import find_contact
from headrace.store.contract.automations import Automation


async def find_automation(visit: PageRequest) -> Automation:
    """The automation in the path.

    Raises:
        HTTPException: 404.
    """
    raw = read_uuid(visit.request.path_params["automation"])
    found = None
    if raw is not None:
        found = await visit.store.automations.definitions.get(visit.project.id, uuid_text(raw))
    if found is None:
        raise HTTPException(404)
    return found


async def find_person(visit: PageRequest, text: str) -> Contact | None:
    """The contact with this id, `external_id` or address."""
    store, project_id = visit.store, visit.project.id
    found = None
    raw = read_uuid(text)
    if raw is not None:
        found = await find_contact(store, project_id, contact_id=uuid_text(raw))
    if found is None:
        try:
            external_id = check_external_id(text)
        except ValueError:
            return None
        found = await find_contact(store, project_id, external_id=external_id)
    if found is None:
        try:
            email = normalize_email(text)
        except ValueError:
            return None
        found = await find_contact(store, project_id, email=email)
    return found
