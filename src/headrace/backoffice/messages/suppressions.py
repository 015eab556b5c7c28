"""Suppressions: addresses that get no mail; added, removed, imported and exported."""

from __future__ import annotations

import io

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from headrace.backoffice.events.search import read_uuid
from headrace.backoffice.messages.listing import place_text, read_place
from headrace.backoffice.messages.notices import mail_page
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get, post
from headrace.domain.email import normalize_email
from headrace.domain.errors import ApiError
from headrace.domain.ids import uuid_text
from headrace.domain.messages.kinds import SuppressionReason
from headrace.domain.messages.requests import decode_suppression
from headrace.domain.messages.suppression_files import ImportRules
from headrace.pipeline.messages.suppression_lists import (
    ImportReport,
    export_suppressions,
    import_suppressions,
)
from headrace.store.contract.messages import Suppressed

ROWS = 50
#: Of the beginning of an address.
START_CHARACTERS_MIN = 3
_EMPTY = {"email": "", "scope": "all", "reason": ""}


async def list_suppressions(visit: PageRequest) -> Response:
    """List entries of the project, newest first, or those of one address."""
    return await _page(visit)


async def _page(
    visit: PageRequest,
    status: int = 200,
    *,
    typed: dict[str, str] | None = None,
    problems: dict[str, str] | None = None,
    imported: ImportReport | None = None,
) -> Response:
    email = visit.query.text("email")
    reason = visit.query.one_of("because", tuple(SuppressionReason))
    problem, rows, next_before = "", [], None
    if email:
        try:
            rows = await _of_address(visit, email, reason)
        except ValueError as error:
            problem, status = f"This {error}.", 422
    else:
        rows, next_before = await _newest(visit, reason)
    return await mail_page(
        visit,
        "suppressions.html",
        status,
        rows=rows,
        next_before=next_before,
        email=email,
        because=reason,
        reasons=[
            ("", "any"),
            *((each.value, each.value.replace("_", " ")) for each in SuppressionReason),
        ],
        problem=problem,
        typed=typed or _EMPTY,
        problems=problems or {},
        imported=imported,
    )


async def _of_address(visit: PageRequest, email: str, reason: str) -> list[Suppressed]:
    entries = visit.store.messages.suppressions
    if email.endswith("@") or "@" not in email:
        # The beginning of an address; masked addresses must not be guessed letter by letter.
        if not visit.shows_personal_data:
            raise ValueError("needs a whole address while personal data is hidden")
        text = email.strip().lower()
        if len(text) < START_CHARACTERS_MIN:
            message = f"needs {START_CHARACTERS_MIN} characters or a whole address"
            raise ValueError(message)
        found = await entries.starting(visit.project.id, text, limit=ROWS)
    else:
        found = await entries.of_address(visit.project.id, normalize_email(email))
    return [each for each in found if not reason or each.reason == reason]


async def _newest(visit: PageRequest, reason: str) -> tuple[list[Suppressed], str | None]:
    found = await visit.store.messages.suppressions.list(
        visit.project.id,
        reason=SuppressionReason(reason) if reason else None,
        before=read_place(visit.query.text("before")),
        limit=ROWS + 1,
    )
    rows = list(found[:ROWS])
    last = (rows[-1].since_us, rows[-1].id) if len(found) > ROWS else None
    return rows, place_text(last)


async def add(visit: PageRequest) -> Response:
    """Add an address; an existing entry is widened, never narrowed."""
    typed = {name: visit.form.text(name) for name in _EMPTY}
    given = {name: value for name, value in typed.items() if value}
    try:
        fields = decode_suppression(msgspec.json.encode(given))
    except ApiError as error:
        problems = {each.field: f"This {each.message}." for each in error.details}
        return await _page(visit, 422, typed=typed, problems=problems)
    await visit.store.messages.suppressions.add(
        visit.project.id, fields, visit.now_us, actor=visit.actor
    )
    return visit.go(visit.project_url("/suppressions"), "The address is suppressed from now on.")


async def remove(visit: PageRequest) -> Response:
    """Remove an entry."""
    raw = read_uuid(visit.request.path_params["suppression"])
    gone = None
    if raw is not None:
        gone = await visit.store.messages.suppressions.remove(
            visit.project.id, uuid_text(raw), visit.now_us, actor=visit.actor
        )
    if gone is None:
        raise HTTPException(404)
    return visit.go(visit.project_url("/suppressions"), "The entry is removed.")


async def import_list(visit: PageRequest) -> Response:
    """Import pasted lines; those that are not imported are named on the page."""
    text = visit.form.raw("lines").replace("\x00", "")
    if not text.strip():
        return await _page(visit, 422, problems={"lines": "This is empty."})
    reason = visit.form.one_of("kind", tuple(SuppressionReason)) or SuppressionReason.MANUAL
    report = await import_suppressions(
        visit.store.messages.suppressions,
        visit.project.id,
        io.StringIO(text, newline=""),
        ImportRules(reason=SuppressionReason(reason)),
        now_us=visit.now_us,
        actor=visit.actor,
    )
    return await _page(visit, 422 if report.rejected else 200, imported=report)


async def export_list(visit: PageRequest) -> Response:
    """Export the list as CSV: personal data, so only while it is shown."""
    if not visit.shows_personal_data:
        text = "Show personal data first: the file has every address."
        return visit.go(visit.project_url("/suppressions"), text, kind="bad")
    pieces = export_suppressions(visit.store.messages.suppressions, visit.project.id)
    headers = {
        "cache-control": "no-store",
        "content-disposition": 'attachment; filename="suppressions.csv"',
    }
    return StreamingResponse(pieces, media_type="text/csv; charset=utf-8", headers=headers)


_ALL = "/projects/{project}/suppressions"
SCREENS = (
    get(_ALL, list_suppressions, Access.VIEWER),
    post(_ALL, add, Access.OPERATOR),
    post(f"{_ALL}/import", import_list, Access.OPERATOR),
    get(f"{_ALL}/export", export_list, Access.OPERATOR),
    post(f"{_ALL}/{{suppression}}/remove", remove, Access.OPERATOR),
)
