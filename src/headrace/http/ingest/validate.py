"""`POST /events/validate`: how `POST /events` would respond, with nothing stored."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.access.policies import IdempotencyConflict
from headrace.domain.errors import ApiError
from headrace.domain.events.canonical import same_content
from headrace.domain.events.draft import decode_draft
from headrace.domain.events.event import FirstCopy
from headrace.domain.events.event_types import Draft, DraftLimits
from headrace.domain.events.identity import lane_of
from headrace.domain.events.placeholders import placeholders
from headrace.domain.ids import first_sequence_at, id_of_sequence
from headrace.http.events.responses import accepted_body, deduplicated
from headrace.http.ingest.event_input import EXAMPLE, EventInput
from headrace.http.ingest.single import INGEST_ERRORS, KEY_HEADER, MISMATCH, SINGLE_RESPONSES
from headrace.http.routing.context import Context, context_of
from headrace.http.routing.media import read_body
from headrace.http.routing.route import INGEST, json_body, post
from headrace.http.server.wire import data_body
from headrace.pipeline.intake.accept import key_reused


async def validate(request: Request) -> Response:
    """Respond as if the event were sent: a new event gets a random id, a known key the real one."""
    context = context_of(request)
    now_us = context.services.clock_us()
    policies = context.principal.project.policies
    limits = DraftLimits(
        policies.event_payload_limit_bytes,
        now_us,
        request.headers.get("idempotency-key"),
        placeholders(policies.placeholder_identifiers),
    )
    try:
        draft = decode_draft(await read_body(request), limits)
        return await _first_copy(context, draft, now_us) or _new(context, draft, now_us)
    except ApiError as error:
        context.services.acceptor.stats.reject(error.code)
        raise


async def _first_copy(context: Context, draft: Draft, now_us: int) -> Response | None:
    if draft.idempotency_key is None:
        return None
    project = context.principal.project
    first = await context.services.store.events.get_by_key(project.id, draft.idempotency_key)
    if first is None:
        return None
    stored = (
        first.event,
        first.contact_id,
        first.external_id,
        first.email,
        first.occurred_us,
        first.received_us,
        first.payload,
    )
    mismatch = not same_content(draft, now_us, stored)
    if mismatch and project.policies.idempotency_conflict is IdempotencyConflict.REJECT:
        raise key_reused()
    copy = FirstCopy(first.id, first.event, first.occurred_us, mismatch)
    headers = dict(MISMATCH) if mismatch else {}
    return Response(data_body(deduplicated(copy)), 200, headers, "application/json")


def _new(context: Context, draft: Draft, now_us: int) -> Response:
    lane = lane_of(context.principal.project.id, draft.identity_type, draft.identity_value)
    body = accepted_body(
        id_of_sequence(first_sequence_at(now_us), lane, 0),
        draft.event,
        draft.identity_type,
        draft.identity_value,
        draft.occurred_us,
    )
    return Response(body, 202, media_type="application/json")


ROUTES = (
    post(
        "/events/validate",
        validate,
        INGEST,
        name="validateEvent",
        summary="Check an event without storing it",
        description="Responds like `POST /events`; the id of a new event is not real.",
        parameters=(KEY_HEADER,),
        bodies=json_body(EventInput, example=EXAMPLE),
        responses=SINGLE_RESPONSES,
        errors=INGEST_ERRORS,
    ),
)
