"""`/contacts/conflicts`, `/contacts/{id}/merge` and `/merges`: contacts that are one person."""

from __future__ import annotations

from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.dead_letters import read_reason
from headrace.domain.errors import ApiError, ErrorCode, FieldProblem, invalid
from headrace.domain.event_fields import check_contact_id
from headrace.domain.event_problems import read_object
from headrace.domain.members import Members
from headrace.domain.properties import PropertyValue
from headrace.domain.timestamps import to_text
from headrace.http.contacts import ContactShown, contact_shown
from headrace.http.context import Context, context_of, json_response
from headrace.http.dead_letters import refuse_members
from headrace.http.events import not_found
from headrace.http.head import parse_query
from headrace.http.media import read_json_body
from headrace.http.path import path_uuid
from headrace.http.query import PAGE, page_limit
from headrace.store.contract_merges import (
    ALIASES_MAX,
    ContactPair,
    Merge,
    MergePreview,
    MergeRefusedError,
    PairStatus,
    Refusal,
)


class MergeInput(msgspec.Struct, rename={"from_": "from"}):
    """Body of a merge: the contact that is merged into the one of the path."""

    from_: str
    dry_run: bool | None = None


class ChangeShown(msgspec.Struct, rename={"from_": "from"}):
    """What a field is and what it would be."""

    from_: PropertyValue | None
    to: PropertyValue | None


class IdentifierShown(msgspec.Struct):
    """An identifier that leads to a contact."""

    type: str
    value: str


class PreviewShown(msgspec.Struct, kw_only=True, rename={"from_": "from"}):
    """What a merge would do."""

    #: The survivor as it would be.
    contact: ContactShown
    #: The contact that would be merged into it.
    from_: ContactShown
    #: By field.
    changes: dict[str, ChangeShown]
    #: Identifiers that would lead to the survivor besides its own.
    identifiers: list[IdentifierShown]
    #: What would follow; events are counted up to 100,000.
    events: int
    topics: int
    audiences: int


class MergeShown(msgspec.Struct, kw_only=True, rename={"from_": "from"}):
    """A merge."""

    id: str
    #: The survivor.
    contact_id: str
    #: The contact that was merged into it.
    from_: str
    status: Literal["merged", "undone"]
    #: Public id of the API key, or an operator.
    merged_by: str
    merged_at: str
    undone_by: str | None
    undone_at: str | None


class DismissInput(msgspec.Struct):
    """Body of a dismissal."""

    reason: str


class ConflictShown(msgspec.Struct, kw_only=True):
    """Two contacts that events take for one."""

    id: str
    status: PairStatus
    #: Of the last event: whom it was resolved to, and who else has one of its identifiers.
    contact_id: str
    other_contact_id: str
    #: Identifiers that are in conflict.
    fields: list[Literal["external_id", "email"]]
    #: Events that took them for one.
    events: int
    first_at: str
    last_at: str
    last_event_id: str
    #: Public id of the API key, or an operator.
    dismissed_by: str | None
    dismissed_at: str | None
    dismissed_reason: str | None


_MESSAGES = {
    Refusal.SAME_CONTACT: "Both ids lead to one and the same contact.",
    Refusal.TOO_MANY_ALIASES: f"More than {ALIASES_MAX} identifiers would lead to this contact.",
    Refusal.UNDONE_BEFORE: "This merge was undone before.",
    Refusal.NOT_THE_LAST: "A later merge builds on this one; undo that first.",
    Refusal.CONTACT_GONE: "The contact was deleted; there is nothing to part.",
    Refusal.IDENTIFIER_TAKEN: "Another contact has an identifier that would come back.",
    Refusal.RESOLVED: "The two contacts were merged.",
}


def _failure(error: MergeRefusedError) -> ApiError:
    if error.refusal in _MESSAGES:
        return ApiError(ErrorCode.CONFLICT, _MESSAGES[error.refusal])
    return not_found()


def merge_shown(merge: Merge) -> MergeShown:
    """A merge as the API shows it."""
    return MergeShown(
        id=merge.id,
        contact_id=merge.contact_id,
        from_=merge.other_contact_id,
        status="merged" if merge.undone_us is None else "undone",
        merged_by=merge.actor,
        merged_at=to_text(merge.created_us),
        undone_by=merge.undone_by,
        undone_at=None if merge.undone_us is None else to_text(merge.undone_us),
    )


def conflict_shown(pair: ContactPair) -> ConflictShown:
    """A conflict as the API shows it."""
    dismissed = pair.dismissed_us is not None
    return ConflictShown(
        id=pair.id,
        status=PairStatus.DISMISSED if dismissed else PairStatus.OPEN,
        contact_id=pair.contact_id,
        other_contact_id=pair.other_contact_id,
        fields=list(pair.fields),  # type: ignore[arg-type]
        events=pair.events,
        first_at=to_text(pair.first_us),
        last_at=to_text(pair.last_us),
        last_event_id=pair.last_event_id,
        dismissed_by=pair.dismissed_by,
        dismissed_at=None if pair.dismissed_us is None else to_text(pair.dismissed_us),
        dismissed_reason=pair.dismissed_reason,
    )


def _preview_shown(preview: MergePreview) -> PreviewShown:
    return PreviewShown(
        contact=contact_shown(preview.contact),
        from_=contact_shown(preview.other),
        changes={
            field: ChangeShown(change["from"], change["to"])
            for field, change in preview.changes.items()
        },
        identifiers=[IdentifierShown(kind, value) for kind, value in preview.aliases],
        events=preview.events,
        topics=preview.topics,
        audiences=preview.audiences,
    )


def read_merge(body: bytes) -> tuple[str, bool]:
    """`(contact id, whether it is a dry run)` of the body of a merge.

    Raises:
        ApiError: with every problem listed.
    """
    check = Members(read_object(body), ("from", "dry_run"), "a merge")
    check.require("from")
    other_id = check.text("from", check_contact_id)
    dry_run = check.flag("dry_run")
    check.raise_if_any()
    assert other_id is not None
    return other_id, bool(dry_run)


async def merge_contact(request: Request) -> Response:
    """`POST /contacts/{id}/merge`: what it would do, or the merge itself."""
    context = context_of(request)
    parse_query(request.scope["query_string"], ())
    contact_id = path_uuid(request)
    other_id, dry_run = read_merge(await read_json_body(request))
    services, principal = context.services, context.principal
    merges, project_id = services.store.merges, principal.project.id
    try:
        if dry_run:
            preview = await merges.preview(project_id, contact_id, other_id)
            return json_response({"data": _preview_shown(preview)})
        merge = await merges.merge(
            project_id, contact_id, other_id, services.clock_us(), actor=principal.key_id
        )
    except MergeRefusedError as error:
        raise _failure(error) from None
    return json_response({"data": merge_shown(merge)}, 201)


async def undo_merge(request: Request) -> Response:
    """`POST /merges/{id}/undo`: two contacts again."""
    context, merge_id = context_of(request), _merge_id(request)
    await refuse_members(request)
    services, principal = context.services, context.principal
    try:
        merge = await services.store.merges.undo(
            principal.project.id, merge_id, services.clock_us(), actor=principal.key_id
        )
    except MergeRefusedError as error:
        raise _failure(error) from None
    return json_response({"data": merge_shown(merge)})


async def get_merge(request: Request) -> Response:
    """`GET /merges/{id}`."""
    context = context_of(request)
    found = await context.services.store.merges.get(
        context.principal.project.id, _merge_id(request)
    )
    if found is None:
        raise not_found()
    return json_response({"data": merge_shown(found)})


async def list_merges(request: Request) -> Response:
    """`GET /merges`: newest first."""
    context = context_of(request)
    before, limit, scope = _page(request, context, "merges")
    found = await context.services.store.merges.list(
        context.principal.project.id, before=before, limit=limit + 1
    )
    cursors = context.services.cursors
    following = cursors.make(found[limit - 1].number, scope) if len(found) > limit else None
    shown = [merge_shown(merge) for merge in found[:limit]]
    return json_response({"data": shown, "next_cursor": following})


async def list_conflicts(request: Request) -> Response:
    """`GET /contacts/conflicts`: open ones, or those that were dismissed, newest first."""
    context = context_of(request)
    query = parse_query(request.scope["query_string"], ("status", *PAGE))
    status = _status(query.get("status", PairStatus.OPEN.value))
    before, limit, scope = _place(query, context, f"{status.value} conflicts")
    page = await context.services.store.merges.pairs(
        context.principal.project.id, before=before, limit=limit, status=status
    )
    cursors = context.services.cursors
    following = None if page.next_before is None else cursors.make(page.next_before, scope)
    shown = [conflict_shown(pair) for pair in page.pairs]
    return json_response({"data": shown, "next_cursor": following})


def _status(text: str) -> PairStatus:
    if text not in list(PairStatus):
        raise invalid(FieldProblem("status", f"must be one of {', '.join(PairStatus)}"))
    return PairStatus(text)


async def dismiss_conflict(request: Request) -> Response:
    """`POST /contacts/conflicts/{id}/dismiss`: the two are not one person."""
    context = context_of(request)
    parse_query(request.scope["query_string"], ())
    conflict_id = path_uuid(request)
    reason = read_reason(await read_json_body(request), "a dismissal")
    services, principal = context.services, context.principal
    try:
        pair = await services.store.merges.dismiss(
            principal.project.id,
            conflict_id,
            reason,
            services.clock_us(),
            actor=principal.key_id,
        )
    except MergeRefusedError as error:
        raise _failure(error) from None
    return json_response({"data": conflict_shown(pair)})


def _page(request: Request, context: Context, name: str) -> tuple[int | None, int, str]:
    return _place(parse_query(request.scope["query_string"], PAGE), context, name)


def _place(query: dict[str, str], context: Context, name: str) -> tuple[int | None, int, str]:
    limit = page_limit(query)
    scope = f"{name} {context.principal.project.id}"
    before = context.services.cursors.read(query["cursor"], scope) if "cursor" in query else None
    return before, limit, scope


def _merge_id(request: Request) -> str:
    parse_query(request.scope["query_string"], ())
    return path_uuid(request)
