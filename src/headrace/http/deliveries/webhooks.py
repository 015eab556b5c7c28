"""`/webhooks`: endpoints of a project, their secrets, test calls and deliveries."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from headrace.delivery.contract import DeliveryError
from headrace.domain.deliveries.body_format import BodyFormat
from headrace.domain.deliveries.own_headers import UnknownHeaderError
from headrace.domain.deliveries.webhooks import WebhookFields, decode_webhook, reject_fields
from headrace.domain.errors import ApiError, ErrorCode, FieldProblem, invalid
from headrace.domain.ids import new_uuid, uuid_text
from headrace.domain.json_fields import FieldReader
from headrace.domain.timestamps import to_text
from headrace.http.deliveries.webhook_responses import (
    DeliveryResponse,
    WebhookCreate,
    WebhookCreated,
    WebhookResponse,
    WebhookSecretResponse,
    WebhookTestResponse,
    WebhookUpdate,
    delivery_response,
    test_call_response,
    webhook_created,
    webhook_response,
)
from headrace.http.routing.context import Context, context_of, json_response
from headrace.http.routing.media import read_body
from headrace.http.routing.parameters import PAGE
from headrace.http.routing.path import not_found, path_uuid
from headrace.http.routing.route import (
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
from headrace.pipeline.delivering.health import RECENT, Health, health_of
from headrace.store.contract.deliveries import (
    WEBHOOKS_MAX,
    NewWebhook,
    Subscriber,
    TooManyWebhooksError,
    WebhookChange,
)
from headrace.store.deliveries.subscribers import Subscribers


async def create_webhook(request: Request) -> Response:
    """`POST /webhooks`: the only response with the secret, besides that of a rotation."""
    context = context_of(request)
    fields, check = decode_webhook(await read_body(request), required=True)
    url = await _checked_url(context, fields, check)
    secret = context.services.webhooks.new_secret()
    webhook = NewWebhook(
        id=uuid_text(new_uuid()),
        project_id=context.project_id,
        url=url or "",
        events=fields.events or (),
        description=fields.description or "",
        enabled=fields.enabled is not False,
        paused=fields.paused is True,
        headers=tuple((name, value or "") for name, value in fields.headers or ()),
        format=fields.format or BodyFormat.HEADRACE,
        secret=secret,
    )
    try:
        created = await _store(context).create(webhook, actor=_actor(context))
    except TooManyWebhooksError:
        message = f"A project has at most {WEBHOOKS_MAX} webhooks; delete one first."
        raise ApiError(ErrorCode.CONFLICT, message) from None
    return json_response(
        {"data": webhook_created(created, await _health(context, created), secret)}, 201
    )


async def _checked_url(context: Context, fields: WebhookFields, check: FieldReader) -> str | None:
    """The normalized URL; raises with every problem of the request."""
    url = fields.url
    if url is not None:
        try:
            url = await context.services.webhooks.check_url(url)
        except DeliveryError as error:
            check.add("url", str(error))
    check.raise_if_any()
    return url


async def list_webhooks(request: Request) -> Response:
    """`GET /webhooks`: newest first."""
    context = context_of(request)
    limit = context.limit
    project_id = context.project_id
    scope, cursors = f"webhooks {project_id}", context.services.cursors
    before = context.before(scope)
    found = await _store(context).list(project_id, before=before, limit=limit + 1)
    following = cursors.make(found[limit - 1].created_us, scope) if len(found) > limit else None
    shown = [await _shown(context, webhook) for webhook in found[:limit]]
    return json_response({"data": shown, "next_cursor": following})


async def get_webhook(request: Request) -> Response:
    """`GET /webhooks/{id}`."""
    context = context_of(request)
    webhook = await _webhook(request, context)
    return json_response({"data": await _shown(context, webhook)})


async def patch_webhook(request: Request) -> Response:
    """`PATCH /webhooks/{id}`: members that are absent or null stay as they are."""
    context = context_of(request)
    webhook_id = path_uuid(request)
    fields, check = decode_webhook(await read_body(request), required=False)
    change = WebhookChange(
        url=await _checked_url(context, fields, check),
        events=fields.events,
        description=fields.description,
        enabled=fields.enabled,
        paused=fields.paused,
        per_second=fields.per_second,
        headers=fields.headers,
        format=fields.format,
    )
    try:
        changed = await _store(context).update(
            context.project_id, webhook_id, change, actor=_actor(context)
        )
    except UnknownHeaderError as error:
        message = "is the mask of a value, but no such header is stored; send the value itself"
        raise invalid(FieldProblem(f"headers.{error.args[0]}", message)) from None
    return json_response({"data": await _shown(context, _found(changed))})


async def delete_webhook(request: Request) -> Response:
    """`DELETE /webhooks/{id}`: its pending deliveries become dead letters."""
    context = context_of(request)
    project_id = context.project_id
    if not await _store(context).delete(project_id, path_uuid(request), actor=_actor(context)):
        raise not_found()
    return Response(status_code=204)


async def test_webhook(request: Request) -> Response:
    """`POST /webhooks/{id}/test`: makes a signed call now and returns its result."""
    context = context_of(request)
    await _reject_body(request)
    webhook = await _webhook(request, context)
    outcome = await context.services.webhooks.test(webhook)
    return json_response({"data": test_call_response(outcome)})


async def rotate_secret(request: Request) -> Response:
    """`POST /webhooks/{id}/rotate-secret`: the old secret signs for one more day."""
    context = context_of(request)
    await _reject_body(request)
    secret = context.services.webhooks.new_secret()
    rotated = _found(
        await _store(context).rotate_secret(
            context.project_id, path_uuid(request), secret, actor=_actor(context)
        )
    )
    until = to_text(rotated.previous_until_us or rotated.updated_us)
    return json_response({"data": WebhookSecretResponse(rotated.id, secret, until)})


async def list_deliveries(request: Request) -> Response:
    """`GET /webhooks/{id}/deliveries`: newest first, each with its attempts."""
    context = context_of(request)
    limit = context.limit
    webhook = await _webhook(request, context)
    scope, cursors = f"deliveries {webhook.project_id} {webhook.id}", context.services.cursors
    before = context.before(scope)
    found = await context.services.store.deliveries.list(
        webhook.project_id, webhook.id, before=before, limit=limit + 1
    )
    following = cursors.make(found[limit - 1].number, scope) if len(found) > limit else None
    shown = [delivery_response(delivery, webhook) for delivery in found[:limit]]
    return json_response({"data": shown, "next_cursor": following})


async def _reject_body(request: Request) -> None:
    body = await read_body(request) if await request.body() else b""
    reject_fields(body, "this request, which takes none")


async def _webhook(request: Request, context: Context) -> Subscriber:
    return _found(await _store(context).get(context.project_id, path_uuid(request)))


async def _shown(context: Context, webhook: Subscriber) -> WebhookResponse:
    return webhook_response(webhook, await _health(context, webhook))


async def _health(context: Context, webhook: Subscriber) -> Health:
    recent = await context.services.store.deliveries.list(
        webhook.project_id, webhook.id, before=None, limit=RECENT
    )
    return health_of(webhook, recent, context.services.clock_us())


def _found(webhook: Subscriber | None) -> Subscriber:
    if webhook is None:
        raise not_found()
    return webhook


def _store(context: Context) -> Subscribers:
    return context.services.store.subscribers


def _actor(context: Context) -> str:
    return f"key {context.principal.key_id}"


ROUTES = (
    post(
        "/webhooks",
        create_webhook,
        name="createWebhook",
        summary="Create a webhook",
        description=f"A project has at most {WEBHOOKS_MAX} webhooks.",
        bodies=json_body(
            WebhookCreate, example={"url": "https://example.com/headrace", "events": ["order.*"]}
        ),
        responses=(created("Created; `secret` is shown only once.", WebhookCreated),),
        errors=(ErrorCode.CONFLICT,),
    ),
    get(
        "/webhooks",
        list_webhooks,
        name="listWebhooks",
        summary="List webhooks",
        parameters=PAGE,
        responses=(page(WebhookResponse),),
    ),
    get(
        "/webhooks/{id}",
        get_webhook,
        name="getWebhook",
        summary="Get a webhook",
        responses=(ok("The webhook.", WebhookResponse),),
    ),
    patch(
        "/webhooks/{id}",
        patch_webhook,
        name="patchWebhook",
        summary="Change a webhook",
        description="Fields that are absent or null are not changed; `enabled: true` "
        "also ends a pause of the circuit breaker. `paused: true` keeps deliveries waiting until "
        "`paused: false`, with `per_second` to send at most so many a second until none is due.",
        bodies=json_body(WebhookUpdate, example={"enabled": True}),
        responses=(ok("The updated webhook.", WebhookResponse),),
    ),
    delete(
        "/webhooks/{id}",
        delete_webhook,
        name="deleteWebhook",
        summary="Delete a webhook",
        description="Its pending deliveries become dead letters.",
        responses=(no_content("Deleted."),),
    ),
    post(
        "/webhooks/{id}/test",
        test_webhook,
        name="testWebhook",
        summary="Call the webhook now with a test event",
        bodies=empty_body(),
        responses=(
            ok("The call was made; `delivered` says whether it succeeded.", WebhookTestResponse),
        ),
        errors=(ErrorCode.RATE_LIMITED,),
    ),
    post(
        "/webhooks/{id}/rotate-secret",
        rotate_secret,
        name="rotateWebhookSecret",
        summary="Replace the signing secret",
        description="Both secrets sign for 24 hours.",
        bodies=empty_body(),
        responses=(ok("The new secret, shown only once.", WebhookSecretResponse),),
    ),
    get(
        "/webhooks/{id}/deliveries",
        list_deliveries,
        name="listDeliveries",
        summary="List the deliveries of a webhook",
        description="Each with its attempts.",
        parameters=PAGE,
        responses=(page(DeliveryResponse),),
    ),
)
