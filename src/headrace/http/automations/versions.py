"""`/automations/{id}/versions`: published versions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.errors import ApiError, ErrorCode, FieldProblem, invalid
from headrace.domain.events.problems import read_object
from headrace.domain.json_fields import FieldReader
from headrace.domain.labels import NAME_CHARACTERS_MAX, check_name
from headrace.http.automations.drafts import ARCHIVED, create, found_automation, store_of
from headrace.http.automations.responses import (
    AutomationResponse,
    AutomationVersionDetail,
    AutomationVersionResponse,
    automation_response,
    raw,
    version_response,
)
from headrace.http.deliveries.dead_letters import reject_fields
from headrace.http.routing.context import Context, context_of, json_response
from headrace.http.routing.media import read_body
from headrace.http.routing.parameters import PAGE, in_path
from headrace.http.routing.path import not_found, path_uuid
from headrace.http.routing.route import created, empty_body, get, json_body, ok, page, post
from headrace.http.routing.schema import Name, about
from headrace.pipeline.automations.run_requests import REASON_CHARACTERS_MAX, read_migration
from headrace.pipeline.automations.version_diff import difference
from headrace.store.automations.automations import Changes, WrongStatusError
from headrace.store.automations.version_changes import WrongMigrationError
from headrace.store.contract.automations import BULK_RUNS_MAX, VERSIONS_MAX, AutomationVersion

_ANY: dict[str, Any] = {
    "type": ["object", "array", "string", "number", "boolean", "null"],
    # Some generators of clients want to know what is in arrays.
    "items": {},
}


class VersionDifference(msgspec.Struct, kw_only=True):
    """One place of the definition that differs."""

    place: Annotated[
        str,
        about(
            "Steps by key, connections by source and branch.",
            examples=["steps.mail.config.topic_id", "connections.mail.next"],
        ),
    ]
    kind: Literal["added", "removed", "changed"]
    before: Annotated[Any, about("Null when it was added.", **_ANY)]
    after: Annotated[Any, about("Null when it was removed.", **_ANY)]


class AutomationDuplicate(msgspec.Struct, forbid_unknown_fields=True):
    """A copy of an automation."""

    name: Annotated[Name | None, about("By default `Copy of` and the name.")] = None


class RunsMigration(msgspec.Struct, forbid_unknown_fields=True):
    """Which runs move to another version, and where."""

    from_version: Annotated[int, about(minimum=1, maximum=VERSIONS_MAX)]
    to_version: Annotated[int, about(minimum=1, maximum=VERSIONS_MAX)]
    steps: Annotated[
        dict[str, str] | None,
        about("Old key to new key, of steps of one type. Default: steps of the same key and type."),
    ] = None
    dry_run: Annotated[bool | None, about("Only report what it would do.")] = None
    reason: Annotated[
        str | None,
        about(
            "Required unless it is a dry run.",
            minLength=1,
            maxLength=REASON_CHARACTERS_MAX,
            pattern=r"\S",
        ),
    ] = None


class MigratedStep(msgspec.Struct):
    """Open runs at one step."""

    step_key: str
    to: Annotated[str | None, about("Null: they stay in their version.")]
    runs: int


class RunsMigrated(msgspec.Struct, kw_only=True):
    """What a migration has done, or with `dry_run` would do."""

    dry_run: bool
    moved: int
    stayed: Annotated[
        int, about("Runs that stay: at a step without a target, or that would take a step twice.")
    ]
    has_more: Annotated[bool, about("Whether more runs can move: send the request again.")]
    steps: Annotated[list[MigratedStep], about("With `dry_run`: open runs by step.")]


async def list_automation_versions(request: Request) -> Response:
    """`GET /automations/{id}/versions`: newest first."""
    context, automation_id = context_of(request), path_uuid(request)
    held = await found_automation(context, automation_id)
    limit, scope = context.limit, f"automation versions {automation_id}"
    before = context.before(scope)
    found = await store_of(context).versions(
        context.project_id, automation_id, before=before, limit=limit + 1
    )
    versions = found or ()
    cursors = context.services.cursors
    following = cursors.make(versions[limit - 1].number, scope) if len(versions) > limit else None
    shown = [version_response(one, held.version) for one in versions[:limit]]
    return json_response({"data": shown, "next_cursor": following})


async def get_automation_version(request: Request) -> Response:
    """`GET /automations/{id}/versions/{number}`."""
    context, automation_id = context_of(request), path_uuid(request)
    held = await found_automation(context, automation_id)
    found = await _found_version(context, automation_id, request.path_params["number"])
    shown = AutomationVersionDetail(
        **msgspec.structs.asdict(version_response(found, held.version)),
        definition=raw(found.definition),
        sha256=found.sha256,
        published_by=found.published_by,
    )
    return json_response({"data": shown})


async def compare_automation_versions(request: Request) -> Response:
    """`GET /automations/{id}/versions/{number}/diff/{other}`."""
    context, automation_id = context_of(request), path_uuid(request)
    one = await _found_version(context, automation_id, request.path_params["number"])
    other = await _found_version(context, automation_id, request.path_params["other"])
    shown = [
        VersionDifference(
            place=each.place,
            kind=each.kind,
            before=None if each.before is None else raw(each.before),
            after=None if each.after is None else raw(each.after),
        )
        for each in difference(one.definition, other.definition)
    ]
    return json_response({"data": shown})


async def restore_automation_version(request: Request) -> Response:
    """`POST /automations/{id}/versions/{number}/restore`: makes it the draft."""
    context, automation_id = context_of(request), path_uuid(request)
    await reject_fields(request)
    found = await _found_version(context, automation_id, request.path_params["number"])
    try:
        changed = await store_of(context).update(
            context.project_id,
            automation_id,
            Changes(draft=found.definition),
            context.services.clock_us(),
            actor=context.principal.key_id,
        )
    except WrongStatusError:
        raise ApiError(ErrorCode.CONFLICT, ARCHIVED) from None
    if changed is None:
        raise not_found()
    return json_response({"data": automation_response(changed)})


async def duplicate_automation(request: Request) -> Response:
    """`POST /automations/{id}/duplicate`: a new draft."""
    context, automation_id = context_of(request), path_uuid(request)
    body = await read_body(request) if await request.body() else b"{}"
    check = FieldReader(read_object(body), ("name",), "a duplicate")
    name = check.text("name", check_name)
    check.raise_if_any()
    held = await found_automation(context, automation_id)
    copied = Changes(
        name=name or f"Copy of {held.name}"[:NAME_CHARACTERS_MAX].rstrip(),
        description=held.description,
        draft=held.draft,
        editor_layout=held.editor_layout,
    )
    made = await create(context, copied)
    return json_response({"data": automation_response(made)}, 201)


async def migrate_runs(request: Request) -> Response:
    """`POST /automations/{id}/runs/migrate`."""
    context, automation_id = context_of(request), path_uuid(request)
    await found_automation(context, automation_id)
    wish = read_migration(await read_body(request))
    migrations = context.services.store.automations.migrations
    shown = None
    try:
        if wish.dry_run:
            found = await migrations.preview(context.project_id, automation_id, wish.wanted)
            if found is not None:
                shown = RunsMigrated(
                    dry_run=True,
                    moved=sum(each.runs for each in found.steps if each.to is not None),
                    stayed=sum(each.runs for each in found.steps if each.to is None),
                    has_more=False,
                    steps=[MigratedStep(each.step, each.to, each.runs) for each in found.steps],
                )
        else:
            done = await migrations.apply(
                context.project_id,
                automation_id,
                wish.wanted,
                wish.reason or "",
                actor=context.principal.key_id,
            )
            if done is not None:
                shown = RunsMigrated(
                    dry_run=False,
                    moved=done.moved,
                    stayed=done.stayed,
                    has_more=done.has_more,
                    steps=[],
                )
    except WrongMigrationError as error:
        raise invalid(FieldProblem(error.field, str(error))) from None
    if shown is None:
        raise not_found()
    return json_response({"data": shown})


async def _found_version(context: Context, automation_id: str, number: str) -> AutomationVersion:
    """A version by its number in a path; 404 when there is none."""
    if not number.isascii() or not number.isdigit() or len(number) > 6:
        raise not_found()
    found = await store_of(context).version(context.project_id, automation_id, int(number))
    if found is None:
        raise not_found()
    return found


ROUTES = (
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
    get(
        "/automations/{id}/versions/{number}/diff/{other}",
        compare_automation_versions,
        name="compareAutomationVersions",
        summary="Compare two versions",
        parameters=(
            in_path("number", "Number of the older version.", pattern="^[0-9]{1,6}$"),
            in_path("other", "Number of the newer version.", pattern="^[0-9]{1,6}$"),
        ),
        responses=(ok("Every place that differs.", list[VersionDifference]),),
    ),
    post(
        "/automations/{id}/versions/{number}/restore",
        restore_automation_version,
        name="restoreAutomationVersion",
        summary="Make a version the draft",
        description="It takes effect when it is published. The draft before is lost.",
        parameters=(in_path("number", "Number of the version.", pattern="^[0-9]{1,6}$"),),
        bodies=empty_body(),
        responses=(ok("The automation.", AutomationResponse),),
        errors=(ErrorCode.CONFLICT,),
    ),
    post(
        "/automations/{id}/duplicate",
        duplicate_automation,
        name="duplicateAutomation",
        summary="Create a draft with the same definition",
        bodies=json_body(AutomationDuplicate, example={"name": "Welcome 2"}, required=False),
        responses=(created("The new draft.", AutomationResponse),),
        errors=(ErrorCode.CONFLICT,),
    ),
    post(
        "/automations/{id}/runs/migrate",
        migrate_runs,
        name="migrateAutomationRuns",
        summary="Move waiting runs to another version, or preview it",
        description=(
            f"About {BULK_RUNS_MAX} runs with each request. A wait keeps its beginning; its end, "
            "and what it waits for, are those of the new version."
        ),
        bodies=json_body(
            RunsMigration, example={"from_version": 1, "to_version": 2, "dry_run": True}
        ),
        responses=(ok("What was done, or would be.", RunsMigrated),),
    ),
)
