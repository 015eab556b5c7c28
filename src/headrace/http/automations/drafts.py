"""`/automations`: drafts of automations."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.automations.limits import DOCUMENT_BYTES_MAX
from headrace.domain.automations.running.starting import AutomationStatus
from headrace.domain.contacts.search import SEARCH_CHARACTERS_MAX, check_search
from headrace.domain.errors import ApiError, ErrorCode
from headrace.http.automations.responses import (
    AutomationCreate,
    AutomationResponse,
    AutomationUpdate,
    ListedAutomation,
    automation_response,
    listed_response,
)
from headrace.http.contacts.topics import name_taken
from headrace.http.routing.context import Context, context_of, json_response
from headrace.http.routing.media import read_body
from headrace.http.routing.parameters import PAGE, one_of, text
from headrace.http.routing.path import not_found, path_uuid
from headrace.http.routing.route import (
    Limits,
    created,
    get,
    json_body,
    ok,
    page,
    patch,
    post,
)
from headrace.pipeline.automations.drafts import read_fields
from headrace.store.automations.automations import (
    Automations,
    Changes,
    RevisionConflictError,
    TooManyAutomationsError,
    WrongStatusError,
)
from headrace.store.contract.automations import (
    AUTOMATIONS_MAX,
    Automation,
)
from headrace.store.contract.errors import StoreConflictError

_LIMITS = Limits(body_bytes_max=DOCUMENT_BYTES_MAX)
_EXAMPLE: dict[str, Any] = {
    "name": "Welcome",
    "definition": {
        "trigger": {"event_name": "user.signed_up"},
        "steps": [{"key": "day", "type": "delay", "config": {"duration": "1 day"}}],
        "connections": [{"from": "trigger", "to": "day"}],
    },
}
ARCHIVED = "The automation is archived."


async def create_automation(request: Request) -> Response:
    """`POST /automations`."""
    context = context_of(request)
    fields, rewritten = read_fields(await read_body(request), required=True)
    made = await create(context, fields)
    return json_response({"data": automation_response(made, rewritten)}, 201)


async def create(context: Context, fields: Changes) -> Automation:
    """Create an automation; 409 when the name is taken, or the project has too many."""
    try:
        return await store_of(context).create(
            context.project_id, fields, context.services.clock_us(), actor=context.principal.key_id
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
    found = await store_of(context).list(
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
        changed = await store_of(context).update(
            context.project_id,
            automation_id,
            fields,
            context.services.clock_us(),
            revision=revision,
            actor=context.principal.key_id,
        )
    except StoreConflictError:
        raise name_taken("automation") from None
    except RevisionConflictError:
        message = "The draft has another revision: read it again."
        raise ApiError(ErrorCode.VERSION_CONFLICT, message) from None
    except WrongStatusError:
        raise ApiError(ErrorCode.CONFLICT, ARCHIVED) from None
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


async def found_automation(context: Context, automation_id: str) -> Automation:
    """An automation of the project.

    Raises:
        ApiError: 404 when there is none.
    """
    found = await store_of(context).get(context.project_id, automation_id)
    if found is None:
        raise not_found()
    return found


def store_of(context: Context) -> Automations:
    """Automations of the store."""
    return context.services.store.automations.definitions


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
)
