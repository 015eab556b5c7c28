"""`/alerts`: what operators are alerted to."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.timestamps import to_text
from headrace.domain.upkeep.alerts import AlertKind, AlertState
from headrace.http.routing.context import context_of, json_response
from headrace.http.routing.parameters import PAGE, one_of
from headrace.http.routing.route import get, page
from headrace.http.routing.schema import Id, Time, about
from headrace.store.upkeep.alerts import Alert


class AlertResponse(msgspec.Struct, kw_only=True):
    """An alert, from its start to its end."""

    id: Id
    kind: AlertKind
    state: Literal["open", "ended"]
    scope: Annotated[
        Literal["project", "instance"],
        about("Whether it is about the project or the whole instance."),
    ]
    subject: Annotated[
        str, about("A domain, the id of a subscriber, a relay; empty where there is only one.")
    ]
    title: str
    detail: Annotated[str, about("One sentence without personal data.")]
    fix: Annotated[str, about("What to do about it.")]
    started_at: Time
    ended_at: Time | None


def alert_response(of: Alert) -> AlertResponse:
    """An alert as the API shows it."""
    return AlertResponse(
        id=of.id,
        kind=of.kind,
        state="open" if of.state is AlertState.OPEN else "ended",
        scope="project" if of.project_id else "instance",
        subject=of.subject,
        title=of.title,
        detail=of.detail,
        fix=of.fix,
        started_at=to_text(of.started_us or 0),
        ended_at=None if of.ended_us is None else to_text(of.ended_us),
    )


async def list_alerts(request: Request) -> Response:
    """`GET /alerts`: newest first."""
    context = context_of(request)
    only_open, limit = context.query.get("state") == "open", context.limit
    scope = f"alerts {context.project_id} {only_open}"
    found = await context.services.store.alerts.list(
        context.project_id, only_open=only_open, before=context.before(scope), limit=limit + 1
    )
    cursors = context.services.cursors
    following = cursors.make(found[limit - 1].number, scope) if len(found) > limit else None
    shown = [alert_response(one) for one in found[:limit]]
    return json_response({"data": shown, "next_cursor": following})


ROUTES = (
    get(
        "/alerts",
        list_alerts,
        name="listAlerts",
        summary="List alerts",
        description="Alerts of the project and of the whole instance. Each has one start and one "
        "end; ended ones are kept for 90 days.",
        parameters=(*PAGE, one_of("state", ("open",), "Only alerts that are open.")),
        responses=(page(AlertResponse),),
    ),
)
