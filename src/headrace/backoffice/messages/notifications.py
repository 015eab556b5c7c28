"""Returned mail: bounces, complaints and other notifications, with what followed."""

from __future__ import annotations

from starlette.responses import Response

from headrace.backoffice.events.search import read_uuid
from headrace.backoffice.messages.notices import mail_page
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get
from headrace.domain.ids import uuid_text
from headrace.domain.messages.feedback.form import FeedbackKind, Source
from headrace.domain.messages.feedback.notification import KEPT_MAX, Effect
from headrace.domain.messages.smtp_replies import ReplyClass
from headrace.store.messages.feedback.notifications import Wanted

ROWS = 50

EFFECTS = {
    Effect.DELIVERED: "message delivered",
    Effect.SUPPRESSED: "address suppressed",
    Effect.COUNTED: "message failed, soft bounce counted",
    Effect.BLOCKED: "message blocked, address not affected",
    Effect.FAILED: "message failed, address not affected",
    Effect.COMPLAINED: "address suppressed after a complaint",
    Effect.UNSUBSCRIBED: "contact unsubscribed",
    Effect.SETTLED: "unknown message settled as sent",
    Effect.NOTHING: "nothing",
    Effect.NO_MESSAGE: "nothing: no known message",
    Effect.WAITING: "waits until the message is sent",
}


async def list_notifications(visit: PageRequest) -> Response:
    """One page of notifications of the project, or of one message."""
    query = visit.query
    kind = query.one_of("kind", tuple(FeedbackKind))
    source = query.one_of("source", tuple(Source))
    effect = query.one_of("effect", tuple(Effect))
    message = query.text("message")
    raw = read_uuid(message) if message else None
    problem = "This is no id of a message." if message and raw is None else ""
    wanted = Wanted(
        kind=FeedbackKind(kind) if kind else None,
        source=Source(source) if source else None,
        effect=Effect(effect) if effect else None,
        message_id=None if raw is None else uuid_text(raw),
    )
    held = visit.store.messages.notifications
    found = []
    if not problem:
        found = list(
            await held.list(
                visit.project.id, wanted, before=_place(query.text("before")), limit=ROWS + 1
            )
        )
    rows = found[:ROWS]
    return await mail_page(
        visit,
        "notifications.html",
        422 if problem else 200,
        rows=rows,
        next_before=rows[-1].number if len(found) > ROWS else None,
        kind=kind,
        source=source,
        effect=effect,
        message=message,
        problem=problem,
        searched=bool(kind or source or effect or message),
        kinds=[("", "any"), *((one.value, one.value.replace("_", " ")) for one in FeedbackKind)],
        sources=[("", "any"), *((one.value, one.value) for one in Source)],
        effects=[("", "any"), *((one.value, EFFECTS[one]) for one in Effect)],
        effect_words=EFFECTS,
        reasons={one.value: one.value.replace("_", " ") for one in ReplyClass},
        counts=await held.counts(visit.project.id),
        kept_max=KEPT_MAX,
    )


def _place(text: str) -> int | None:
    """Decode a page cursor from a link; None when invalid."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


SCREENS = (get("/projects/{project}/notifications", list_notifications, Access.VIEWER),)
