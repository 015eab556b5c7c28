"""`/contacts/conflicts`, `/contacts/{id}/merge` and `/merges`: contacts that are one person."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.contacts.properties import PropertyValue
from headrace.domain.deliveries.dead_letters import read_reason
from headrace.domain.errors import ApiError, ErrorCode
from headrace.domain.events.fields import check_contact_id
from headrace.domain.events.problems import read_object
from headrace.domain.json_fields import FieldReader
from headrace.domain.timestamps import to_text
from headrace.http.contacts.contacts import ContactResponse, contact_response
from headrace.http.deliveries.dead_letters import Reason, reject_fields
from headrace.http.routing.context import Context, context_of, json_response
from headrace.http.routing.media import read_body
from headrace.http.routing.parameters import PAGE, one_of
from headrace.http.routing.path import not_found, path_uuid
from headrace.http.routing.route import created, empty_body, get, json_body, ok, page, post
from headrace.http.routing.schema import Id, Time, about
from headrace.store.contract.merges import (
    ALIASES_MAX,
    ContactPair,
    Merge,
    MergePreview,
    MergeRejectedError,
    MergeRejection,
    PairStatus,
)


class MergeInput(msgspec.Struct, rename={"from_": "from"}, forbid_unknown_fields=True):
    """A merge: the contact to merge into the contact of the path."""

    from_: Id
    dry_run: Annotated[bool | None, about("Only report what it would do.")] = None


class MergeChangeResponse(msgspec.Struct, rename={"from_": "from"}):
    """Current and new value of a field."""

    from_: PropertyValue | None
    to: PropertyValue | None


class ContactIdentifierResponse(msgspec.Struct):
    """An identifier that resolves to a contact."""

    type: str
    value: str


class MergePreviewResponse(msgspec.Struct, kw_only=True, rename={"from_": "from"}):
    """Preview of a merge."""

    contact: Annotated[ContactResponse, about("The surviving contact after the merge.")]
    from_: Annotated[ContactResponse, about("The contact that would be merged into it.")]
    changes: Annotated[dict[str, MergeChangeResponse], about("By field name.")]
    identifiers: Annotated[
        list[ContactIdentifierResponse],
        about("Additional identifiers that would resolve to the survivor."),
    ]
    events: Annotated[int, about("What would be moved; events are counted up to 100,000.")]
    topics: int
    audiences: int


class MergeResponse(msgspec.Struct, kw_only=True, rename={"from_": "from"}):
    """A merge."""

    id: Id
    contact_id: Annotated[Id, about("The survivor.")]
    from_: Annotated[Id, about("The contact that was merged into it.")]
    status: Literal["merged", "undone"]
    merged_by: Annotated[
        str,
        about(
            "Public id of the API key, an operator, or `event` for that of an anonymous contact."
        ),
    ]
    merged_at: Time
    undone_by: str | None
    undone_at: Time | None


class DismissInput(msgspec.Struct, forbid_unknown_fields=True):
    """Why the two contacts of a conflict are different people."""

    reason: Reason


class ConflictResponse(msgspec.Struct, kw_only=True):
    """Two contacts that may be the same person."""

    id: Id
    status: PairStatus
    contact_id: Annotated[
        Id,
        about(
            "Of the last event: the contact it was resolved to, and the contact that has another "
            "of its identifiers."
        ),
    ]
    other_contact_id: Id
    fields: Annotated[
        list[Literal["external_id", "email"]], about("Identifiers that are in conflict.")
    ]
    events: Annotated[int, about("Events that named identifiers of both.")]
    first_at: Time
    last_at: Time
    last_event_id: Id
    dismissed_by: Annotated[str | None, about("Public id of the API key, or an operator.")]
    dismissed_at: Time | None
    dismissed_reason: str | None


_MESSAGES = {
    MergeRejection.SAME_CONTACT: "Both ids resolve to the same contact.",
    MergeRejection.TOO_MANY_ALIASES: (
        f"More than {ALIASES_MAX} identifiers would resolve to this contact."
    ),
    MergeRejection.UNDONE_BEFORE: "This merge was already undone.",
    MergeRejection.NOT_THE_LAST: "A later merge builds on this one; undo that first.",
    MergeRejection.CONTACT_GONE: "The contact was deleted; the merge cannot be undone.",
    MergeRejection.IDENTIFIER_TAKEN: "Another contact has an identifier that would be restored.",
    MergeRejection.RESOLVED: "The two contacts were merged.",
}


def _failure(error: MergeRejectedError) -> ApiError:
    if error.rejection in _MESSAGES:
        return ApiError(ErrorCode.CONFLICT, _MESSAGES[error.rejection])
    return not_found()


def merge_response(merge: Merge) -> MergeResponse:
    """A merge as the API shows it."""
    return MergeResponse(
        id=merge.id,
        contact_id=merge.contact_id,
        from_=merge.other_contact_id,
        status="merged" if merge.undone_us is None else "undone",
        merged_by=merge.actor,
        merged_at=to_text(merge.created_us),
        undone_by=merge.undone_by,
        undone_at=None if merge.undone_us is None else to_text(merge.undone_us),
    )


def conflict_response(pair: ContactPair) -> ConflictResponse:
    """A conflict as the API shows it."""
    dismissed = pair.dismissed_us is not None
    return ConflictResponse(
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


def _preview_response(preview: MergePreview) -> MergePreviewResponse:
    return MergePreviewResponse(
        contact=contact_response(preview.contact),
        from_=contact_response(preview.other),
        changes={
            field: MergeChangeResponse(change["from"], change["to"])
            for field, change in preview.changes.items()
        },
        identifiers=[ContactIdentifierResponse(kind, value) for kind, value in preview.aliases],
        events=preview.events,
        topics=preview.topics,
        audiences=preview.audiences,
    )


def read_merge(body: bytes) -> tuple[str, bool]:
    """`(contact id, whether it is a dry run)` of the body of a merge.

    Raises:
        ApiError: with every problem listed.
    """
    check = FieldReader(read_object(body), ("from", "dry_run"), "a merge")
    check.require("from")
    other_id = check.text("from", check_contact_id)
    dry_run = check.flag("dry_run")
    check.raise_if_any()
    assert other_id is not None
    return other_id, bool(dry_run)


async def merge_contact(request: Request) -> Response:
    """`POST /contacts/{id}/merge`: a preview, or the merge itself."""
    context = context_of(request)
    contact_id = path_uuid(request)
    other_id, dry_run = read_merge(await read_body(request))
    services, principal = context.services, context.principal
    merges, project_id = services.store.merges, principal.project.id
    try:
        if dry_run:
            preview = await merges.preview(project_id, contact_id, other_id)
            return json_response({"data": _preview_response(preview)})
        merge = await merges.merge(
            project_id, contact_id, other_id, services.clock_us(), actor=principal.key_id
        )
    except MergeRejectedError as error:
        raise _failure(error) from None
    return json_response({"data": merge_response(merge)}, 201)


async def undo_merge(request: Request) -> Response:
    """`POST /merges/{id}/undo`: restores the two contacts."""
    context, merge_id = context_of(request), path_uuid(request)
    await reject_fields(request)
    services, principal = context.services, context.principal
    try:
        merge = await services.store.merges.undo(
            principal.project.id, merge_id, services.clock_us(), actor=principal.key_id
        )
    except MergeRejectedError as error:
        raise _failure(error) from None
    return json_response({"data": merge_response(merge)})


async def get_merge(request: Request) -> Response:
    """`GET /merges/{id}`."""
    context = context_of(request)
    found = await context.services.store.merges.get(context.project_id, path_uuid(request))
    if found is None:
        raise not_found()
    return json_response({"data": merge_response(found)})


async def list_merges(request: Request) -> Response:
    """`GET /merges`: newest first."""
    context = context_of(request)
    before, limit, scope = _page(context, "merges")
    found = await context.services.store.merges.list(
        context.project_id, before=before, limit=limit + 1
    )
    cursors = context.services.cursors
    following = cursors.make(found[limit - 1].number, scope) if len(found) > limit else None
    shown = [merge_response(merge) for merge in found[:limit]]
    return json_response({"data": shown, "next_cursor": following})


async def list_conflicts(request: Request) -> Response:
    """`GET /contacts/conflicts`: open or dismissed ones, newest first."""
    context = context_of(request)
    status = context.query.get("status", PairStatus.OPEN)
    before, limit, scope = _page(context, f"{status.value} conflicts")
    found = await context.services.store.merges.pairs(
        context.project_id, before=before, limit=limit, status=status
    )
    cursors = context.services.cursors
    following = None if found.next_before is None else cursors.make(found.next_before, scope)
    shown = [conflict_response(pair) for pair in found.pairs]
    return json_response({"data": shown, "next_cursor": following})


async def dismiss_conflict(request: Request) -> Response:
    """`POST /contacts/conflicts/{id}/dismiss`: the two are not one person."""
    context = context_of(request)
    conflict_id = path_uuid(request)
    reason = read_reason(await read_body(request), "a dismissal")
    services, principal = context.services, context.principal
    try:
        pair = await services.store.merges.dismiss(
            context.project_id, conflict_id, reason, services.clock_us(), actor=principal.key_id
        )
    except MergeRejectedError as error:
        raise _failure(error) from None
    return json_response({"data": conflict_response(pair)})


def _page(context: Context, name: str) -> tuple[int | None, int, str]:
    scope = f"{name} {context.project_id}"
    return context.before(scope), context.limit, scope


ROUTES = (
    get(
        "/contacts/conflicts",
        list_conflicts,
        name="listConflicts",
        summary="List pairs of contacts that may be the same person",
        parameters=(
            one_of(
                "status", {each.value: each for each in PairStatus}, "Open conflicts if omitted."
            ),
            *PAGE,
        ),
        responses=(page(ConflictResponse),),
    ),
    post(
        "/contacts/conflicts/{id}/dismiss",
        dismiss_conflict,
        name="dismissConflict",
        summary="Record that the two contacts of a conflict are different people",
        bodies=json_body(DismissInput, example={"reason": "Father and son share an address."}),
        responses=(ok("The dismissed conflict.", ConflictResponse),),
        errors=(ErrorCode.CONFLICT,),
    ),
    post(
        "/contacts/{id}/merge",
        merge_contact,
        name="mergeContacts",
        summary="Merge another contact into this one, or preview the merge",
        bodies=json_body(
            MergeInput, example={"from": "0197a3f0-6b2e-7c41-9f0a-1d2c3b4a5f60", "dry_run": True}
        ),
        responses=(
            created("Merged; the id of the other contact now resolves to this one.", MergeResponse),
            ok("With dry_run: what would happen.", MergePreviewResponse),
        ),
        errors=(ErrorCode.CONFLICT,),
    ),
    get(
        "/merges",
        list_merges,
        name="listMerges",
        summary="List merges",
        parameters=PAGE,
        responses=(page(MergeResponse),),
    ),
    get(
        "/merges/{id}",
        get_merge,
        name="getMerge",
        summary="Get a merge",
        responses=(ok("The merge.", MergeResponse),),
    ),
    post(
        "/merges/{id}/undo",
        undo_merge,
        name="undoMerge",
        summary="Undo a merge",
        description="Later changes stay with the survivor.",
        bodies=empty_body(),
        responses=(ok("Undone.", MergeResponse),),
        errors=(ErrorCode.CONFLICT,),
    ),
)
