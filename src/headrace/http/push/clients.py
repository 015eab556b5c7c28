"""`/v1/…`: what clients of push apps send, without a key.

The app named in the body is the only credential, and pages of other origins may use the routes. A
preflight names no app, so it is answered for every origin; the request itself is checked against
the origins of its app.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.errors import ErrorCode, TooDeepError
from headrace.domain.push.client_requests import read_client_request
from headrace.domain.push.kinds import Environment, Permission, Platform
from headrace.domain.timestamps import to_text
from headrace.http.routing.context import Services, json_response
from headrace.http.routing.media import read_body
from headrace.http.routing.route import (
    PUBLIC,
    Cors,
    Limits,
    Route,
    delete,
    json_body,
    post,
    whole,
)
from headrace.http.routing.schema import Time, about
from headrace.pipeline.push.clients import Answer
from headrace.pipeline.push.clients import Request as ClientRequest
from headrace.store.contract.push import Device, PushApp

#: Headers that pages may send; the public web client names itself in the second one.
CORS = Cors(headers=("content-type", "x-sendrealm-sdk"), methods=("POST", "DELETE"))

#: Events and tags are read up to this size, to reject them without an error: a phone keeps what got
#: an error, and sends it again for ever.
QUEUED_BYTES_MAX = 5 * 1024 * 1024
#: The client of Android reads these members without checking that the object is there.
_NO_FCM_APP = {"application_id": "", "project_id": "", "sender_id": "", "api_key": ""}

_AppId = Annotated[str, about("Id of the push app.", maxLength=64, examples=["k3v9m2xq7t"])]
_DeviceId = Annotated[
    str,
    about(
        "Chosen by the client, or by the server when a phone begins without one.",
        maxLength=64,
        examples=["0197a3f0-6b2e-7c41-9f0a-1d2c3b4a5f60"],
    ),
]
_Properties = Annotated[dict[str, Any], about("Becomes the payload of the event.")]
_Tags = Annotated[dict[str, Any], about("Strings, numbers and booleans by name; null removes one.")]


class DeviceFacts(msgspec.Struct, kw_only=True):
    """What a client reports about its device; further members are ignored."""

    app_id: _AppId
    device_id: _DeviceId | None = None
    platform: Platform
    environment: Environment | None = None
    permission_status: Permission | None = None
    subscribed: bool | None = None
    sdk_version: str | None = None
    os_version: str | None = None
    app_version: str | None = None
    device_locale: str | None = None
    device_model: str | None = None
    timezone: str | None = None


class SubscriptionKeys(msgspec.Struct, kw_only=True):
    """Keys of a browser's subscription, in base64url."""

    p256dh: str
    auth: str


class WebSubscription(msgspec.Struct, kw_only=True):
    """A browser's subscription, as `PushSubscription.toJSON()` returns it."""

    endpoint: str
    keys: SubscriptionKeys
    expiration_time: Annotated[float | None, about("Milliseconds since 1970.")] = msgspec.field(
        default=None, name="expirationTime"
    )


class AddressedDevice(DeviceFacts, kw_only=True):
    """A device with where it is reached."""

    registration_id: Annotated[str | None, about("Token of FCM or APNs.")] = None
    apns_environment: Annotated[str | None, about(enum=["production", "sandbox", None])] = None
    web_push_subscription: WebSubscription | None = None


class DeviceRegistration(AddressedDevice, kw_only=True):
    """A device, with where it is reached and who uses it."""

    user_external_id: str | None = None
    user_email: str | None = None
    preserve_user_identity: Annotated[
        bool | None, about("Without an identity: the person who is logged in stays logged in.")
    ] = None
    clear_user_identity: Annotated[bool | None, about("Logs out.")] = None


class ClientEvent(msgspec.Struct, kw_only=True):
    """An event of a client; further members are ignored."""

    app_id: _AppId
    device_id: _DeviceId
    event_type: Annotated[str, about(examples=["checkout.started"])]
    notification_id: Annotated[
        str | None, about("Of the notification that it is about.", format="uuid")
    ] = None
    properties: _Properties = {}
    idempotency_key: str | None = None


class ClientTags(msgspec.Struct, kw_only=True):
    """Tags of the person who uses a device."""

    app_id: _AppId
    device_id: _DeviceId
    tags: _Tags


class ClientApp(msgspec.Struct, kw_only=True):
    """A request about an app; further members are ignored."""

    app_id: _AppId


class WebPushSettings(msgspec.Struct, kw_only=True):
    """What a website needs to subscribe."""

    public_key: Annotated[str, about("Uncompressed point of P-256 in base64url.")]
    service_worker_path: str
    service_worker_scope: str


class InitData(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The settings of an app for a device."""

    app_id: _AppId
    device_id: _DeviceId
    platform: Platform
    initialized_at: Time
    web_push: WebPushSettings | None = None
    fcm_app: Annotated[
        dict[str, str] | None,
        about("Public settings of Firebase, for Android; empty texts when the app has none."),
    ] = None


class RegisterData(msgspec.Struct, kw_only=True):
    """A device after its registration."""

    app_id: _AppId
    device_id: _DeviceId
    platform: Platform
    registration_id: Annotated[str | None, about("Token of FCM or APNs.")]
    external_user_id: Annotated[str | None, about("Of the contact who is logged in.")]
    subscribed: Annotated[bool, about("Whether it can be sent to.")]
    registered_at: Time


class TakenData(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Whether something was taken."""

    accepted: bool
    reason: Annotated[str | None, about("Why it was not; sending it again changes nothing.")] = None


class ChannelsData(msgspec.Struct, kw_only=True):
    """Notification channels of an app."""

    synced_at: Time
    channels: list[dict[str, Any]]


class Init(msgspec.Struct, kw_only=True):
    """Response to `/v1/init`."""

    data: InitData
    status: int = 200


class Registered(msgspec.Struct, kw_only=True):
    """Response to `/v1/register` and `/v1/subscription`."""

    data: RegisterData
    status: int = 200


class Taken(msgspec.Struct, kw_only=True):
    """Response to `/v1/track`, `/v1/tags` and tokens of live activities."""

    data: TakenData
    status: int = 200


class Channels(msgspec.Struct, kw_only=True):
    """Response to `/v1/notification-channels/sync`."""

    data: ChannelsData
    status: int = 200


async def init(request: Request) -> Response:
    """`POST /v1/init`."""
    asked = await _admitted(request)
    device = await _services(request).push.init(asked)
    app = asked.app
    data = InitData(
        app_id=app.id,
        device_id=device.id,
        platform=device.platform,
        initialized_at=to_text(device.seen_us),
        web_push=_web_push(app) if device.platform is Platform.WEB else None,
        fcm_app=_fcm_app(app) if device.platform is Platform.ANDROID else None,
    )
    return json_response(Init(data=data))


async def register(request: Request) -> Response:
    """`POST /v1/register`: registers, logs in and out."""
    asked = await _admitted(request)
    done = await _services(request).push.register(asked)
    external_id = None if done.contact is None else done.contact.external_id
    return json_response(Registered(data=_registered(done.device, external_id)))


async def subscription(request: Request) -> Response:
    """`POST /v1/subscription`: switches push on and off."""
    asked = await _admitted(request)
    device = await _services(request).push.subscribe(asked)
    return json_response(Registered(data=_registered(device, None)))


async def track(request: Request) -> Response:
    """`POST /v1/track`: an event, or a report about a notification."""
    try:
        asked = await _admitted(request)
    except TooDeepError as error:
        return _taken(Answer(accepted=False, reason=error.message))
    return _taken(await _services(request).push.track(asked))


async def tags(request: Request) -> Response:
    """`POST /v1/tags`: properties of the contact."""
    try:
        asked = await _admitted(request)
    except TooDeepError as error:
        return _taken(Answer(accepted=False, reason=error.message))
    return _taken(await _services(request).push.tag(asked))


async def live_activity(request: Request) -> Response:
    """`POST` and `DELETE /v1/live-activities/tokens`: clients need a response to go on."""
    await _admitted(request)
    return _taken(Answer(accepted=False, reason="live activities are not sent"))


async def sync_channels(request: Request) -> Response:
    """`POST /v1/notification-channels/sync`: apps have no channels of their own."""
    await _admitted(request)
    now = to_text(_services(request).clock_us())
    return json_response(Channels(data=ChannelsData(synced_at=now, channels=[])))


async def _admitted(request: Request) -> ClientRequest:
    """The request with its app.

    Raises:
        ApiError: it names no app, comes from another origin, or is past a limit.
    """
    services = _services(request)
    body = await read_body(request)
    app_id, members = read_client_request(body)
    address = services.client_address(request)
    app = await services.push.admit(app_id, request.headers.get("origin"), address)
    return ClientRequest(
        app=app,
        members=members,
        body=body,
        route=f"{request.method} {request.url.path}",
        address=address,
    )


def _services(request: Request) -> Services:
    services: Services = request.scope["state"]["services"]
    return services


def _taken(answer: Answer) -> Response:
    return json_response(Taken(data=TakenData(accepted=answer.accepted, reason=answer.reason)))


def _registered(device: Device, external_id: str | None) -> RegisterData:
    return RegisterData(
        app_id=device.app_id,
        device_id=device.id,
        platform=device.platform,
        registration_id=device.address if device.is_native else None,
        external_user_id=external_id,
        subscribed=device.reason is None,
        registered_at=to_text(device.updated_us),
    )


def _web_push(app: PushApp) -> WebPushSettings:
    return WebPushSettings(
        public_key=app.vapid_public_key,
        service_worker_path=app.worker_path,
        service_worker_scope=app.worker_scope,
    )


def _fcm_app(app: PushApp) -> dict[str, str]:
    if app.fcm_app is None:
        return _NO_FCM_APP
    return msgspec.json.decode(app.fcm_app, type=dict[str, str])


_DEVICE_IDS = {"app_id": "k3v9m2xq7t", "device_id": "0197a3f0-6b2e-7c41-9f0a-1d2c3b4a5f60"}
_DEVICE = {**_DEVICE_IDS, "platform": "web"}
_INIT = json_body(DeviceFacts, example={**_DEVICE, "environment": "production"})
_ENDPOINT = {
    "endpoint": "https://fcm.googleapis.com/fcm/send/cGFzcw",
    "keys": {
        "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7V"
        "d8pZGH6SRpkNtoIAiw4",
        "auth": "BTBZMqHH6r4Tts7J_aSIgg",
    },
}
_REGISTER = json_body(
    DeviceRegistration,
    example={**_DEVICE, "web_push_subscription": _ENDPOINT, "user_external_id": "user_42"},
)
_SUBSCRIPTION = json_body(AddressedDevice, example={**_DEVICE, "subscribed": False})
_TRACK = json_body(
    ClientEvent,
    example={**_DEVICE_IDS, "event_type": "checkout.started", "properties": {"total": 4900}},
)
_TAGS = json_body(ClientTags, example={**_DEVICE_IDS, "tags": {"plan": "pro"}})
_APP = json_body(ClientApp, example={"app_id": "k3v9m2xq7t"})
_QUEUED = Limits(body_bytes_max=QUEUED_BYTES_MAX, unpacked_bytes_max=QUEUED_BYTES_MAX)
_ERRORS = (
    ErrorCode.FORBIDDEN,
    ErrorCode.NOT_FOUND,
    ErrorCode.RATE_LIMITED,
    ErrorCode.STORAGE_UNAVAILABLE,
)


def _client(
    handler: Callable[[Request], Awaitable[Response]],
    path: str,
    *,
    make: Callable[..., Route] = post,
    **more: Any,
) -> Route:
    return make(f"/v1/{path}", handler, PUBLIC, cors=CORS, errors=_ERRORS, **more)


ROUTES = (
    _client(
        init,
        "init",
        name="initDevice",
        summary="Begin with a device",
        description="Returns what the client needs to subscribe. A phone without a `device_id` "
        "gets one.",
        bodies=_INIT,
        responses=(whole("The settings of the app.", Init),),
    ),
    _client(
        register,
        "register",
        name="registerDevice",
        summary="Register a device, log in or out",
        description="With `user_external_id` or `user_email` that person is logged in, and events "
        "and tags that the device has kept become the contact's. Without them, nobody is, unless "
        "`preserve_user_identity` is true. An endpoint that is not that of an allowed push service "
        "is rejected with 422, and the device stays as it was.",
        bodies=_REGISTER,
        responses=(whole("The device.", Registered),),
    ),
    _client(
        subscription,
        "subscription",
        name="subscribeDevice",
        summary="Switch push on or off",
        bodies=_SUBSCRIPTION,
        description="`subscribed` says whether the user wants notifications on this device.",
        responses=(whole("The device.", Registered),),
    ),
    _client(
        track,
        "track",
        name="trackClientEvent",
        summary="Report an event",
        description="Reports about a notification are counted with it. Everything else becomes an "
        "event of the contact who is logged in, with source `client`; a name that is no name of an "
        "event becomes `client.<slug>`. Without a contact it is kept with the device. What cannot "
        "be stored is listed among the rejections and gets 200, since phones would send it again "
        "for ever.",
        bodies=_TRACK,
        limits=_QUEUED,
        responses=(whole("It is on stable storage, or was rejected.", Taken),),
    ),
    _client(
        tags,
        "tags",
        name="tagDevice",
        summary="Set and remove tags",
        description="They become properties of the contact who is logged in, else they are kept "
        "with the device until somebody is. Names of identifiers and names that begin with $ are "
        "ignored.",
        bodies=_TAGS,
        limits=_QUEUED,
        responses=(whole("They are on stable storage, or were rejected.", Taken),),
    ),
    _client(
        live_activity,
        "live-activities/tokens",
        name="addLiveActivityToken",
        summary="Add the token of a live activity",
        description="Not sent: `accepted` is false, with 200 so that clients go on.",
        bodies=_APP,
        responses=(whole("Nothing was stored.", Taken),),
    ),
    _client(
        live_activity,
        "live-activities/tokens",
        make=delete,
        name="removeLiveActivityToken",
        summary="Remove the token of a live activity",
        description="Not sent: `accepted` is false, with 200 so that clients go on.",
        bodies=_APP,
        responses=(whole("Nothing was stored.", Taken),),
    ),
    _client(
        sync_channels,
        "notification-channels/sync",
        name="syncChannels",
        summary="List the notification channels of an app",
        description="Always empty: Android uses its own default channel.",
        bodies=_APP,
        responses=(whole("The channels.", Channels),),
    ),
)
