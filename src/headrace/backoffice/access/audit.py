"""The audit log of a project or of the instance: who changed what and who signed in."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import msgspec
from starlette.responses import Response

from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get
from headrace.store.contract.sign_in import AuditFilter, AuditRow

PAGE_ROWS = 50
#: Filter values and their labels: an action, or a group of actions as a prefix ending with a dot.
ACTIONS = (
    ("", "Everything"),
    ("policy.", "Policies"),
    ("key.", "API keys"),
    ("member.", "Members"),
    ("personal_data.", "Personal data shown"),
    ("dead_letter.", "Dead letters"),
    ("replay.", "Replays"),
    ("resend.", "Events sent again"),
    ("contact.", "Contacts"),
    ("webhook.", "Webhooks"),
    ("message.", "Messages"),
    ("email.", "Sends to audiences"),
    ("template.", "Templates"),
    ("domain.", "Sending domains"),
    ("suppression.", "Suppressions"),
    ("project.", "Projects"),
    ("operator.", "Operators"),
    ("sign_in.", "Sign-in links"),
    ("session.", "Sessions and sign-ins"),
)


class Shown(msgspec.Struct, frozen=True):
    """A row of the list."""

    row: AuditRow
    #: Name and value of each detail.
    facts: list[tuple[str, str]]
    project: str


async def audit_of_project(visit: PageRequest) -> Response:
    """Changes in this project."""
    return await _page(visit, visit.project.id)


async def audit_of_instance(visit: PageRequest) -> Response:
    """Changes in all projects and the instance, sign-ins and operators included."""
    return await _page(visit, None)


async def _page(visit: PageRequest, project_id: int | None) -> Response:
    action = visit.query.one_of("action", tuple(key for key, _ in ACTIONS))
    actor = visit.query.text("actor")[:200]
    day = visit.query.text("until")
    wanted = AuditFilter(
        project_id=project_id,
        action=action or None,
        actor=actor or None,
        before_us=_end_of_day_us(day),
    )
    before = visit.query.number("before")
    found = await visit.store.members.audit(wanted, before=before, limit=PAGE_ROWS + 1)
    more = len(found) > PAGE_ROWS
    names = {project.id: project.name for project in visit.projects}
    rows = [
        Shown(row, facts(row.entry.detail), names.get(row.project_id or 0, ""))
        for row in found[:PAGE_ROWS]
    ]
    return visit.page(
        "audit.html",
        rows=rows,
        next_before=found[PAGE_ROWS - 1].entry.id if more else None,
        actions=ACTIONS,
        action=action,
        actor=actor,
        until=day,
        whole=project_id is None,
    )


def facts(detail: str) -> list[tuple[str, str]]:
    """Details of an entry as text; objects as JSON."""
    try:
        members = msgspec.json.decode(detail, type=dict[str, object])
    except msgspec.MsgspecError:
        return [("detail", detail)]
    return [(name, _text(value)) for name, value in members.items()]


def _text(value: object) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _end_of_day_us(day: str) -> int | None:
    try:
        following = date.fromisoformat(day) + timedelta(days=1)
    except (ValueError, OverflowError):
        return None
    return (
        int(datetime(following.year, following.month, following.day, tzinfo=UTC).timestamp())
        * 1_000_000
    )


SCREENS = (
    get("/projects/{project}/audit", audit_of_project, Access.VIEWER),
    get("/audit", audit_of_instance, Access.INSTANCE),
)
