"""Sending events to a webhook again: one from its page, or a time range with a preview."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from headrace.backoffice.events.search import read_uuid
from headrace.backoffice.shell.forms import Fields
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get, post
from headrace.domain.deliveries.dead_letters import PER_SECOND_DEFAULT, PER_SECOND_MAX
from headrace.domain.deliveries.resends import read_resend
from headrace.domain.errors import ApiError
from headrace.domain.ids import uuid_text
from headrace.pipeline.delivering.resends import ResendPlan, plan_resend, start_resend
from headrace.store.contract.deliveries import Subscriber

#: The text fields of the form.
_FIELDS = ("from", "to", "event", "per_second")


async def preview(visit: PageRequest) -> Response:
    """Show the form, and once it is filled how many events match; changes nothing."""
    webhook = await _webhook(visit, visit.request.path_params["subscriber"])
    if "from" not in dict(visit.query.pairs()):
        return _form(visit, webhook, _typed(Fields([])))
    typed = _typed(visit.query)
    try:
        return _form(visit, webhook, typed, plan=await _plan(visit, webhook, typed))
    except ApiError as error:
        return _form(visit, webhook, typed, problems=_problems(error))


async def start(visit: PageRequest) -> Response:
    """Create the job; a worker runs it."""
    webhook = await _webhook(visit, visit.request.path_params["subscriber"])
    typed = _typed(visit.form)
    back = visit.project_url(f"/subscribers/{webhook.id}/resend", **typed)
    try:
        plan = await _plan(visit, webhook, typed)
        job = await start_resend(visit.store.replays, plan, visit.now_us, actor=visit.actor)
    except ApiError as error:
        return visit.go(back, f"Not started. {error.message}", kind="bad")
    return visit.go(visit.project_url(f"/replays/{job.id}"))


async def send_one(visit: PageRequest) -> Response:
    """Send one event to a webhook again."""
    event_id = read_uuid(visit.request.path_params["event"])
    if event_id is None:
        raise HTTPException(404)
    webhook = await _webhook(visit, visit.form.text("webhook"))
    address = visit.project_url(f"/events/{uuid_text(event_id)}")
    try:
        plan = await _plan(visit, webhook, {"event_ids": [uuid_text(event_id)]})
        await start_resend(visit.store.replays, plan, visit.now_us, actor=visit.actor)
    except ApiError as error:
        return visit.go(address, f"Not sent. {error.message}", kind="bad")
    return visit.go(address, f"It is sent to {webhook.target} again within seconds.")


async def _webhook(visit: PageRequest, subscriber_id: str) -> Subscriber:
    raw = read_uuid(subscriber_id)
    found = None
    if raw is not None:
        found = await visit.store.subscribers.get(visit.project.id, uuid_text(raw))
    if found is None:
        raise HTTPException(404)
    return found


async def _plan(visit: PageRequest, webhook: Subscriber, typed: dict[str, Any]) -> ResendPlan:
    sent: dict[str, Any] = {name: value for name, value in typed.items() if value}
    if "per_second" in sent:
        text = sent["per_second"]
        sent["per_second"] = int(text) if text.isascii() and text.isdigit() else text
    if "only_failed" in sent:
        sent["only_failed"] = True
    wish = read_resend(msgspec.json.encode(sent))
    return await plan_resend(visit.store.replays, webhook, wish, visit.now_us)


def _typed(fields: Fields) -> dict[str, Any]:
    typed = {name: fields.text(name) for name in _FIELDS}
    return typed | {"only_failed": fields.one_of("only_failed", ("1",))}


def _form(
    visit: PageRequest,
    webhook: Subscriber,
    typed: dict[str, Any],
    *,
    plan: ResendPlan | None = None,
    problems: dict[str, str] | None = None,
) -> Response:
    return visit.page(
        "resend.html",
        422 if problems else 200,
        subscriber=webhook,
        typed=typed,
        plan=plan,
        problems=problems or {},
        per_second=PER_SECOND_DEFAULT,
        per_second_max=PER_SECOND_MAX,
    )


def _problems(error: ApiError) -> dict[str, str]:
    """A sentence for each field."""
    return {each.field: f"{each.message[:1].upper()}{each.message[1:]}." for each in error.details}


SCREENS = (
    get("/projects/{project}/subscribers/{subscriber}/resend", preview, Access.OPERATOR),
    post("/projects/{project}/subscribers/{subscriber}/resend", start, Access.OPERATOR),
    post("/projects/{project}/events/{event}/resend", send_one, Access.OPERATOR),
)
