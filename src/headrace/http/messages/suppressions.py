"""`/suppressions`: addresses that get no mail."""

from __future__ import annotations

import io
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from headrace.domain.email import normalize_email
from headrace.domain.errors import FieldProblem, invalid
from headrace.domain.messages.kinds import SuppressionReason, SuppressionScope
from headrace.domain.messages.requests import REASON_CHARACTERS_MAX, decode_suppression
from headrace.domain.messages.suppression_files import ImportRules, decode_file
from headrace.domain.timestamps import to_text
from headrace.http.routing.context import Context, context_of, json_response
from headrace.http.routing.media import read_body
from headrace.http.routing.parameters import PAGE, one_of, text
from headrace.http.routing.path import not_found, path_uuid
from headrace.http.routing.route import (
    Body,
    Limits,
    created,
    delete,
    get,
    json_body,
    no_content,
    ok,
    page,
    post,
    whole,
)
from headrace.http.routing.schema import Email, Id, Time, about
from headrace.pipeline.messages.suppression_lists import (
    ImportReport,
    export_suppressions,
    import_suppressions,
)
from headrace.store.contract.messages import Suppressed
from headrace.store.messages.suppressions import Suppressions

_SCOPE = about("Which mail is suppressed: `all` if absent.")
CSV = "text/csv"
FILE_BYTES_MAX = 5 * 1024 * 1024
#: Imports and exports of this process at a time.
FILES_MAX = 4


class SuppressionCreate(msgspec.Struct, forbid_unknown_fields=True):
    """An address to suppress."""

    email: Email
    scope: Annotated[SuppressionScope | None, _SCOPE] = None
    reason: Annotated[str | None, about("In your own words.", maxLength=REASON_CHARACTERS_MAX)] = (
        None
    )


class SuppressionResponse(msgspec.Struct, kw_only=True):
    """An entry of the suppression list."""

    id: Id
    email: Annotated[str | None, about("Null once the person is erased; the entry still applies.")]
    scope: SuppressionScope
    reason: SuppressionReason
    note: str
    evidence: Annotated[str, about("Text of the bounce or complaint.")]
    created_by: str
    created_at: Time


def _response(of: Suppressed) -> SuppressionResponse:
    return SuppressionResponse(
        id=of.id,
        email=of.email,
        scope=of.scope,
        reason=of.reason,
        note=of.note,
        evidence=of.evidence,
        created_by=of.created_by,
        created_at=to_text(of.since_us),
    )


async def create_suppression(request: Request) -> Response:
    """`POST /suppressions`: an existing entry is widened, never narrowed."""
    context = context_of(request)
    fields = decode_suppression(await read_body(request))
    made = await _store(context).add(
        context.project_id, fields, context.services.clock_us(), actor=context.principal.key_id
    )
    return json_response({"data": _response(made)}, 201)


class ImportProblem(msgspec.Struct):
    """A line that was not imported."""

    line: Annotated[int, about("From 1, the header included.")]
    message: str


class ImportResponse(msgspec.Struct, kw_only=True):
    """What an import did."""

    added: int
    already_listed: Annotated[int, about("Widened if the file says so, never narrowed.")]
    rejected: Annotated[int, about("Lines that were not imported.")]
    problems: Annotated[list[ImportProblem], about("Of the first 100 of these lines.")]


def import_response(report: ImportReport) -> ImportResponse:
    """A report as the API shows it."""
    return ImportResponse(
        added=report.added,
        already_listed=report.already_listed,
        rejected=report.rejected,
        problems=[ImportProblem(one.line, one.message) for one in report.problems],
    )


async def import_file(request: Request) -> Response:
    """`POST /suppressions/import`: a bad line does not affect the others."""
    context = context_of(request)
    try:
        text = decode_file(await read_body(request))
    except ValueError as error:
        raise invalid(FieldProblem("body", str(error))) from None
    rules = ImportRules(
        reason=context.query.get("reason", SuppressionReason.MANUAL),
        scope=context.query.get("scope"),
    )
    report = await import_suppressions(
        _store(context),
        context.project_id,
        io.StringIO(text, newline=""),
        rules,
        now_us=context.services.clock_us(),
        actor=context.principal.key_id,
    )
    return json_response({"data": import_response(report)})


async def export_file(request: Request) -> Response:
    """`GET /suppressions/export`: the list as CSV."""
    context = context_of(request)
    pieces = export_suppressions(_store(context), context.project_id)
    headers = {
        "cache-control": "no-store",
        "content-disposition": 'attachment; filename="suppressions.csv"',
    }
    return StreamingResponse(pieces, media_type=f"{CSV}; charset=utf-8", headers=headers)


async def list_suppressions(request: Request) -> Response:
    """`GET /suppressions`: newest first; with `email`, all of that address."""
    context = context_of(request)
    reason, email, limit = context.query.get("reason"), context.query.get("email"), context.limit
    if email is not None:
        found = await _store(context).of_address(context.project_id, email)
        shown = [_response(one) for one in found if reason in {None, one.reason}]
        return json_response({"data": shown, "next_cursor": None})
    scope = f"suppressions {context.project_id} {reason or ''}"
    found = await _store(context).list(
        context.project_id, reason=reason, before=_before(context, scope), limit=limit + 1
    )
    following = None
    if len(found) > limit:
        last = found[limit - 1]
        following = context.services.cursors.make_text(f"{last.since_us} {last.id}", scope)
    return json_response(
        {"data": [_response(one) for one in found[:limit]], "next_cursor": following}
    )


def _before(context: Context, scope: str) -> tuple[int, str] | None:
    cursor = context.query.get("cursor")
    if cursor is None:
        return None
    since, _, suppression_id = context.services.cursors.read_text(cursor, scope).partition(" ")
    if not since.isdigit():
        raise invalid(FieldProblem("cursor", "is not a cursor of this list"))
    return int(since), suppression_id


async def delete_suppression(request: Request) -> Response:
    """`DELETE /suppressions/{id}`."""
    context = context_of(request)
    gone = await _store(context).remove(
        context.project_id,
        path_uuid(request),
        context.services.clock_us(),
        actor=context.principal.key_id,
    )
    if gone is None:
        raise not_found()
    return Response(status_code=204)


def _store(context: Context) -> Suppressions:
    return context.services.store.messages.suppressions


ROUTES = (
    post(
        "/suppressions",
        create_suppression,
        name="createSuppression",
        summary="Suppress mail to an address",
        description="An existing entry is widened, never narrowed.",
        bodies=json_body(SuppressionCreate, example={"email": "mike@example.com"}),
        responses=(created("The entry applies from now on.", SuppressionResponse),),
    ),
    get(
        "/suppressions",
        list_suppressions,
        name="listSuppressions",
        summary="List suppressed addresses",
        parameters=(
            *PAGE,
            text("email", normalize_email, "Only entries of this address; not paginated."),
            one_of(
                "reason",
                {each.value: each for each in SuppressionReason},
                "Only entries with this reason.",
            ),
        ),
        responses=(page(SuppressionResponse),),
    ),
    post(
        "/suppressions/import",
        import_file,
        name="importSuppressions",
        summary="Import a suppression list as CSV",
        description="Files of SendGrid, Mailgun, Postmark, Amazon SES, Mailchimp and others, and "
        "those of the export. Columns are found by their names. Repeating an import changes "
        "nothing.",
        parameters=(
            one_of(
                "reason",
                {each.value: each for each in SuppressionReason},
                "The reason of entries for which the file has none; `manual` if absent.",
            ),
            one_of(
                "scope",
                {each.value: each for each in SuppressionScope},
                "The scope of entries that are no hard bounces; without it that of their kind.",
            ),
        ),
        bodies=(
            Body(
                media=CSV,
                schema={"type": "string", "description": "CSV in UTF-8."},
                example="email,reason\nmike@example.com,bounce\n",
            ),
        ),
        responses=(ok("Imported, except for the lines named.", ImportResponse),),
        limits=Limits(
            body_bytes_max=FILE_BYTES_MAX,
            unpacked_bytes_max=FILE_BYTES_MAX,
            concurrent_max=FILES_MAX,
        ),
    ),
    get(
        "/suppressions/export",
        export_file,
        name="exportSuppressions",
        summary="Export the suppression list as CSV",
        description="Entries of erased persons have no address and are left out.",
        responses=(
            whole("All entries with an address, newest first.", {"type": "string"}, media=CSV),
        ),
        limits=Limits(concurrent_max=FILES_MAX),
    ),
    delete(
        "/suppressions/{id}",
        delete_suppression,
        name="deleteSuppression",
        summary="Remove an address from the suppression list",
        responses=(no_content("Deleted."),),
    ),
)
