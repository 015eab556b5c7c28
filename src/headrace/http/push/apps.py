"""`/push/apps`: apps and websites that devices register with."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.errors import ErrorCode
from headrace.domain.push.app_requests import ORIGINS_MAX, decode_push_app
from headrace.domain.push.devices import is_app_id
from headrace.domain.timestamps import to_text
from headrace.http.routing.context import context_of, json_response
from headrace.http.routing.deletion import FORCE, used_by_automations
from headrace.http.routing.media import read_body
from headrace.http.routing.parameters import PAGE, in_path
from headrace.http.routing.path import not_found
from headrace.http.routing.route import (
    created,
    delete,
    get,
    json_body,
    no_content,
    ok,
    page,
    patch,
    post,
)
from headrace.http.routing.schema import Name, Time, about
from headrace.store.access.automation_use import UsedByAutomationsError
from headrace.store.contract.push import APPS_MAX, PushApp

_Origins = Annotated[
    list[str],
    about(
        "Origins whose pages may use the app; empty: every origin.",
        maxItems=ORIGINS_MAX,
        examples=[["https://shop.example.org"]],
    ),
]
_PATH = about("Where the website serves the service worker.", examples=["/worker.js"])
_SCOPE = about("Scope of the service worker.", examples=["/"])
_Fcm = Annotated[
    dict[str, str],
    about(
        "Public settings of Firebase for Android: `application_id`, `project_id`, `sender_id`, "
        "`api_key`; empty: none."
    ),
]


class PushAppCreate(msgspec.Struct, forbid_unknown_fields=True):
    """A new push app; its keys are made here."""

    name: Name
    origins: _Origins | None = None
    worker_path: Annotated[str | None, _PATH] = None
    worker_scope: Annotated[str | None, _SCOPE] = None
    fcm_app: _Fcm | None = None


class PushAppUpdate(msgspec.Struct, forbid_unknown_fields=True):
    """A change of a push app. Members that are absent or null stay as they are."""

    name: Name | None = None
    origins: _Origins | None = None
    worker_path: Annotated[str | None, _PATH] = None
    worker_scope: Annotated[str | None, _SCOPE] = None
    fcm_app: _Fcm | None = None


class PushAppResponse(msgspec.Struct, kw_only=True):
    """A push app."""

    id: Annotated[str, about("Public: clients send it as `app_id`.", examples=["k3v9m2xq7t"])]
    public_id: Annotated[str, about("The same as `id`.", examples=["k3v9m2xq7t"])]
    name: str
    origins: _Origins
    public_key: Annotated[str, about("VAPID key: a point of P-256 in base64url.")]
    worker_path: str
    worker_scope: str
    fcm_app: _Fcm | None
    created_at: Time
    updated_at: Time


def push_app_response(app: PushApp) -> PushAppResponse:
    """An app as the API shows it."""
    fcm_app = app.fcm_app
    return PushAppResponse(
        id=app.id,
        public_id=app.id,
        name=app.name,
        origins=list(app.origins),
        public_key=app.vapid_public_key,
        worker_path=app.worker_path,
        worker_scope=app.worker_scope,
        fcm_app=None if fcm_app is None else msgspec.json.decode(fcm_app, type=dict[str, str]),
        created_at=to_text(app.created_us),
        updated_at=to_text(app.updated_us),
    )


def app_in_path(request: Request) -> str:
    """The id of an app in the path.

    Raises:
        ApiError: 404 when it cannot be one.
    """
    app_id: str = request.path_params["app_id"]
    if not is_app_id(app_id):
        raise not_found()
    return app_id


async def create_app(request: Request) -> Response:
    """`POST /push/apps`."""
    context = context_of(request)
    fields = decode_push_app(await read_body(request), required=True)
    made = await context.services.push_apps.create(
        context.project_id, fields, actor=context.principal.key_id
    )
    return json_response({"data": push_app_response(made)}, 201)


async def list_apps(request: Request) -> Response:
    """`GET /push/apps`: newest first."""
    context = context_of(request)
    limit = context.limit
    scope, cursors = f"push apps {context.project_id}", context.services.cursors
    found = await context.services.store.push.apps.list(
        context.project_id, before=context.before(scope), limit=limit + 1
    )
    following = cursors.make(found[limit - 1].created_us, scope) if len(found) > limit else None
    shown = [push_app_response(app) for app in found[:limit]]
    return json_response({"data": shown, "next_cursor": following})


async def get_app(request: Request) -> Response:
    """`GET /push/apps/{app_id}`."""
    context = context_of(request)
    found = await context.services.store.push.apps.get(context.project_id, app_in_path(request))
    return _shown(found)


async def patch_app(request: Request) -> Response:
    """`PATCH /push/apps/{app_id}`."""
    context = context_of(request)
    fields = decode_push_app(await read_body(request), required=False)
    changed = await context.services.push_apps.update(
        context.project_id, app_in_path(request), fields, actor=context.principal.key_id
    )
    return _shown(changed)


async def delete_app(request: Request) -> Response:
    """`DELETE /push/apps/{app_id}`."""
    context = context_of(request)
    try:
        removed = await context.services.store.push.apps.delete(
            context.project_id,
            app_in_path(request),
            context.services.clock_us(),
            force=context.query.get("force", False),
            actor=context.principal.key_id,
        )
    except UsedByAutomationsError as error:
        raise used_by_automations(error) from None
    if not removed:
        raise not_found()
    return Response(status_code=204)


def _shown(app: PushApp | None) -> Response:
    if app is None:
        raise not_found()
    return json_response({"data": push_app_response(app)})


_ID = (in_path("app_id", "Id of the push app."),)
_EXAMPLE: dict[str, Any] = {"name": "Shop", "origins": ["https://shop.example.org"]}

ROUTES = (
    post(
        "/push/apps",
        create_app,
        name="createPushApp",
        summary="Create a push app",
        description=f"Its VAPID keys are made here. A project has at most {APPS_MAX} push apps.",
        bodies=json_body(PushAppCreate, example=_EXAMPLE),
        responses=(created("Created.", PushAppResponse),),
        errors=(ErrorCode.CONFLICT,),
    ),
    get(
        "/push/apps",
        list_apps,
        name="listPushApps",
        summary="List push apps",
        parameters=PAGE,
        responses=(page(PushAppResponse),),
    ),
    get(
        "/push/apps/{app_id}",
        get_app,
        name="getPushApp",
        summary="Get a push app",
        parameters=_ID,
        responses=(ok("The app.", PushAppResponse),),
    ),
    patch(
        "/push/apps/{app_id}",
        patch_app,
        name="patchPushApp",
        summary="Change a push app",
        description="Members that are absent or null stay as they are. The keys never change.",
        parameters=_ID,
        bodies=json_body(PushAppUpdate, example={"origins": ["https://shop.example.org"]}),
        responses=(ok("The updated app.", PushAppResponse),),
        errors=(ErrorCode.CONFLICT,),
    ),
    delete(
        "/push/apps/{app_id}",
        delete_app,
        name="deletePushApp",
        summary="Delete a push app",
        description="Its clients get 404 from then on, and its devices are removed.",
        parameters=(*_ID, FORCE),
        responses=(no_content("Deleted."),),
        errors=(ErrorCode.CONFLICT,),
    ),
)
