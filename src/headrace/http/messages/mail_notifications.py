"""`/mail/notifications`: what came back about mail; `/mail/bounces`: mail that is passed on."""

from __future__ import annotations

from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.messages.feedback.form import FeedbackKind, Source
from headrace.domain.messages.feedback.mime import BYTES_MAX
from headrace.domain.messages.feedback.notification import KEPT_MAX, Effect, Intake
from headrace.domain.timestamps import to_text
from headrace.http.routing.context import Context, context_of, json_response
from headrace.http.routing.media import read_body
from headrace.http.routing.parameters import PAGE, one_of, text, uuid
from headrace.http.routing.path import not_found, path_uuid
from headrace.http.routing.route import SEND, Body, Limits, get, ok, page, post
from headrace.http.routing.schema import Id, Time, about
from headrace.store.contract.messages import Notification
from headrace.store.messages.feedback.notifications import Wanted

MAIL = "message/rfc822"
#: Of a mail that is passed on; only its first `BYTES_MAX` bytes are read.
MAIL_BYTES_MAX = 10 * BYTES_MAX
RECIPIENT_CHARACTERS_MAX = 320


class NotificationResponse(msgspec.Struct, kw_only=True):
    """A bounce, complaint or other notification: what was received, understood and done."""

    id: Id
    received_at: Time
    reported_at: Annotated[Time | None, about("When it happened, as reported.")]
    intake: Annotated[Intake, about("How it came in.")]
    source: Source
    event: Annotated[str, about("The source's own word.")]
    kind: Annotated[FeedbackKind, about("What it was understood as.")]
    message_id: Annotated[Id | None, about("Null: it is about no known message.")]
    address: Annotated[str | None, about("The recipient, as reported; null without a message.")]
    reason: str | None
    status: Annotated[str | None, about("Enhanced status code.")]
    diagnostic: Annotated[str | None, about("Text of the receiving server, addresses masked.")]
    reporter: str | None
    provider_id: str | None
    effect: Annotated[Effect, about("What followed.")]
    raw: Annotated[str, about("Extract of what was received, without personal data.")]


class BounceResponse(msgspec.Struct, kw_only=True):
    """A mail that was taken."""

    notification: Annotated[
        NotificationResponse | None,
        about("Null: the mail is about a message of another project, which shows it."),
    ]


def notification_response(of: Notification) -> NotificationResponse:
    """A notification as the API shows it."""
    return NotificationResponse(
        id=of.id,
        received_at=to_text(of.at_us),
        reported_at=None if of.reported_us is None else to_text(of.reported_us),
        intake=of.intake,
        source=of.source,
        event=of.event,
        kind=of.kind,
        message_id=of.message_id,
        address=of.address,
        reason=of.reason,
        status=of.status,
        diagnostic=of.diagnostic,
        reporter=of.reporter,
        provider_id=of.provider_id,
        effect=of.effect,
        raw=of.raw,
    )


async def list_notifications(request: Request) -> Response:
    """`GET /mail/notifications`: newest first."""
    context = context_of(request)
    query, limit = context.query, context.limit
    wanted = Wanted(
        kind=query.get("kind"),
        source=query.get("source"),
        effect=query.get("effect"),
        message_id=query.get("message_id"),
    )
    scope = f"mail notifications {context.project_id} {' '.join(map(str, _values(wanted)))}"
    found = await context.services.store.messages.notifications.list(
        context.project_id, wanted, before=context.before(scope), limit=limit + 1
    )
    following = None
    if len(found) > limit:
        following = context.services.cursors.make(found[limit - 1].number, scope)
    shown = [notification_response(one) for one in found[:limit]]
    return json_response({"data": shown, "next_cursor": following})


def _values(wanted: Wanted) -> tuple[object, ...]:
    return wanted.kind, wanted.source, wanted.effect, wanted.message_id


async def get_notification(request: Request) -> Response:
    """`GET /mail/notifications/{id}`."""
    context = context_of(request)
    found = await context.services.store.messages.notifications.get(
        context.project_id, path_uuid(request)
    )
    if found is None:
        raise not_found()
    return json_response({"data": notification_response(found)})


async def take_bounce(request: Request) -> Response:
    """`POST /mail/bounces`: stored and applied before the response."""
    context = context_of(request)
    recipient = context.query.get("recipient")
    taken = await context.services.mail.intake.mail(
        await read_body(request),
        intake=Intake.COMMAND,
        recipients=() if recipient is None else (recipient,),
        project_id=context.project_id,
    )
    return json_response({"data": BounceResponse(notification=_own(context, taken))})


def _own(context: Context, taken: Notification) -> NotificationResponse | None:
    return notification_response(taken) if taken.project_id == context.project_id else None


def _check_recipient(value: str) -> str:
    if not 0 < len(value) <= RECIPIENT_CHARACTERS_MAX or not value.isprintable():
        message = f"must be an address of at most {RECIPIENT_CHARACTERS_MAX} characters"
        raise ValueError(message)
    return value


ROUTES = (
    get(
        "/mail/notifications",
        list_notifications,
        name="listMailNotifications",
        summary="List bounces, complaints and other notifications",
        description=f"The last {KEPT_MAX:,} of the project.",
        parameters=(
            *PAGE,
            one_of("kind", {one.value: one for one in FeedbackKind}, "Only of this kind."),
            one_of("source", {one.value: one for one in Source}, "Only from this source."),
            one_of("effect", {one.value: one for one in Effect}, "Only with this effect."),
            uuid("message_id", "Only about this message."),
        ),
        responses=(page(NotificationResponse),),
    ),
    get(
        "/mail/notifications/{id}",
        get_notification,
        name="getMailNotification",
        summary="Get a notification",
        responses=(ok("The notification.", NotificationResponse),),
    ),
    post(
        "/mail/bounces",
        take_bounce,
        SEND,
        name="takeBounce",
        summary="Pass on a mail that came back",
        description="For mail servers that deliver bounces to a program. The same mail is applied "
        "once, however often it is passed on.",
        parameters=(
            text(
                "recipient",
                _check_recipient,
                "Envelope recipient, if known.",
                maxLength=RECIPIENT_CHARACTERS_MAX,
            ),
        ),
        bodies=(
            Body(
                media=MAIL,
                schema={"type": "string", "format": "binary", "description": "The whole mail."},
                example="From: MAILER-DAEMON@mx.example.net\r\nSubject: Undelivered\r\n\r\n...",
            ),
        ),
        responses=(ok("It is stored and applied.", BounceResponse),),
        limits=Limits(body_bytes_max=MAIL_BYTES_MAX, unpacked_bytes_max=MAIL_BYTES_MAX),
    ),
)
