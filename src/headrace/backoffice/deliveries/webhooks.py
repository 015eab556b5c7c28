"""Changes of webhooks: create, edit, pause, test, rotate the secret, delete."""

from __future__ import annotations

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from headrace.backoffice.deliveries.subscribers import find_subscriber, subscriber_page
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get, post
from headrace.delivery.contract import DeliveryError, Failed
from headrace.domain.deliveries.body_format import BodyFormat, check_format
from headrace.domain.deliveries.dead_letters import check_per_second
from headrace.domain.deliveries.own_headers import (
    UnknownHeaderError,
    WantedHeaders,
    check_headers,
    parse_lines,
)
from headrace.domain.deliveries.subscriptions import check_patterns
from headrace.domain.errors import ApiError
from headrace.domain.ids import new_uuid, uuid_text
from headrace.domain.labels import check_description
from headrace.store.contract.deliveries import (
    WEBHOOKS_MAX,
    NewWebhook,
    Subscriber,
    SubscriberKind,
    TooManyWebhooksError,
    WebhookChange,
)

_EMPTY = {"url": "", "events": "", "description": "", "headers": "", "format": ""}


class _Checked(msgspec.Struct):
    """A form as typed, with its errors and its result."""

    typed: dict[str, str]
    problems: dict[str, str] = {}
    url: str = ""
    events: tuple[str, ...] = ()
    description: str = ""
    headers: WantedHeaders = ()
    format: BodyFormat | None = None


async def new_webhook(visit: PageRequest) -> Response:
    """Show the empty form."""
    return visit.page("webhook_new.html", typed=_EMPTY, problems={})


async def create(visit: PageRequest) -> Response:
    """Create a webhook; its page shows the secret this once."""
    checked = await _check(visit, stored=False)
    if checked.problems:
        return visit.page("webhook_new.html", 422, typed=checked.typed, problems=checked.problems)
    secret = visit.backoffice.webhooks.new_secret()
    webhook = NewWebhook(
        id=uuid_text(new_uuid()),
        project_id=visit.project.id,
        url=checked.url,
        events=checked.events,
        description=checked.description,
        enabled=True,
        secret=secret,
        headers=tuple((name, value or "") for name, value in checked.headers),
        format=checked.format or BodyFormat.HEADRACE,
    )
    try:
        created = await visit.store.subscribers.create(webhook, actor=visit.actor)
    except TooManyWebhooksError:
        problems = {"url": f"A project has at most {WEBHOOKS_MAX} webhooks; delete one first."}
        return visit.page("webhook_new.html", 409, typed=checked.typed, problems=problems)
    return await subscriber_page(visit, created, 201, secret=secret)


async def edit(visit: PageRequest) -> Response:
    """Change URL, events or description."""
    webhook = await _webhook(visit)
    checked = await _check(visit, stored=True)
    if checked.problems:
        return await subscriber_page(
            visit, webhook, 422, problems=checked.problems, typed=checked.typed
        )
    change = WebhookChange(
        url=checked.url,
        events=checked.events,
        description=checked.description,
        headers=checked.headers,
        format=checked.format,
    )
    try:
        await _change(visit, webhook, change)
    except UnknownHeaderError as error:
        problems = {"headers": f"{error.args[0]} has no stored value; enter the value itself."}
        return await subscriber_page(visit, webhook, 422, problems=problems, typed=checked.typed)
    return visit.go(_address(visit, webhook), "Saved. It takes effect within a second.")


async def enable(visit: PageRequest) -> Response:
    """Resume deliveries; waiting ones go first."""
    webhook = await _webhook(visit)
    await _change(visit, webhook, WebhookChange(enabled=True))
    return visit.go(_address(visit, webhook), "Enabled. Waiting deliveries are being sent.")


async def disable(visit: PageRequest) -> Response:
    """Stop deliveries; they wait, and become dead letters after three days."""
    webhook = await _webhook(visit)
    await _change(visit, webhook, WebhookChange(enabled=False))
    text = "Disabled. Its deliveries wait for 72 hours before they become dead letters."
    return visit.go(_address(visit, webhook), text)


async def pause(visit: PageRequest) -> Response:
    """Keep deliveries waiting, however long."""
    webhook = await _webhook(visit)
    await _change(visit, webhook, WebhookChange(paused=True))
    return visit.go(_address(visit, webhook), "Paused. Its deliveries wait until you resume it.")


async def resume(visit: PageRequest) -> Response:
    """Make the deliveries that waited, at a rate if one is given."""
    webhook = await _webhook(visit)
    address = _address(visit, webhook)
    typed = visit.form.text("per_second")
    try:
        per_second = check_per_second(typed) if typed else None
    except ValueError as error:
        return visit.go(address, f"Not resumed. The rate {error}.", kind="bad")
    await _change(visit, webhook, WebhookChange(paused=False, per_second=per_second))
    rate = "" if per_second is None else f" at most {per_second} a second,"
    return visit.go(address, f"Resumed. Waiting deliveries are being sent,{rate} oldest first.")


async def _change(visit: PageRequest, webhook: Subscriber, change: WebhookChange) -> None:
    changed = await visit.store.subscribers.update(
        visit.project.id, webhook.id, change, actor=visit.actor
    )
    if changed is None:
        raise HTTPException(404)


async def test(visit: PageRequest) -> Response:
    """Send a signed test event now."""
    webhook = await _webhook(visit)
    address = _address(visit, webhook)
    try:
        outcome = await visit.backoffice.webhooks.test(webhook)
    except ApiError as error:
        return visit.go(address, error.message, kind="bad")
    took = f"{outcome.duration_us / 1000:.0f} ms"
    with_status = "" if outcome.response is None else f" with {outcome.response.http_status}"
    if isinstance(outcome, Failed):
        text = f"The test call failed after {took}{with_status}: {outcome.message}"
        return visit.go(address, text, kind="bad")
    text = f"The endpoint accepted the test call{with_status} in {took}."
    if outcome.response is not None and outcome.response.note is not None:
        text = f"{text} Part of its response could not be read: {outcome.response.note}."
    return visit.go(address, text)


async def rotate(visit: PageRequest) -> Response:
    """Create a new secret, shown this once; the previous one still signs for a day."""
    webhook = await _webhook(visit)
    secret = visit.backoffice.webhooks.new_secret()
    rotated = await visit.store.subscribers.rotate_secret(
        visit.project.id, webhook.id, secret, actor=visit.actor
    )
    if rotated is None:
        raise HTTPException(404)
    return await subscriber_page(visit, rotated, secret=secret)


async def delete(visit: PageRequest) -> Response:
    """Delete it; its waiting deliveries become dead letters."""
    webhook = await _webhook(visit)
    await visit.store.subscribers.delete(visit.project.id, webhook.id, actor=visit.actor)
    text = "Deleted. Its pending deliveries become dead letters."
    return visit.go(visit.project_url("/subscribers"), text)


async def _webhook(visit: PageRequest) -> Subscriber:
    found = await find_subscriber(visit)
    if found.kind is not SubscriberKind.WEBHOOK:
        raise HTTPException(404)
    return found


def _address(visit: PageRequest, webhook: Subscriber) -> str:
    return visit.project_url(f"/subscribers/{webhook.id}")


async def _check(visit: PageRequest, *, stored: bool) -> _Checked:
    checked = _Checked({name: visit.form.text(name) for name in _EMPTY})
    # Longer than other fields may be.
    checked.typed["headers"] = visit.form.raw("headers")
    typed = checked.typed
    try:
        checked.url = await visit.backoffice.webhooks.check_url(typed["url"])
    except DeliveryError as error:
        checked.problems["url"] = f"{str(error)[:1].upper()}{str(error)[1:]}."
    patterns, problems = check_patterns(typed["events"].replace(",", " ").split())
    if problems:
        checked.problems["events"] = "; ".join(problem.message for problem in problems)
    checked.events = patterns or ()
    try:
        checked.description = check_description(typed["description"])
    except ValueError as error:
        checked.problems["description"] = f"This {error}."
    members, wrong = parse_lines(typed["headers"])
    checked.headers = check_headers(
        members,
        lambda field, message: wrong.append(f"{field.removeprefix('headers.')} {message}"),
        stored=stored,
    )
    if wrong:
        checked.problems["headers"] = f"{'; '.join(wrong)}."
    try:
        checked.format = check_format(typed["format"]) if typed["format"] else None
    except ValueError as error:
        checked.problems["format"] = f"This {error}."
    return checked


_ONE = "/projects/{project}/subscribers/{subscriber}"
SCREENS = (
    get("/projects/{project}/subscribers/new", new_webhook, Access.OPERATOR),
    post("/projects/{project}/subscribers", create, Access.OPERATOR),
    post(f"{_ONE}/edit", edit, Access.OPERATOR),
    post(f"{_ONE}/enable", enable, Access.OPERATOR),
    post(f"{_ONE}/disable", disable, Access.OPERATOR),
    post(f"{_ONE}/pause", pause, Access.OPERATOR),
    post(f"{_ONE}/resume", resume, Access.OPERATOR),
    post(f"{_ONE}/test", test, Access.OPERATOR),
    post(f"{_ONE}/rotate", rotate, Access.OPERATOR),
    post(f"{_ONE}/delete", delete, Access.OPERATOR),
)
