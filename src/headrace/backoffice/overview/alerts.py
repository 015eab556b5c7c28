"""Alerts: what is wrong now, and what was."""

from __future__ import annotations

from starlette.responses import Response

from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get
from headrace.domain.upkeep.alerts import AlertKind, AlertState
from headrace.store.upkeep.alerts import Alert

ROWS = 50


async def list_alerts(visit: PageRequest) -> Response:
    """Open alerts of the project and of the instance, then ended ones."""
    alerts = visit.store.alerts
    found = await alerts.list(visit.project.id, before=visit.query.number("before"), limit=ROWS + 1)
    rows = list(found[:ROWS])
    opened = await alerts.list(visit.project.id, only_open=True, limit=ROWS)
    shown = [(one, _link(visit, one), await alerts.notices(one)) for one in opened]
    ended = [one for one in rows if one.state is AlertState.ENDED]
    return visit.page(
        "alerts.html",
        opened=shown,
        ended=ended,
        next_before=rows[-1].number if len(found) > ROWS else None,
    )


def _link(visit: PageRequest, alert: Alert) -> tuple[str, str] | None:
    """Where to go on: a label and an address."""
    match alert.kind:
        case AlertKind.SUBSCRIBER_FAILING | AlertKind.SUBSCRIBER_DISABLED if alert.project_id:
            return "Open the subscriber", visit.project_url(f"/subscribers/{alert.subject}")
        case AlertKind.DEAD_LETTERS_GROWING:
            return "Open dead letters", visit.project_url("/dead-letters")
        case AlertKind.UNKNOWN_OUTCOMES:
            return "Open messages", visit.project_url("/messages", status="unknown")
        case AlertKind.BOUNCE_RATE | AlertKind.COMPLAINT_RATE | AlertKind.SENDER_REJECTED:
            return "Open sending domains", visit.project_url("/domains")
        case AlertKind.EVENT_QUEUE_AGE | AlertKind.WORKER_GONE | AlertKind.DISK_LOW:
            return "Open the overview", visit.project_url("")
        case _:
            return None


SCREENS = (get("/projects/{project}/alerts", list_alerts, Access.VIEWER),)
