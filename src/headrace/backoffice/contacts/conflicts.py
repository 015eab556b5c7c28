"""Contacts that events identify as one person: compare, merge, undo a merge, or dismiss."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import Response

from headrace.backoffice.contacts.contacts import find_contact
from headrace.backoffice.events.search import read_uuid
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get, post
from headrace.domain.deliveries.dead_letters import check_reason
from headrace.domain.errors import ApiError
from headrace.domain.ids import uuid_text
from headrace.store.contract.merges import MergeRejectedError, MergeRejection, PairStatus

ROWS = 25
MERGES_SHOWN = 20

_REJECTED = {
    MergeRejection.NOT_FOUND: "One of the two contacts no longer exists.",
    MergeRejection.SAME_CONTACT: "Both already are the same contact.",
    MergeRejection.TOO_MANY_ALIASES: "The contact already has the maximum number of identifiers.",
    MergeRejection.NO_SUCH_MERGE: "Merge not found.",
    MergeRejection.UNDONE_BEFORE: "It was already undone.",
    MergeRejection.NOT_THE_LAST: "A later merge of the same contact must be undone first.",
    MergeRejection.CONTACT_GONE: "The surviving contact was deleted.",
    MergeRejection.RESOLVED: "The two were merged.",
    MergeRejection.IDENTIFIER_TAKEN: (
        "Another contact now has an identifier that would be restored."
    ),
}


async def list_conflicts(visit: PageRequest) -> Response:
    """List open pairs, newest first, and the last merges; or the dismissed pairs."""
    before, project_id = visit.query.number("before"), visit.project.id
    status = PairStatus(visit.query.one_of("status", tuple(PairStatus)) or PairStatus.OPEN)
    page = await visit.store.merges.pairs(project_id, before=before, limit=ROWS, status=status)
    merges = await visit.store.merges.list(project_id, before=None, limit=MERGES_SHOWN)
    return visit.page(
        "conflicts.html",
        pairs=page.pairs,
        status=status.value,
        next_before=page.next_before,
        merges=merges if before is None and status is PairStatus.OPEN else [],
    )


async def dismiss(visit: PageRequest) -> Response:
    """Dismiss a pair: the two are different people."""
    raw = read_uuid(visit.request.path_params["conflict"])
    if raw is None:
        raise HTTPException(404)
    address = visit.project_url("/contacts/conflicts")
    try:
        reason = check_reason(visit.form.text("reason"))
    except ValueError as error:
        return visit.go(address, f"Not dismissed: the reason {error}.", kind="bad")
    try:
        await visit.store.merges.dismiss(
            visit.project.id, uuid_text(raw), reason, visit.now_us, actor=visit.actor
        )
    except MergeRejectedError as error:
        if error.rejection is MergeRejection.NOT_FOUND:
            raise HTTPException(404) from None
        return visit.go(address, _why(error), kind="bad")
    return visit.go(
        address,
        "Dismissed: the contacts stay separate. The audit shows who dismissed them and why.",
    )


async def preview(visit: PageRequest) -> Response:
    """Preview a merge without changing anything."""
    contact = await find_contact(visit)
    other = _other(visit.query.text("from"))
    try:
        shown = await visit.store.merges.preview(visit.project.id, contact.id, other)
    except (MergeRejectedError, ApiError) as error:
        return visit.go(visit.project_url("/contacts/conflicts"), _why(error), kind="bad")
    return visit.page("merge.html", preview=shown)


async def merge(visit: PageRequest) -> Response:
    """Merge two contacts."""
    contact = await find_contact(visit)
    other = _other(visit.form.text("from"))
    try:
        made = await visit.store.merges.merge(
            visit.project.id, contact.id, other, visit.now_us, actor=visit.actor
        )
    except (MergeRejectedError, ApiError) as error:
        return visit.go(visit.project_url("/contacts/conflicts"), _why(error), kind="bad")
    text = (
        "Merged. The other contact's id and identifiers now resolve to this one. "
        "The merge can be undone."
    )
    return visit.go(visit.project_url(f"/contacts/{made.contact_id}"), text)


async def undo(visit: PageRequest) -> Response:
    """Undo a merge."""
    raw = read_uuid(visit.request.path_params["merge"])
    if raw is None:
        raise HTTPException(404)
    address = visit.project_url("/contacts/conflicts")
    try:
        await visit.store.merges.undo(
            visit.project.id, uuid_text(raw), visit.now_us, actor=visit.actor
        )
    except MergeRejectedError as error:
        if error.rejection is MergeRejection.NO_SUCH_MERGE:
            raise HTTPException(404) from None
        return visit.go(address, _why(error), kind="bad")
    return visit.go(address, "Undone: both contacts are restored.")


def _other(text: str) -> str:
    raw = read_uuid(text)
    if raw is None:
        raise HTTPException(404)
    return uuid_text(raw)


def _why(error: MergeRejectedError | ApiError) -> str:
    if isinstance(error, MergeRejectedError):
        return _REJECTED[error.rejection]
    return "; ".join(f"{problem.field} {problem.message}" for problem in error.details)


SCREENS = (
    get("/projects/{project}/contacts/conflicts", list_conflicts, Access.VIEWER),
    get("/projects/{project}/contacts/{contact}/merge", preview, Access.OPERATOR),
    post("/projects/{project}/contacts/{contact}/merge", merge, Access.OPERATOR),
    post("/projects/{project}/conflicts/{conflict}/dismiss", dismiss, Access.OPERATOR),
    post("/projects/{project}/merges/{merge}/undo", undo, Access.OPERATOR),
)
