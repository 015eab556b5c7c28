"""The Starlette application of every route that is not hot, and how its errors are answered."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from headrace.domain.errors import ApiError, ErrorCode
from headrace.http import (
    admin_policies,
    audiences,
    catalog,
    contact_batch,
    contact_lists,
    contacts,
    dead_letters,
    docs,
    erasures,
    events,
    health,
    merges,
    person_export,
    rejections,
    replays,
    topics,
    trace,
    webhooks,
)
from headrace.http.asgi import WENT_WRONG
from headrace.http.refusals import Refusals
from headrace.http.resource import fixed, resource
from headrace.http.validate import validate
from headrace.http.wire import error_body, error_headers
from headrace.pipeline.accept import storage_unavailable
from headrace.pipeline.access import Principal
from headrace.store.contract import StoreBusyError, StoreError


async def _post_only(request: Request) -> Response:
    """Keep a path that only takes POST from being read as the id of an event."""
    del request
    raise HTTPException(405)


ROUTES = (
    Route("/events", events.list_events, methods=["GET"]),
    Route("/events/stream", events.stream, methods=["GET"]),
    Route("/events/validate", validate, methods=["POST"]),
    Route("/events/batch", _post_only, methods=["GET"]),
    Route("/events/validate", _post_only, methods=["GET"]),
    Route("/events/by-idempotency-key/{key:path}", events.get_by_key, methods=["GET"]),
    Route("/events/{id}", events.get_event, methods=["GET"]),
    Route("/events/{id}/trace", trace.get_trace, methods=["GET"]),
    Route("/rejections", rejections.list_rejections, methods=["GET"]),
    resource("/contacts", get=contact_lists.list_contacts, post=contacts.create_contact),
    fixed("/contacts/batch", post=contact_batch.upsert_contacts),
    fixed("/contacts/conflicts", get=merges.list_conflicts),
    resource("/contacts/conflicts/{id}/dismiss", post=merges.dismiss_conflict),
    resource(
        "/contacts/{id}",
        get=contacts.get_contact,
        patch=contacts.patch_contact,
        delete=contacts.delete_contact,
    ),
    resource("/contacts/{id}/events", get=contacts.list_events),
    resource("/contacts/{id}/export", get=person_export.export_person),
    resource("/contacts/{id}/merge", post=merges.merge_contact),
    resource("/merges", get=merges.list_merges),
    resource("/merges/{id}", get=merges.get_merge),
    resource("/merges/{id}/undo", post=merges.undo_merge),
    resource("/erasures", get=erasures.list_erasures),
    resource("/erasures/{id}", get=erasures.get_erasure),
    resource(
        "/contacts/{id}/topics",
        get=topics.list_topics_of_contact,
        put=topics.put_all_subscriptions,
    ),
    resource("/contacts/{contact_id}/topics/{topic_id}", put=topics.put_subscription),
    resource("/topics", get=topics.list_topics, post=topics.create_topic),
    resource(
        "/topics/{id}",
        get=topics.get_topic,
        patch=topics.patch_topic,
        delete=topics.delete_topic,
    ),
    resource("/audiences", get=audiences.list_audiences, post=audiences.create_audience),
    resource(
        "/audiences/{id}",
        get=audiences.get_audience,
        patch=audiences.patch_audience,
        delete=audiences.delete_audience,
    ),
    resource(
        "/audiences/{id}/contacts",
        get=audiences.list_contacts_of_audience,
        post=audiences.add_contacts,
    ),
    resource("/audiences/{id}/contacts/{contact_id}", delete=audiences.remove_contact),
    resource("/catalog", get=catalog.list_catalog),
    resource("/catalog/{event}", get=catalog.get_catalog_entry),
    resource("/dead-letters", get=dead_letters.list_dead_letters),
    resource("/dead-letters/groups", get=dead_letters.list_groups),
    resource("/dead-letters/replay", post=replays.replay_many),
    resource("/dead-letters/{id}/replay", post=dead_letters.replay_one),
    resource("/dead-letters/{id}/discard", post=dead_letters.discard_one),
    resource("/replays", get=replays.list_replays),
    resource("/replays/{id}", get=replays.get_replay),
    resource("/replays/{id}/stop", post=replays.stop_replay),
    resource("/webhooks", get=webhooks.list_webhooks, post=webhooks.create_webhook),
    resource(
        "/webhooks/{id}",
        get=webhooks.get_webhook,
        patch=webhooks.patch_webhook,
        delete=webhooks.delete_webhook,
    ),
    resource("/webhooks/{id}/test", post=webhooks.test_webhook),
    resource("/webhooks/{id}/rotate-secret", post=webhooks.rotate_secret),
    resource("/webhooks/{id}/deliveries", get=webhooks.list_deliveries),
    resource("/admin/projects", get=admin_policies.list_projects),
    resource(
        "/admin/projects/{id}/policies",
        get=admin_policies.get_policies,
        patch=admin_policies.patch_policies,
    ),
    resource("/admin/projects/{id}/audit", get=admin_policies.list_audit),
    Route("/healthz", health.healthz, methods=["GET"]),
    Route("/readyz", health.readyz, methods=["GET"]),
    Route("/metrics", health.metrics, methods=["GET"]),
    Route("/openapi.json", docs.openapi, methods=["GET"]),
    Route("/docs", docs.page, methods=["GET"]),
    Route("/", lambda _: RedirectResponse("/docs"), methods=["GET"]),
)
#: Methods of the hot paths, which the edge answers before the application is asked.
_HOT = {"/events": "GET, HEAD, POST", "/events/batch": "POST", "/events/validate": "POST"}


def build_application(refusals: Refusals) -> Starlette:
    """Make the application; its handlers find their services in the request's state."""

    def answer(request: Request, error: Exception) -> Response:
        failure = as_api_error(request, error)
        principal = request.scope["state"]["principal"]
        if isinstance(principal, Principal) and failure.status != 404:
            request_id = request.scope["state"]["request_id"].encode()
            refusals.note(failure, request.scope["state"]["head"], principal, request_id, b"")
        headers = dict(error_headers(failure))
        return Response(error_body(failure), failure.status, headers, "application/json")

    handled = (ApiError, StoreError, HTTPException, Exception)
    application = Starlette(routes=list(ROUTES), exception_handlers=dict.fromkeys(handled, answer))
    # A redirect would repeat the host that the client claims.
    application.router.redirect_slashes = False
    return application


def as_api_error(request: Request, error: Exception) -> ApiError:
    """The one table from exceptions of handlers to answers."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, StoreBusyError):
        return ApiError(ErrorCode.OVERLOADED, str(error), retry_after_s=1)
    if isinstance(error, StoreError):
        return storage_unavailable(error)
    if isinstance(error, HTTPException) and error.status_code == 405:
        allowed = _HOT.get(request.url.path) or dict(error.headers or {}).get("Allow", "")
        message = f"This path takes {allowed}."
        headers = (("Allow", allowed),)
        return ApiError(ErrorCode.METHOD_NOT_ALLOWED, message, headers=headers)
    if isinstance(error, HTTPException):
        return ApiError(ErrorCode.NOT_FOUND, "There is nothing at this path.")
    return ApiError(ErrorCode.INTERNAL, WENT_WRONG)
