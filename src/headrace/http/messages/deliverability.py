"""`/domains/{id}/deliverability`: what receivers do with mail of a sending domain."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.timestamps import to_text
from headrace.http.routing.context import context_of, json_response
from headrace.http.routing.parameters import text
from headrace.http.routing.path import not_found, path_uuid
from headrace.http.routing.route import get, ok
from headrace.http.routing.schema import Id, Time, about
from headrace.pipeline.messages.deliverability import (
    DAYS_DEFAULT,
    DAYS_MAX,
    Deliverability,
    HeldReceiver,
    read_deliverability,
)
from headrace.store.messages.receivers import Figures


class MailFigures(msgspec.Struct, kw_only=True):
    """Mail by its result."""

    sent: Annotated[int, about("Accepted by the relay.")]
    delivered: Annotated[int, about("Reported as accepted by the receiving server.")]
    bounced: int
    complained: int
    blocked: Annotated[int, about("Rejected because of the sender; says nothing about addresses.")]
    bounce_rate: Annotated[float, about("Bounces by mail sent or bounced, from 0 to 1.")]
    complaint_rate: Annotated[float, about("Complaints by mail sent, from 0 to 1.")]


class DayFigures(MailFigures):
    """Mail of a day in UTC, the day on which it was handed over."""

    day: Annotated[str, about(format="date", examples=["2026-06-08"])]


class ReceiverFigures(MailFigures):
    """Mail to a receiving domain."""

    receiver: str


class RejectingReceiver(msgspec.Struct, kw_only=True):
    """A receiving domain that rejects the sending domain; mail to it waits."""

    receiver: str
    since: Time
    probe_at: Annotated[Time, about("When a message tries again.")]
    rejections: int
    response: Annotated[str, about("The last response of the server.")]
    message_id: Annotated[Id, about("The message that was rejected last.")]
    meaning: str
    fix: Annotated[str, about("What to do about it.")]


class DeliverabilityResponse(msgspec.Struct, kw_only=True):
    """What receivers do with mail of a sending domain."""

    domain: str
    days: int
    total: MailFigures
    by_day: Annotated[list[DayFigures], about("Newest first; days without mail are absent.")]
    by_receiver: Annotated[list[ReceiverFigures], about("The 50 with most mail.")]
    rejecting: list[RejectingReceiver]


def _figures(of: Figures) -> dict[str, Any]:
    return {
        "sent": of.sent,
        "delivered": of.delivered,
        "bounced": of.bounced,
        "complained": of.complained,
        "blocked": of.blocked,
        "bounce_rate": round(of.bounce_rate, 6),
        "complaint_rate": round(of.complaint_rate, 6),
    }


def _held(of: HeldReceiver) -> RejectingReceiver:
    breaker = of.open.breaker
    return RejectingReceiver(
        receiver=of.open.receiver,
        since=to_text(breaker.opened_us or breaker.at_us),
        probe_at=to_text(breaker.until_us),
        rejections=breaker.seen,
        response=breaker.rejection.text,
        message_id=breaker.rejection.message_id,
        meaning=of.advice.meaning,
        fix=of.advice.fix,
    )


def deliverability_response(domain: str, days: int, of: Deliverability) -> DeliverabilityResponse:
    """Deliverability as the API shows it."""
    return DeliverabilityResponse(
        domain=domain,
        days=days,
        total=MailFigures(**_figures(of.total)),
        by_day=[DayFigures(day=one.name, **_figures(one)) for one in of.by_day],
        by_receiver=[ReceiverFigures(receiver=one.name, **_figures(one)) for one in of.by_receiver],
        rejecting=[_held(one) for one in of.held],
    )


def _days(value: str) -> int:
    if not value.isascii() or not value.isdigit() or not 1 <= int(value[:6]) <= DAYS_MAX:
        message = f"must be a whole number from 1 to {DAYS_MAX}"
        raise ValueError(message)
    return int(value)


async def get_deliverability(request: Request) -> Response:
    """`GET /domains/{id}/deliverability`."""
    context = context_of(request)
    messages = context.services.store.messages
    domain = await messages.domains.get(context.project_id, path_uuid(request))
    if domain is None:
        raise not_found()
    days = context.query.get("days", DAYS_DEFAULT)
    found = await read_deliverability(
        messages.receivers, context.project_id, domain.name, context.services.clock_us(), days
    )
    return json_response({"data": deliverability_response(domain.name, days, found)})


ROUTES = (
    get(
        "/domains/{id}/deliverability",
        get_deliverability,
        name="getDeliverability",
        summary="What receivers do with mail of a sending domain",
        description="Figures by day and by receiving domain, and the receivers that reject the "
        "domain, with their response and what to do about it.",
        parameters=(
            text(
                "days",
                _days,
                f"Days until today; {DAYS_DEFAULT} if absent, at most {DAYS_MAX}.",
                type="integer",
                minimum=1,
                maximum=DAYS_MAX,
            ),
        ),
        responses=(ok("The figures.", DeliverabilityResponse),),
    ),
)
