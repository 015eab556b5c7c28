"""`/push/notifications`: send a push, and what became of it. `/push/tests`: to one device."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.errors import ErrorCode
from headrace.domain.push.device_tests import decode_push_test
from headrace.domain.push.kinds import NotificationState
from headrace.domain.push.request import decode_push
from headrace.domain.timestamps import to_text
from headrace.http.routing.context import context_of, json_response
from headrace.http.routing.media import read_body
from headrace.http.routing.path import not_found, path_uuid
from headrace.http.routing.route import SEND, created, get, json_body, ok, post
from headrace.http.routing.schema import Id, Time, about
from headrace.http.server.head import Head
from headrace.store.push.sends import PushSend, SentNotification


class PushTextInput(msgspec.Struct, forbid_unknown_fields=True):
    """The notification in one language."""

    code: str
    title: str
    body: str
    label: str | None = None


class PushNotificationInput(msgspec.Struct, forbid_unknown_fields=True):
    """What is shown, unless a text for the language of the device is given."""

    title: str
    body: str
    launch_url: str | None = None
    image_url: str | None = None


class PushButtonInput(msgspec.Struct, forbid_unknown_fields=True):
    """A button; `title` is an older name of `text`."""

    id: str
    text: str | None = None
    title: str | None = None
    launch_url: str | None = None


class PushTokenInput(msgspec.Struct, forbid_unknown_fields=True):
    """A token of FCM or APNs."""

    token: str
    platform: Literal["android", "ios"]


class PushKeysInput(msgspec.Struct, forbid_unknown_fields=True):
    """Public keys of a browser, base64url."""

    p256dh: str
    auth: str


class PushSubscriptionInput(msgspec.Struct, forbid_unknown_fields=True):
    """A `PushSubscription` of a browser, as JSON."""

    endpoint: str
    keys: PushKeysInput
    expiration_time: float | None = msgspec.field(default=None, name="expirationTime")


class PushAndroidInput(msgspec.Struct, forbid_unknown_fields=True):
    """Options for Android."""

    channel_id: str | None = None
    sound: str | None = None
    ttl: str | None = None


class PushIosInput(msgspec.Struct, forbid_unknown_fields=True):
    """Options for iOS."""

    sound: str | None = None
    badge: int | None = None
    mutable_content: bool | None = None
    apns_environment: Literal["sandbox", "production"] | None = None


class PushInput(msgspec.Struct, forbid_unknown_fields=True):
    """A push. Exactly one of the members from `tokens` to `audiences` is required."""

    app_id: str
    notification: PushNotificationInput
    tokens: list[PushTokenInput] | None = None
    web_subscriptions: list[PushSubscriptionInput] | None = None
    device_ids: list[str] | None = None
    contact_ids: list[str] | None = None
    external_ids: list[str] | None = None
    emails: list[str] | None = None
    audiences: list[str] | None = None
    excluded_audiences: list[str] | None = None
    platforms: list[Literal["android", "ios", "web"]] | None = None
    environment: Literal["production", "development"] | None = None
    scheduled_at: Time | None = None
    messages: list[PushTextInput] | None = None
    buttons: list[PushButtonInput] | None = None
    data: dict[str, Any] | None = None
    android: PushAndroidInput | None = None
    ios: PushIosInput | None = None
    kind: Literal["marketing", "transactional"] | None = None
    topic_id: Id | None = None
    ttl_seconds: int | None = None
    urgency: Literal["very-low", "low", "normal", "high"] | None = None
    idempotency_key: str | None = None


class PushTestInput(msgspec.Struct, forbid_unknown_fields=True):
    """A test to one device: `title` and `body`, or the draft of a push template."""

    app_id: str
    device_id: str
    title: Annotated[str | None, about("Required without `template_id`.")] = None
    body: Annotated[str | None, about("Required without `template_id`.")] = None
    template_id: Annotated[Id | None, about("Whose draft is sent.")] = None
    contact_id: Annotated[
        Id | None, about("Whose properties the template uses; else the contact of the device.")
    ] = None
    variables: Annotated[dict[str, Any] | None, about("For the template.")] = None


class SentPushResponse(msgspec.Struct):
    """The notification of one device."""

    id: Id
    platform: str
    device_id: str | None
    contact_id: Id | None
    status: str
    reason: str | None
    sent_at: Time | None
    opened_at: Time | None


class PushResponse(msgspec.Struct):
    """A push with what became of it."""

    id: Id
    app_id: str
    #: Notifications, one for each device; of a send to audiences contacts until it is done.
    total: int
    queued: int
    sent: int
    failed: int
    skipped: int
    #: Targets that are unknown, and contacts without a device.
    unknown: int
    without_device: int
    #: Of a send to audiences, else null.
    broadcast_id: Id | None
    broadcast_status: str | None
    #: The first 1,000.
    notifications: list[SentPushResponse]
    created_at: Time
    deduplicated: bool
    #: Whether it was stopped.
    stopped: bool


_QUEUED = (NotificationState.QUEUED, NotificationState.SENDING, NotificationState.DEFERRED)
_FAILED = (NotificationState.FAILED, NotificationState.EXPIRED)
_SKIPPED = (NotificationState.SKIPPED, NotificationState.CANCELLED)


async def send_push(request: Request) -> Response:
    """`POST /push/notifications`."""
    context = context_of(request)
    body = await read_body(request)
    wanted = decode_push(body, context.services.clock_us(), header_key=_header_key(request))
    project = context.principal.project
    sent = await context.services.push_sending.send(
        project.id, wanted, project.policies, actor=context.principal.key_id
    )
    return _sent(sent)


async def test_push(request: Request) -> Response:
    """`POST /push/tests`."""
    context = context_of(request)
    test = decode_push_test(await read_body(request))
    project = context.principal.project
    sent = await context.services.push_sending.send_test(
        project.id,
        test,
        policies=project.policies,
        actor=context.principal.key_id,
        header_key=_header_key(request),
    )
    return _sent(sent)


def _header_key(request: Request) -> str | None:
    head: Head = request.scope["state"]["head"]
    key = head.headers.get(b"idempotency-key")
    return None if key is None else key.decode("latin-1")


def _sent(sent: PushSend) -> Response:
    status = 200 if sent.deduplicated else 201
    response = json_response({"data": push_response(sent)}, status)
    if sent.mismatch:
        response.headers["Idempotency-Mismatch"] = "true"
    return response


async def get_push(request: Request) -> Response:
    """`GET /push/notifications/{id}`."""
    context = context_of(request)
    sends = context.services.store.push.sends
    found = await sends.get(context.project_id, path_uuid(request))
    if found is None:
        raise not_found()
    return json_response({"data": push_response(found)})


async def stop_push(request: Request) -> Response:
    """`POST /push/notifications/{id}/stop`."""
    context = context_of(request)
    stopped = await context.services.store.push.jobs.stop(
        context.project_id,
        path_uuid(request),
        context.services.clock_us(),
        actor=context.principal.key_id,
    )
    if stopped is None:
        raise not_found()
    return json_response({"data": push_response(stopped)})


def push_response(sent: PushSend) -> PushResponse:
    """A push as the API shows it."""

    def count(*states: NotificationState) -> int:
        return sum(sent.states.get(each.value, 0) for each in states)

    made = sum(sent.states.values())
    is_open = sent.job_status in {"scheduled", "running"}
    total = max(made, sent.counts.targets) if is_open else made
    return PushResponse(
        id=sent.id,
        app_id=sent.app_id,
        total=total,
        queued=count(*_QUEUED) + total - made,
        sent=count(NotificationState.SENT),
        failed=count(*_FAILED),
        skipped=count(*_SKIPPED),
        unknown=sent.counts.unknown,
        without_device=sent.counts.without_device,
        broadcast_id=None if sent.job_status is None else sent.id,
        broadcast_status=sent.job_status,
        notifications=[_notification(each) for each in sent.notifications],
        created_at=to_text(sent.created_us),
        deduplicated=sent.deduplicated,
        stopped=sent.counts.stopped,
    )


def _notification(one: SentNotification) -> SentPushResponse:
    return SentPushResponse(
        id=one.id,
        platform=one.platform,
        device_id=one.device_id,
        contact_id=one.contact_id,
        status=one.state,
        reason=one.reason,
        sent_at=None if one.sent_us is None else to_text(one.sent_us),
        opened_at=None if one.opened_us is None else to_text(one.opened_us),
    )


_EXAMPLE = {
    "app_id": "k3wq7n2hxb",
    "external_ids": ["user-42"],
    "notification": {"title": "Your order", "body": "It is on its way."},
    "buttons": [{"id": "track", "text": "Track it", "launch_url": "https://example.com/track"}],
}

ROUTES = (
    post(
        "/push/notifications",
        send_push,
        SEND,
        name="sendPush",
        summary="Send a push",
        description="To the devices that the request names by one of seven styles. Everything is "
        "stored before the response, and sent after it. Only Web Push is sent: devices with "
        "Android and iOS are counted as failed with the reason `not_supported`.",
        bodies=json_body(PushInput, example=_EXAMPLE),
        responses=(
            created("Accepted for sending.", PushResponse),
            ok("The push that has this key.", PushResponse),
        ),
        errors=(ErrorCode.IDEMPOTENCY_KEY_REUSED,),
    ),
    get(
        "/push/notifications/{id}",
        get_push,
        name="getPush",
        summary="Get a push and its status",
        responses=(ok("The push.", PushResponse),),
    ),
    post(
        "/push/notifications/{id}/stop",
        stop_push,
        SEND,
        name="stopPush",
        summary="Stop a push",
        description="A send to audiences creates no more messages, and messages that wait or are "
        "scheduled are cancelled: the first 10,000 at once, others as soon as a worker takes them. "
        "What a worker is sending is sent.",
        responses=(ok("The push after it.", PushResponse),),
    ),
    post(
        "/push/tests",
        test_push,
        SEND,
        name="testPush",
        summary="Send a test to one device",
        description="A transactional push, listed as any other. With `template_id` the draft of "
        "that template is sent as it would be once it is published, in the language of the device.",
        bodies=json_body(
            PushTestInput,
            example={
                "app_id": "k3wq7n2hxb",
                "device_id": "5f0c7a0e-6d8e-4a8f-9b7c-1d2e3f405162",
                "title": "Test",
                "body": "It works.",
            },
        ),
        responses=(
            created("Accepted for sending.", PushResponse),
            ok("The push that has this key.", PushResponse),
        ),
        errors=(ErrorCode.IDEMPOTENCY_KEY_REUSED,),
    ),
)
