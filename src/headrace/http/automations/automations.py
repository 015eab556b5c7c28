"""`/automations`: drafts, publishing them as versions, pausing and archiving."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.automations.definition.aliases import Rewritten
from headrace.domain.automations.limits import DOCUMENT_BYTES_MAX
from headrace.domain.automations.problems import Problem
from headrace.domain.automations.running.starting import AutomationStatus
from headrace.domain.contacts.search import SEARCH_CHARACTERS_MAX, check_search
from headrace.domain.errors import ApiError, ErrorCode, FieldProblem
from headrace.domain.timestamps import to_text
from headrace.http.contacts.topics import name_taken
from headrace.http.deliveries.dead_letters import reject_fields
from headrace.http.routing.context import Context, context_of, json_response
from headrace.http.routing.media import read_body
from headrace.http.routing.parameters import PAGE, in_path, one_of, text
from headrace.http.routing.path import not_found, path_uuid
from headrace.http.routing.route import (
    Limits,
    created,
    delete,
    empty_body,
    get,
    json_body,
    no_content,
    ok,
    page,
    patch,
    post,
)
from headrace.http.routing.schema import Description, Id, Name, Time, about
from headrace.pipeline.automations.drafts import read_fields
from headrace.store.automations.automations import (
    Automations,
    Changes,
    Checked,
    RevisionConflictError,
    TooManyAutomationsError,
    WrongStatusError,
)
from headrace.store.contract.automations import (
    AUTOMATIONS_MAX,
    VERSIONS_MAX,
    Automation,
    AutomationVersion,
)
from headrace.store.contract.errors import StoreConflictError

_LIMITS = Limits(body_bytes_max=DOCUMENT_BYTES_MAX)
_DEFINITION = about("See the documentation of automations.")
_EXAMPLE: dict[str, Any] = {
    "name": "Welcome",
    "definition": {
        "trigger": {"event_name": "user.signed_up"},
        "steps": [{"key": "day", "type": "delay", "config": {"duration": "1 day"}}],
        "connections": [{"from": "trigger", "to": "day"}],
    },
}
_ARCHIVED = "The automation is archived."


class AutomationUpdate(msgspec.Struct, forbid_unknown_fields=True):
    """A change of a draft. Fields that are absent or null are not changed."""

    name: Name | None = None
    description: Description | None = None
    definition: Annotated[dict[str, Any] | None, _DEFINITION] = None
    editor_layout: Annotated[
        dict[str, Any] | None, about("Stored for an editor; not used by the server.")
    ] = None


class AutomationCreate(AutomationUpdate, kw_only=True, forbid_unknown_fields=True):
    """A new automation."""

    name: Name
    definition: Annotated[dict[str, Any], _DEFINITION]


class AutomationVersionResponse(msgspec.Struct, kw_only=True):
    """A published version; it never changes."""

    id: Id
    version_number: int
    state: Literal["published", "superseded"]
    published_at: Time


class ListedAutomation(msgspec.Struct, kw_only=True):
    """An automation without its definition."""

    id: Id
    name: str
    description: str
    status: AutomationStatus
    version_number: Annotated[int | None, about("Of the newest version; null if none.")]
    has_draft_changes: Annotated[bool, about("Whether the draft differs from that version.")]
    created_at: Time
    updated_at: Time


class RewrittenResponse(msgspec.Struct):
    """A name that was replaced by the one of the language."""

    field: str
    was: str
    now: str


class AutomationResponse(ListedAutomation, kw_only=True):
    """An automation with its draft."""

    definition: dict[str, Any]
    draft_revision: Annotated[int, about("For `If-Match` of a change.")]
    editor_layout: dict[str, Any] | None
    rewritten: Annotated[list[RewrittenResponse], about("What this request has replaced.")] = []


class FindingResponse(msgspec.Struct):
    """A problem or warning of the publish checks."""

    code: str
    field: str
    message: str
    step: str | None


class AutomationPublishedResponse(msgspec.Struct, kw_only=True):
    """An automation and the version that is published."""

    id: Id
    status: AutomationStatus
    current_published_version: AutomationVersionResponse
    warnings: list[FindingResponse]


class AutomationCheckResponse(msgspec.Struct, kw_only=True):
    """The result of the publish checks."""

    ok: bool
    problems: list[FindingResponse]
    problems_left_out: int
    warnings: list[FindingResponse]


class AutomationVersionDetail(AutomationVersionResponse, kw_only=True):
    """A published version with its definition."""

    definition: dict[str, Any]
    sha256: str
    published_by: str


def listed_response(of: Automation) -> ListedAutomation:
    """An automation as in lists."""
    return ListedAutomation(
        id=of.id,
        name=of.name,
        description=of.description,
        status=of.status,
        version_number=of.version or None,
        has_draft_changes=of.has_draft_changes,
        created_at=to_text(of.created_us),
        updated_at=to_text(of.updated_us),
    )


def automation_response(of: Automation, rewritten: Iterable[Rewritten] = ()) -> AutomationResponse:
    """An automation with its draft."""
    layout = None if of.editor_layout is None else _raw(of.editor_layout)
    return AutomationResponse(
        **msgspec.structs.asdict(listed_response(of)),
        definition=_raw(of.draft),
        draft_revision=of.draft_revision,
        editor_layout=layout,
        rewritten=[RewrittenResponse(each.field, each.was, each.now) for each in rewritten],
    )


def _raw(text: str) -> Any:
    """Stored JSON, which is sent as it is."""
    return msgspec.Raw(text.encode())


def _version_response(of: AutomationVersion, newest: int) -> AutomationVersionResponse:
    return AutomationVersionResponse(
        id=of.id,
        version_number=of.number,
        state="published" if of.number == newest else "superseded",
        published_at=to_text(of.published_us),
    )


def _findings(found: Iterable[Problem]) -> list[FindingResponse]:
    return [FindingResponse(each.code.value, each.field, each.message, each.step) for each in found]


async def create_automation(request: Request) -> Response:
    """`POST /automations`."""
    context = context_of(request)
    fields, rewritten = read_fields(await read_body(request), required=True)
    made = await _create(context, fields)
    return json_response({"data": automation_response(made, rewritten)}, 201)


async def _create(context: Context, fields: Changes) -> Automation:
    try:
        return await _store(context).create(
            context.project_id, fields, _now_us(context), actor=context.principal.key_id
        )
    except StoreConflictError:
        raise name_taken("automation") from None
    except TooManyAutomationsError:
        message = f"A project has at most {AUTOMATIONS_MAX} automations."
        raise ApiError(ErrorCode.CONFLICT, message) from None


async def list_automations(request: Request) -> Response:
    """`GET /automations`: newest first."""
    context = context_of(request)
    limit, status = context.limit, context.query.get("status")
    part = context.query.get("search", "")
    scope = f"automations {context.project_id} {status} {part}"
    found = await _store(context).list(
        context.project_id,
        status=status,
        text=part,
        before=context.before(scope),
        limit=limit + 1,
    )
    cursors = context.services.cursors
    following = cursors.make(found[limit - 1].created_us, scope) if len(found) > limit else None
    shown = [listed_response(one) for one in found[:limit]]
    return json_response({"data": shown, "next_cursor": following})


async def get_automation(request: Request) -> Response:
    """`GET /automations/{id}`."""
    found = await found_automation(context_of(request), path_uuid(request))
    return json_response({"data": automation_response(found)})


async def patch_automation(request: Request) -> Response:
    """`PATCH /automations/{id}`: writes to the draft."""
    context, automation_id = context_of(request), path_uuid(request)
    fields, rewritten = read_fields(await read_body(request), required=False)
    revision = _revision(request)
    try:
        changed = await _store(context).update(
            context.project_id,
            automation_id,
            fields,
            _now_us(context),
            revision=revision,
            actor=context.principal.key_id,
        )
    except StoreConflictError:
        raise name_taken("automation") from None
    except RevisionConflictError:
        message = "The draft has another revision: read it again."
        raise ApiError(ErrorCode.VERSION_CONFLICT, message) from None
    except WrongStatusError:
        raise ApiError(ErrorCode.CONFLICT, _ARCHIVED) from None
    if changed is None:
        raise not_found()
    return json_response({"data": automation_response(changed, rewritten)})


def _revision(request: Request) -> int | None:
    given = request.headers.get("if-match")
    if given is None:
        return None
    bare = given.strip().strip('"')
    # Anything else matches no revision.
    return int(bare) if bare.isdigit() and len(bare) < 10 else -1


async def validate_automation(request: Request) -> Response:
    """`POST /automations/{id}/validate`: the publish checks of the draft."""
    context, automation_id = context_of(request), path_uuid(request)
    await reject_fields(request)
    checked = await _store(context).check(context.project_id, automation_id)
    if checked is None:
        raise not_found()
    report = checked.report
    shown = AutomationCheckResponse(
        ok=not report.problems,
        problems=_findings(report.problems),
        problems_left_out=checked.left_out,
        warnings=_findings(report.warnings),
    )
    return json_response({"data": shown})


async def publish_automation(request: Request) -> Response:
    """`POST /automations/{id}/publish`."""
    context, automation_id = context_of(request), path_uuid(request)
    await reject_fields(request)
    try:
        checked = await _store(context).publish(
            context.project_id, automation_id, _now_us(context), actor=context.principal.key_id
        )
    except WrongStatusError:
        raise ApiError(ErrorCode.CONFLICT, _ARCHIVED) from None
    except TooManyAutomationsError:
        message = f"An automation has at most {VERSIONS_MAX} versions."
        raise ApiError(ErrorCode.CONFLICT, message) from None
    if checked is None:
        raise not_found()
    return json_response({"data": _published(checked)})


def _published(checked: Checked) -> AutomationPublishedResponse:
    version, found = checked.version, checked.report.problems
    if version is None:
        count = len(found) + checked.left_out
        raise ApiError(
            ErrorCode.AUTOMATION_INVALID,
            f"{found[0].field}: {found[0].message} ({count} in all)",
            details=tuple(FieldProblem(each.field, each.message) for each in found),
        )
    return AutomationPublishedResponse(
        id=checked.automation.id,
        status=checked.automation.status,
        current_published_version=_version_response(version, version.number),
        warnings=_findings(checked.report.warnings),
    )


async def pause_automation(request: Request) -> Response:
    """`POST /automations/{id}/pause`: open runs go on."""
    return await _set_status(request, AutomationStatus.PAUSED)


async def resume_automation(request: Request) -> Response:
    """`POST /automations/{id}/resume`."""
    return await _set_status(request, AutomationStatus.ACTIVE)


async def archive_automation(request: Request) -> Response:
    """`POST /automations/{id}/archive`."""
    return await _set_status(request, AutomationStatus.ARCHIVED)


async def _set_status(request: Request, status: AutomationStatus) -> Response:
    await reject_fields(request)
    changed = await _change_status(request, status)
    return json_response({"data": automation_response(changed)})


async def _change_status(request: Request, status: AutomationStatus) -> Automation:
    context = context_of(request)
    try:
        changed = await _store(context).set_status(
            context.project_id,
            path_uuid(request),
            status,
            _now_us(context),
            actor=context.principal.key_id,
        )
    except WrongStatusError:
        message = "The automation is archived, or was never published."
        raise ApiError(ErrorCode.CONFLICT, message) from None
    if changed is None:
        raise not_found()
    return changed


async def delete_automation(request: Request) -> Response:
    """`DELETE /automations/{id}`: archives it; its versions and runs stay."""
    await _change_status(request, AutomationStatus.ARCHIVED)
    return Response(status_code=204)


async def list_automation_versions(request: Request) -> Response:
    """`GET /automations/{id}/versions`: newest first."""
    context, automation_id = context_of(request), path_uuid(request)
    held = await found_automation(context, automation_id)
    limit, scope = context.limit, f"automation versions {automation_id}"
    before = context.before(scope)
    found = await _store(context).versions(
        context.project_id, automation_id, before=before, limit=limit + 1
    )
    versions = found or ()
    cursors = context.services.cursors
    following = cursors.make(versions[limit - 1].number, scope) if len(versions) > limit else None
    shown = [_version_response(one, held.version) for one in versions[:limit]]
    return json_response({"data": shown, "next_cursor": following})


async def get_automation_version(request: Request) -> Response:
    """`GET /automations/{id}/versions/{number}`."""
    context, automation_id = context_of(request), path_uuid(request)
    number = request.path_params["number"]
    if not number.isascii() or not number.isdigit() or len(number) > 6:
        raise not_found()
    held = await found_automation(context, automation_id)
    found = await _store(context).version(context.project_id, automation_id, int(number))
    if found is None:
        raise not_found()
    shown = AutomationVersionDetail(
        **msgspec.structs.asdict(_version_response(found, held.version)),
        definition=_raw(found.definition),
        sha256=found.sha256,
        published_by=found.published_by,
    )
    return json_response({"data": shown})


async def found_automation(context: Context, automation_id: str) -> Automation:
    """An automation of the project.

    Raises:
        ApiError: 404 when there is none.
    """
    found = await _store(context).get(context.project_id, automation_id)
    if found is None:
        raise not_found()
    return found


def _store(context: Context) -> Automations:
    return context.services.store.automations.definitions


def _now_us(context: Context) -> int:
    return context.services.clock_us()


ROUTES = (
    post(
        "/automations",
        create_automation,
        name="createAutomation",
        summary="Create an automation",
        description=(
            "As a draft, which may be unfinished. Aliases of other products are replaced, see "
            f"`rewritten`. A project has at most {AUTOMATIONS_MAX} automations."
        ),
        bodies=json_body(AutomationCreate, example=_EXAMPLE),
        responses=(created("Created.", AutomationResponse),),
        errors=(ErrorCode.CONFLICT,),
        limits=_LIMITS,
    ),
    get(
        "/automations",
        list_automations,
        name="listAutomations",
        summary="List automations",
        parameters=(
            one_of("status", tuple(AutomationStatus), "Only those in this status."),
            text(
                "search",
                check_search,
                "Only those whose name contains this, in any case.",
                maxLength=SEARCH_CHARACTERS_MAX,
            ),
            *PAGE,
        ),
        responses=(page(ListedAutomation),),
    ),
    get(
        "/automations/{id}",
        get_automation,
        name="getAutomation",
        summary="Get an automation with its draft",
        responses=(ok("The automation.", AutomationResponse),),
    ),
    patch(
        "/automations/{id}",
        patch_automation,
        name="patchAutomation",
        summary="Change the draft of an automation",
        description=(
            "Runs and versions are not changed. With the header `If-Match` and a `draft_revision`, "
            "a draft that has changed since is not overwritten."
        ),
        bodies=json_body(AutomationUpdate, example={"description": "For new users."}),
        responses=(ok("The updated automation.", AutomationResponse),),
        errors=(ErrorCode.CONFLICT, ErrorCode.VERSION_CONFLICT),
        limits=_LIMITS,
    ),
    delete(
        "/automations/{id}",
        delete_automation,
        name="deleteAutomation",
        summary="Archive an automation",
        description="The same as archiving it: versions and runs stay.",
        responses=(no_content("Archived."),),
    ),
    post(
        "/automations/{id}/validate",
        validate_automation,
        name="validateAutomation",
        summary="Make the publish checks of a draft",
        bodies=empty_body(),
        responses=(ok("All problems and warnings.", AutomationCheckResponse),),
    ),
    post(
        "/automations/{id}/publish",
        publish_automation,
        name="publishAutomation",
        summary="Publish a draft as a version and activate the automation",
        description=(
            "All problems are listed at once. The version starts runs with events that are "
            "received from then on; open runs keep theirs."
        ),
        bodies=empty_body(),
        responses=(ok("Published.", AutomationPublishedResponse),),
        errors=(ErrorCode.AUTOMATION_INVALID, ErrorCode.CONFLICT),
    ),
    post(
        "/automations/{id}/pause",
        pause_automation,
        name="pauseAutomation",
        summary="Start no more runs",
        description="Open runs go on to their end.",
        bodies=empty_body(),
        responses=(ok("The paused automation.", AutomationResponse),),
        errors=(ErrorCode.CONFLICT,),
    ),
    post(
        "/automations/{id}/resume",
        resume_automation,
        name="resumeAutomation",
        summary="Start runs again",
        description="With events that are received from then on.",
        bodies=empty_body(),
        responses=(ok("The active automation.", AutomationResponse),),
        errors=(ErrorCode.CONFLICT,),
    ),
    post(
        "/automations/{id}/archive",
        archive_automation,
        name="archiveAutomation",
        summary="Start no more runs, for good",
        description="Open runs go on to their end. The name is free again.",
        bodies=empty_body(),
        responses=(ok("The archived automation.", AutomationResponse),),
        errors=(ErrorCode.CONFLICT,),
    ),
    get(
        "/automations/{id}/versions",
        list_automation_versions,
        name="listAutomationVersions",
        summary="List the versions of an automation",
        parameters=PAGE,
        responses=(page(AutomationVersionResponse),),
    ),
    get(
        "/automations/{id}/versions/{number}",
        get_automation_version,
        name="getAutomationVersion",
        summary="Get a version with its definition",
        parameters=(in_path("number", "Number of the version.", pattern="^[0-9]{1,6}$"),),
        responses=(ok("The version.", AutomationVersionDetail),),
    ),
)
