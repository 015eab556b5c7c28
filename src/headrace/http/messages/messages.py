"""`/messages`: one mail or push to one recipient, and why it did or did not arrive."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.email import normalize_email
from headrace.domain.errors import ApiError, ErrorCode, FieldProblem, echo, invalid
from headrace.domain.events.problems import read_object
from headrace.domain.json_fields import FieldReader
from headrace.domain.messages.kinds import Channel, MessageKind, MessageStatus
from headrace.domain.messages.requests import DOMAIN_CHARACTERS_MAX, check_domain
from headrace.http.deliveries.dead_letters import reject_fields
from headrace.http.messages.message_responses import (
    SETTLEMENTS,
    ListedMessage,
    MessageTraceResponse,
    SettledMessages,
    SettleInput,
    message_response,
    trace_response,
)
from headrace.http.routing.context import Context, context_of, json_response
from headrace.http.routing.media import read_body
from headrace.http.routing.parameters import PAGE, one_of, text, uuid
from headrace.http.routing.path import not_found, path_uuid
from headrace.http.routing.route import empty_body, get, json_body, ok, page, post
from headrace.http.routing.schema import EMAIL
from headrace.pipeline.messages.message_trace import trace_of
from headrace.store.contract.messages import Message
from headrace.store.messages.sending.message_lists import MessageDetail
from headrace.store.messages.sending.message_search import MessageFilter, Place

#: State of a message after each settlement.
_STATE_AFTER = {
    "sent": MessageStatus.SENT,
    "failed": MessageStatus.FAILED,
    "retry": MessageStatus.DEFERRED,
}

#: Messages that one request settles; each is a transaction.
SETTLED_MAX = 200


async def list_messages(request: Request) -> Response:
    """`GET /messages`: newest first."""
    context = context_of(request)
    values = {
        _FIELDS.get(name, name): each
        for name, each in context.query.items()
        if name not in _PAGE_NAMES
    }
    named = " ".join(f"{name}={value}" for name, value in sorted(values.items()))
    scope = f"messages {context.project_id} {named}"
    found = await context.services.store.messages.search.find(
        context.project_id,
        MessageFilter(**values),
        before=place_before(context, scope),
        limit=context.limit,
    )
    following = None
    if found.next_before is not None:
        created_us, message_id = found.next_before
        following = context.services.cursors.make_text(f"{created_us} {message_id}", scope)
    shown = [message_response(one) for one in found.messages]
    return json_response({"data": shown, "next_cursor": following})


def place_before(context: Context, scope: str) -> Place | None:
    """Where the page begins; None for the first one.

    Raises:
        ApiError: 422 when the cursor was not made for the list named by `scope`.
    """
    cursor = context.query.get("cursor")
    if cursor is None:
        return None
    created_us, _, message_id = context.services.cursors.read_text(cursor, scope).partition(" ")
    if not created_us.isdigit():
        raise invalid(FieldProblem("cursor", "is not a cursor of this list"))
    return int(created_us), message_id


async def get_message(request: Request) -> Response:
    """`GET /messages/{id}`."""
    detail = await _detail(request)
    return json_response({"data": message_response(detail.message)})


async def trace_message(request: Request) -> Response:
    """`GET /messages/{id}/trace`."""
    return json_response({"data": trace_response(trace_of(await _detail(request)))})


async def _detail(request: Request) -> MessageDetail:
    context = context_of(request)
    found = await context.services.store.messages.lists.detail(
        context.project_id, path_uuid(request), context.services.clock_us()
    )
    if found is None:
        raise not_found()
    return found


async def settle_message(request: Request) -> Response:
    """`POST /messages/{id}/settle`: for messages with an unknown outcome."""
    context = context_of(request)
    message_id, outcome = path_uuid(request), _outcome(await read_body(request))
    settled = await context.services.store.messages.lists.settle(
        context.project_id,
        message_id,
        outcome,
        context.services.clock_us(),
        actor=context.principal.key_id,
    )
    return _changed(settled, _STATE_AFTER[outcome], "unknown")


async def settle_messages(request: Request) -> Response:
    """`POST /messages/settle`: all messages with an unknown outcome, a bounded number at a time."""
    context, outcome = context_of(request), _outcome(await read_body(request))
    lists = context.services.store.messages.lists
    found = await lists.list(
        context.project_id, state=MessageStatus.UNKNOWN, before=None, limit=SETTLED_MAX + 1
    )
    settled = 0
    for each in found[:SETTLED_MAX]:
        now = await lists.settle(
            context.project_id,
            each.id,
            outcome,
            context.services.clock_us(),
            actor=context.principal.key_id,
        )
        settled += now is not None
    answer = SettledMessages(settled=settled, more=len(found) > SETTLED_MAX)
    return json_response({"data": answer})


def _outcome(body: bytes) -> str:
    check = FieldReader(read_object(body), ("outcome",), "a settlement")
    check.require("outcome")
    outcome = check.text("outcome", _known_outcome)
    check.raise_if_any()
    return outcome or ""


def _known_outcome(given: str) -> str:
    if given not in SETTLEMENTS:
        message = f"must be one of {', '.join(SETTLEMENTS)}, got '{echo(given)}'"
        raise ValueError(message)
    return given


async def cancel_message(request: Request) -> Response:
    """`POST /messages/{id}/cancel`: for waiting messages."""
    context, message_id = context_of(request), path_uuid(request)
    await reject_fields(request)
    cancelled = await context.services.store.messages.lists.cancel(
        context.project_id, message_id, context.services.clock_us()
    )
    return _changed(cancelled, MessageStatus.CANCELLED, "waiting")


def _changed(found: Message | None, wanted: MessageStatus, needed: str) -> Response:
    """The message as it is now, or an error when it could not be changed. Idempotent."""
    if found is None:
        raise not_found()
    if found.state is not wanted:
        message = f"The message is {found.state.value}, not {needed}."
        raise ApiError(ErrorCode.CONFLICT, message)
    return json_response({"data": message_response(found)})


_PAGE_NAMES = frozenset({"limit", "cursor"})
#: Parameter -> field of the filter, where they differ.
_FIELDS = {"email": "recipient"}
_FILTERS = (
    one_of("status", {each.value: each for each in MessageStatus}, "Only those in this status."),
    uuid("contact_id", "Only those to this contact, and to those that were merged into it."),
    text("email", normalize_email, "Only those to this address, in any case.", **EMAIL),
    text(
        "domain",
        check_domain,
        "Only those sent from this domain.",
        maxLength=DOMAIN_CHARACTERS_MAX,
        examples=["example.org"],
    ),
    one_of("kind", {each.value: each for each in MessageKind}, "Only those of this kind."),
    one_of("channel", {each.value: each for each in Channel}, "Only those of this channel."),
    uuid("email_id", "Only those of this e-mail."),
    uuid("automation_id", "Only those of this automation."),
)

ROUTES = (
    get(
        "/messages",
        list_messages,
        name="listMessages",
        summary="List messages",
        description="One for each recipient of each e-mail. Every filter that is given must match.",
        parameters=(*_FILTERS, *PAGE),
        responses=(page(ListedMessage),),
    ),
    get(
        "/messages/{id}",
        get_message,
        name="getMessage",
        summary="Get a message",
        responses=(ok("The message.", ListedMessage),),
    ),
    get(
        "/messages/{id}/trace",
        trace_message,
        name="traceMessage",
        summary="Find out why a message did or did not arrive",
        description="Whether it was composed, what each guardrail said, each attempt with the "
        "words of the server, and what came back.",
        responses=(ok("Its history.", MessageTraceResponse),),
    ),
    post(
        "/messages/{id}/settle",
        settle_message,
        name="settleMessage",
        summary="Settle a message whose outcome is unknown",
        description="When the connection breaks after the end of a mail, it is unknown whether the "
        "relay accepted it. A repeated request changes nothing. `retry` may send the mail twice.",
        bodies=json_body(SettleInput, example={"outcome": "sent"}),
        responses=(ok("The updated message.", ListedMessage),),
        errors=(ErrorCode.CONFLICT,),
    ),
    post(
        "/messages/settle",
        settle_messages,
        name="settleMessages",
        summary="Say what became of all messages that are unknown",
        description=f"Settles up to {SETTLED_MAX} of them, newest first. Repeat the request while "
        "`more` is true. Each one is audited. `retry` may send mails twice.",
        bodies=json_body(SettleInput, example={"outcome": "failed"}),
        responses=(ok("How many were settled.", SettledMessages),),
    ),
    post(
        "/messages/{id}/cancel",
        cancel_message,
        name="cancelMessage",
        summary="Cancel a message that waits",
        bodies=empty_body(),
        responses=(ok("The updated message.", ListedMessage),),
        errors=(ErrorCode.CONFLICT,),
    ),
)
