"""Messages: the newest, or filtered by recipient, domain or status."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from headrace.backoffice.events.search import read_uuid
from headrace.backoffice.messages.notices import mail_page
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get
from headrace.domain.email import normalize_email
from headrace.domain.ids import uuid_text
from headrace.domain.messages.explanations import reason_words
from headrace.domain.messages.kinds import MessageStatus
from headrace.domain.messages.requests import check_domain
from headrace.store.contract.messages import DOMAINS_MAX
from headrace.store.messages.sending.message_search import MessageFilter, Place

ROWS = 50
FIELDS = ("status", "recipient", "domain", "contact")


class _Search(msgspec.Struct):
    """A search as typed, with its errors and the store's filter."""

    typed: dict[str, str]
    problems: dict[str, str]
    wanted: MessageFilter = MessageFilter()


async def list_messages(visit: PageRequest) -> Response:
    """One page of messages."""
    search = await _read_search(visit)
    messages = visit.store.messages
    page = await messages.search.find(
        visit.project.id, search.wanted, before=read_place(visit.query.text("before")), limit=ROWS
    )
    unknown = await messages.search.find(
        visit.project.id, MessageFilter(status=MessageStatus.UNKNOWN), before=None, limit=1
    )
    domains = await messages.domains.list(visit.project.id, before=None, limit=DOMAINS_MAX)
    wrong = bool(search.problems)
    return await mail_page(
        visit,
        "messages.html",
        422 if wrong else 200,
        rows=[] if wrong else page.messages,
        next_before=None if wrong else place_text(page.next_before),
        search=search,
        searched=any(search.typed.values()),
        statuses=[("", "any"), *((each.value, each.value) for each in MessageStatus)],
        domains=sorted(domain.name for domain in domains),
        has_unknown=bool(unknown.messages),
        reason_words=reason_words,
    )


async def _read_search(visit: PageRequest) -> _Search:
    search = _Search({name: visit.query.text(name) for name in FIELDS}, {})
    typed, problems = search.typed, search.problems
    typed["status"] = visit.query.one_of("status", tuple(MessageStatus))
    status = MessageStatus(typed["status"]) if typed["status"] else None
    recipient = domain = contact_id = None
    if typed["recipient"]:
        try:
            recipient = normalize_email(typed["recipient"])
        except ValueError as error:
            problems["recipient"] = f"This {error}."
    if typed["domain"]:
        try:
            domain = check_domain(typed["domain"])
        except ValueError as error:
            problems["domain"] = f"This {error}."
    if typed["contact"]:
        raw = read_uuid(typed["contact"])
        found = None
        if raw is not None:
            found = await visit.store.contacts.get(visit.project.id, uuid_text(raw))
        if found is None:
            problems["contact"] = "No contact of this project has this id."
        else:
            contact_id = found.id
    search.wanted = MessageFilter(
        status=status, recipient=recipient, contact_id=contact_id, domain=domain
    )
    return search


def read_place(text: str) -> Place | None:
    """Decode a page cursor from a link; None when invalid."""
    at, _, message_id = text.partition(".")
    if at.isascii() and at.isdigit() and len(at) <= 18 and read_uuid(message_id) is not None:
        return int(at), message_id
    return None


def place_text(place: Place | None) -> str | None:
    """Encode a page cursor for a link."""
    return None if place is None else f"{place[0]}.{place[1]}"


SCREENS = (get("/projects/{project}/messages", list_messages, Access.VIEWER),)
