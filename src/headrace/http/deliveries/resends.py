"""`POST /webhooks/{id}/resend`: send events to a webhook again, as a job that `/replays` shows."""

from __future__ import annotations

from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.deliveries.dead_letters import PER_SECOND_DEFAULT, PER_SECOND_MAX
from headrace.domain.deliveries.resends import EVENT_IDS_MAX, read_resend
from headrace.domain.errors import ErrorCode
from headrace.domain.ids import uuid_text
from headrace.domain.timestamps import to_text
from headrace.http.deliveries.replays import ReplayResponse, replay_response
from headrace.http.routing.context import context_of, json_response
from headrace.http.routing.media import read_body
from headrace.http.routing.path import not_found, path_uuid
from headrace.http.routing.route import accepted, json_body, ok, post
from headrace.http.routing.schema import Id, Time, about
from headrace.pipeline.delivering.resends import plan_resend, start_resend
from headrace.store.contract.resends import SAMPLE_MAX


class ResendInput(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Events to send again: `event_ids`, or those received from `from` on."""

    event_ids: Annotated[
        list[Id] | None,
        about("Sent whatever the webhook is subscribed to.", minItems=1, maxItems=EVENT_IDS_MAX),
    ] = None
    from_: Annotated[Time | None, about("First time of receipt.")] = msgspec.field(
        name="from", default=None
    )
    to: Annotated[Time | None, about("Received before this time; now if omitted.")] = None
    event: Annotated[str | None, about("Only this name or prefix (`order.*`).")] = None
    only_failed: Annotated[
        bool | None, about("Only events whose delivery to this webhook failed for good.")
    ] = None
    dry_run: Annotated[bool | None, about("Only report what it would do.")] = None
    per_second: Annotated[
        int | None,
        about(
            "Maximum events per second.",
            minimum=1,
            maximum=PER_SECOND_MAX,
            default=PER_SECOND_DEFAULT,
        ),
    ] = None


class ResendSample(msgspec.Struct, kw_only=True):
    """An event that would be sent again."""

    id: Id
    event: str
    received_at: Time


class ResendDryRun(msgspec.Struct, kw_only=True):
    """Preview of sending again."""

    count: int
    sample: Annotated[list[ResendSample], about("The oldest of them.", maxItems=SAMPLE_MAX)]


async def resend(request: Request) -> Response:
    """`POST /webhooks/{id}/resend`: a preview, or a job."""
    context, webhook_id = context_of(request), path_uuid(request)
    store, now_us = context.services.store, context.services.clock_us()
    webhook = await store.subscribers.get(context.project_id, webhook_id)
    if webhook is None:
        raise not_found()
    wish = read_resend(await read_body(request))
    plan = await plan_resend(store.replays, webhook, wish, now_us)
    if wish.dry_run:
        sample = [
            ResendSample(
                id=uuid_text(each.id), event=each.event, received_at=to_text(each.received_us)
            )
            for each in plan.count.sample
        ]
        return json_response({"data": ResendDryRun(count=plan.count.total, sample=sample)})
    job = await start_resend(store.replays, plan, now_us, actor=context.principal.key_id)
    return json_response({"data": replay_response(job)}, 202)


ROUTES = (
    post(
        "/webhooks/{id}/resend",
        resend,
        name="resendToWebhook",
        summary="Send events to the webhook again, or preview that",
        description="Events that were delivered, that failed, or that are older than the webhook. "
        "A delivery keeps its id, so `webhook-id` is the one that the receiver knows.",
        bodies=json_body(
            ResendInput,
            example={"from": "2026-06-08T14:00:00.000Z", "only_failed": True, "dry_run": True},
        ),
        responses=(
            accepted("A job that runs in the background, see `GET /replays/{id}`.", ReplayResponse),
            ok("With dry_run: what would happen.", ResendDryRun),
        ),
        errors=(ErrorCode.CONFLICT,),
    ),
)
