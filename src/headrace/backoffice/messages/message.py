"""One message: its history, the mail itself, and settling an unknown outcome."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from headrace.backoffice.events.search import read_uuid
from headrace.backoffice.messages.mail_html import quiet
from headrace.backoffice.messages.mail_parts import MailParts, take_apart
from headrace.backoffice.messages.notices import mail_page
from headrace.backoffice.messages.notifications import EFFECTS
from headrace.backoffice.messages.summary import checks_of, severity_of, steps_of
from headrace.backoffice.messages.words import VERDICT_REASONS
from headrace.backoffice.shell import content_policy
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get, post
from headrace.domain.ids import uuid_text
from headrace.domain.messages.kinds import MessageStatus
from headrace.pipeline.messages.message_trace import trace_of
from headrace.store.contract.messages import EngagementRecord
from headrace.store.messages.content.captured import CapturedMail
from headrace.store.messages.content.links import HONEYPOT_LINK
from headrace.store.messages.feedback.notifications import Wanted

#: Link targets looked up for one page.
TARGETS_MAX = 50
#: Notifications on the page of a message; the others are behind a link.
RETURNED_SHOWN_MAX = 5
_OUTCOMES = {"sent": "sent", "not_sent": "failed"}


async def show_message(visit: PageRequest) -> Response:
    """Everything known about a message."""
    message_id = _message_id(visit)
    messages = visit.store.messages
    detail = await messages.lists.detail(visit.project.id, message_id, visit.now_us)
    if detail is None:
        raise HTTPException(404)
    held = await messages.captured.of_message(visit.project.id, message_id)
    returned = await messages.notifications.list(
        visit.project.id, Wanted(message_id=message_id), limit=RETURNED_SHOWN_MAX
    )
    trace = trace_of(detail)
    mail = None
    if held is not None and visit.shows_personal_data:
        mail = take_apart(held.content)
    response = await mail_page(
        visit,
        "message.html",
        detail=detail,
        message=detail.message,
        severity=severity_of(detail.message.state),
        steps=steps_of(trace),
        checks=checks_of(trace),
        checked_now=bool(detail.guardrails),
        targets=await _targets(visit, detail.engagement),
        verdict_reasons=VERDICT_REASONS,
        returned=returned,
        effect_words=EFFECTS,
        is_captured=held is not None,
        mail=mail,
        mail_bytes=0 if held is None else len(held.content),
        is_unknown=detail.message.state is MessageStatus.UNKNOWN,
    )
    return content_policy.with_mail(response)


async def _targets(visit: PageRequest, engagement: Sequence[EngagementRecord]) -> dict[int, str]:
    """Target of each clicked link, by its number."""
    numbers = {each.link for each in engagement if each.kind == "click"}
    found: dict[int, str] = {}
    for number in sorted(numbers)[:TARGETS_MAX]:
        if number == HONEYPOT_LINK:
            found[number] = "the hidden link that only programs follow"
        else:
            target = await visit.store.messages.links.target(number)
            found[number] = target or "a link that is gone"
    return found


async def show_html(visit: PageRequest) -> Response:
    """The HTML of the captured mail, for a frame."""
    parts = take_apart((await _captured(visit)).content)
    return mail_frame(parts.html)


def mail_frame(html: str) -> Response:
    """HTML of a mail that can run nothing and send no request."""
    response = HTMLResponse(quiet(html))
    response.headers[content_policy.HEADER] = content_policy.MAIL
    return response


async def download_mail(visit: PageRequest) -> Response:
    """The captured mail as it would have been sent."""
    held = await _captured(visit)
    return _download(held.content, f"{held.message_id}.eml")


async def download_file(visit: PageRequest) -> Response:
    """One attachment of the captured mail."""
    parts: MailParts = take_apart((await _captured(visit)).content)
    number = visit.request.path_params["number"]
    if not (number.isascii() and number.isdigit() and len(number) <= 3):
        raise HTTPException(404)
    if int(number) >= len(parts.files):
        raise HTTPException(404)
    file = parts.files[int(number)]
    return _download(file.content, file.name)


def _download(content: bytes, name: str) -> Response:
    # As bytes, whatever type the mail claims: browsers save it and never render it.
    headers = {
        "content-disposition": f"attachment; filename*=UTF-8''{quote(name[:200], safe='')}",
        content_policy.HEADER: content_policy.MAIL,
    }
    return Response(content, headers=headers, media_type="application/octet-stream")


async def _captured(visit: PageRequest) -> CapturedMail:
    """The captured mail in the path, while personal data is unmasked.

    Raises:
        HTTPException: 404.
    """
    message_id = _message_id(visit)
    if not visit.shows_personal_data:
        raise HTTPException(404)
    held = await visit.store.messages.captured.of_message(visit.project.id, message_id)
    if held is None:
        raise HTTPException(404)
    return held


async def settle(visit: PageRequest) -> Response:
    """Record the outcome of a message whose outcome is unknown; audited."""
    message_id = _message_id(visit)
    address = visit.project_url(f"/messages/{message_id}")
    outcome = visit.form.one_of("outcome", tuple(_OUTCOMES))
    if not outcome:
        return visit.go(address, "Nothing was changed: say whether it was sent.", kind="bad")
    messages = visit.store.messages
    before = await messages.lists.detail(visit.project.id, message_id, visit.now_us)
    if before is None:
        raise HTTPException(404)
    if before.message.state is not MessageStatus.UNKNOWN:
        return visit.go(address, f"It is already {before.message.state.value}.", kind="bad")
    settled = await messages.lists.settle(
        visit.project.id, message_id, _OUTCOMES[outcome], visit.now_us, actor=visit.actor
    )
    if settled is None:
        raise HTTPException(404)
    return visit.go(address, f"The message is now {settled.state.value}.")


def _message_id(visit: PageRequest) -> str:
    raw = read_uuid(visit.request.path_params["message"])
    if raw is None:
        raise HTTPException(404)
    return uuid_text(raw)


_ONE = "/projects/{project}/messages/{message}"
SCREENS = (
    get(_ONE, show_message, Access.VIEWER),
    get(f"{_ONE}/html", show_html, Access.OPERATOR),
    get(f"{_ONE}/mail", download_mail, Access.OPERATOR),
    get(f"{_ONE}/files/{{number}}", download_file, Access.OPERATOR),
    post(f"{_ONE}/settle", settle, Access.OPERATOR),
)
