"""`/push/devices`: devices of apps and contacts, and what happened to what they were sent."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.errors import FieldProblem, invalid
from headrace.domain.push.devices import is_app_id, is_device_id
from headrace.domain.push.kinds import (
    ApnsEnvironment,
    DeviceReason,
    DeviceState,
    Environment,
    NotificationState,
    Permission,
    Platform,
)
from headrace.domain.timestamps import to_text
from headrace.http.push.apps import app_in_path
from headrace.http.routing.context import Context, context_of, json_response
from headrace.http.routing.parameters import PAGE, flag, in_path, one_of, text
from headrace.http.routing.path import not_found, path_uuid
from headrace.http.routing.route import delete, get, no_content, ok, page
from headrace.http.routing.schema import Id, Time, about
from headrace.store.contract.push import Device, DeviceFilter, DeviceHistory

_AppId = Annotated[str, about("Id of its push app.", examples=["k3v9m2xq7t"])]
_DeviceId = Annotated[str, about(examples=["0197a3f0-6b2e-7c41-9f0a-1d2c3b4a5f60"])]


class DeviceResponse(msgspec.Struct, kw_only=True):
    """A device."""

    app_id: _AppId
    device_id: _DeviceId
    contact_id: Annotated[Id | None, about("Who is logged in.")]
    platform: Platform
    environment: Environment
    state: Annotated[DeviceState, about("Whether it can be sent to.")]
    reason: Annotated[DeviceReason | None, about("Why it cannot.")]
    state_since: Time
    subscribed: Annotated[bool, about("Whether its user wants notifications.")]
    permission: Permission | None
    registration_token_present: Annotated[
        bool, about("Whether it has a token or a subscription; these are never shown.")
    ]
    push_service: Annotated[str | None, about("Host of the service of a website's subscription.")]
    apns_environment: ApnsEnvironment | None
    locale: str | None
    timezone: str | None
    os_version: str | None
    app_version: str | None
    sdk_version: str | None
    device_model: str | None
    kept_events: Annotated[int, about("Events that wait until somebody logs in.")]
    created_at: Time
    last_active_at: Annotated[Time, about("When it last sent something, to the minute.")]
    last_sent_at: Annotated[Time | None, about("When a service last took a notification.")]
    last_failed_at: Time | None
    last_failure: Annotated[str | None, about("What failed last, and why.")]


class DeviceNotification(msgspec.Struct, kw_only=True):
    """A notification to a device."""

    id: Id
    state: NotificationState
    reason: Annotated[str | None, about("Why it is in that state.")]
    attempts: int
    created_at: Time
    sent_at: Time | None
    opened_at: Time | None


class DeviceDetail(DeviceResponse, kw_only=True):
    """A device with its newest notifications."""

    notifications: list[DeviceNotification]


def device_members(device: Device) -> dict[str, Any]:
    """Members of a device as the API shows it."""
    facts = device.facts
    service = None
    if device.address is not None and not device.is_native:
        service = device.address.partition("://")[2].partition("/")[0]
    return {
        "app_id": device.app_id,
        "device_id": device.id,
        "contact_id": device.contact_id,
        "platform": device.platform,
        "environment": device.environment,
        "state": device.state,
        "reason": device.reason,
        "state_since": to_text(device.state_us),
        "subscribed": device.subscribed,
        "permission": device.permission,
        "registration_token_present": device.address is not None,
        "push_service": service,
        "apns_environment": device.apns_environment,
        "locale": facts.locale,
        "timezone": facts.timezone,
        "os_version": facts.os_version,
        "app_version": facts.app_version,
        "sdk_version": facts.sdk_version,
        "device_model": facts.model,
        "kept_events": device.kept_events,
        "created_at": to_text(device.created_us),
        "last_active_at": to_text(device.seen_us),
        "last_sent_at": _time(device.sent_us),
        "last_failed_at": _time(device.failed_us),
        "last_failure": device.failure,
    }


def device_response(device: Device) -> DeviceResponse:
    """A device as the API shows it."""
    return DeviceResponse(**device_members(device))


def _detail(history: DeviceHistory) -> DeviceDetail:
    notifications = [
        DeviceNotification(
            id=each.id,
            state=each.state,
            reason=each.reason,
            attempts=each.attempt,
            created_at=to_text(each.created_us),
            sent_at=_time(each.sent_us),
            opened_at=_time(each.opened_us),
        )
        for each in history.notifications
    ]
    return DeviceDetail(**device_members(history.device), notifications=notifications)


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else to_text(at_us)


async def list_devices(request: Request) -> Response:
    """`GET /push/devices`: newest first."""
    context = context_of(request)
    query = context.query
    app_id = query.get("app_id")
    if app_id is None:
        raise invalid(FieldProblem("app_id", "is required"))
    store = context.services.store.push
    if await store.apps.get(context.project_id, app_id) is None:
        raise not_found()
    subscribed = query.get("subscribed")
    wanted = DeviceFilter(
        environment=query.get("environment"),
        platform=query.get("platform"),
        state=None if subscribed is None else _STATES[subscribed],
    )
    scope = f"push devices {context.project_id} {app_id} {wanted}"
    limit = context.limit
    found = await store.devices.list(
        app_id, wanted, before=_before(context, scope), limit=limit + 1
    )
    following = None
    if len(found) > limit:
        last = found[limit - 1]
        following = context.services.cursors.make_text(f"{last.created_us} {last.id}", scope)
    shown = [device_response(each) for each in found[:limit]]
    return json_response({"data": shown, "next_cursor": following})


def _before(context: Context, scope: str) -> tuple[int, str] | None:
    cursor = context.query.get("cursor")
    if cursor is None:
        return None
    created_us, _, device_id = context.services.cursors.read_text(cursor, scope).partition(" ")
    return int(created_us), device_id


async def list_of_contact(request: Request) -> Response:
    """`GET /contacts/{id}/devices`: oldest first."""
    context = context_of(request)
    contact_id = path_uuid(request)
    store = context.services.store
    if await store.contacts.get(context.project_id, contact_id) is None:
        raise not_found()
    found = await store.push.devices.of_contact(context.project_id, contact_id)
    return json_response({"data": [device_response(each) for each in found], "next_cursor": None})


async def get_device(request: Request) -> Response:
    """`GET /push/apps/{app_id}/devices/{device_id}`."""
    context = context_of(request)
    app_id, device_id = await _in_path(request, context)
    found = await context.services.store.push.devices.history(app_id, device_id)
    if found is None:
        raise not_found()
    return json_response({"data": _detail(found)})


async def delete_device(request: Request) -> Response:
    """`DELETE /push/apps/{app_id}/devices/{device_id}`."""
    context = context_of(request)
    app_id, device_id = await _in_path(request, context)
    if not await context.services.store.push.devices.delete(app_id, device_id):
        raise not_found()
    return Response(status_code=204)


async def _in_path(request: Request, context: Context) -> tuple[str, str]:
    app_id, device_id = app_in_path(request), request.path_params["device_id"]
    app = await context.services.store.push.apps.get(context.project_id, app_id)
    if app is None or not is_device_id(device_id):
        raise not_found()
    return app_id, device_id


def _check_app(value: str) -> str:
    if not is_app_id(value):
        message = "must be the id of a push app"
        raise ValueError(message)
    return value


_STATES = {True: DeviceState.SUBSCRIBED, False: DeviceState.UNSUBSCRIBED}
_ONE = (
    in_path("app_id", "Id of the push app."),
    in_path("device_id", "Id of the device in that app."),
)

ROUTES = (
    get(
        "/push/devices",
        list_devices,
        name="listPushDevices",
        summary="List the devices of a push app",
        parameters=(
            *PAGE,
            text("app_id", _check_app, "Id of the push app; required."),
            one_of(
                "environment",
                {each.value: each for each in Environment},
                "Only those of this environment.",
            ),
            one_of("platform", {each.value: each for each in Platform}, "Only of this platform."),
            flag("subscribed", "Only those that can be sent to, or cannot."),
        ),
        responses=(page(DeviceResponse),),
    ),
    get(
        "/contacts/{id}/devices",
        list_of_contact,
        name="listContactDevices",
        summary="List the devices of a contact",
        description="Of all push apps.",
        responses=(page(DeviceResponse, "Oldest first, at most 1,000."),),
    ),
    get(
        "/push/apps/{app_id}/devices/{device_id}",
        get_device,
        name="getPushDevice",
        summary="Get a device with its newest notifications",
        parameters=_ONE,
        responses=(ok("The device.", DeviceDetail),),
    ),
    delete(
        "/push/apps/{app_id}/devices/{device_id}",
        delete_device,
        name="deletePushDevice",
        summary="Delete a device",
        description="With the events that it keeps. Its client registers it again when it is used.",
        parameters=_ONE,
        responses=(no_content("Deleted."),),
    ),
)
