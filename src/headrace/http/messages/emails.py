"""`/emails`: send one or many, and read their status."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.errors import ApiError, ErrorCode, FieldProblem, invalid
from headrace.domain.events.problems import read_object
from headrace.domain.json_fields import FieldReader, kind_of
from headrace.domain.messages.email_request import BATCH_MAX, EmailRequest, decode_email
from headrace.domain.timestamps import to_text
from headrace.http.ingest.batch import slice_elements
from headrace.http.messages.email_responses import (
    EmailBatchInput,
    EmailBatchResponse,
    EmailInput,
    EmailItem,
    EmailListItem,
    EmailResponse,
    SendJobResponse,
    SendPreviewResponse,
    SentItem,
    email_response,
    listed_email,
    preview_response,
    status_of,
)
from headrace.http.messages.messages import place_before
from headrace.http.routing.context import Context, context_of, json_response
from headrace.http.routing.media import read_body
from headrace.http.routing.parameters import PAGE
from headrace.http.routing.path import not_found, path_uuid
from headrace.http.routing.route import (
    SEND,
    Limits,
    created,
    get,
    json_body,
    ok,
    page,
    post,
    whole,
)
from headrace.http.server.head import Head
from headrace.http.server.wire import error_object
from headrace.pipeline.messages.mailing import StartedJob
from headrace.store.messages.sending.emails import SentEmail

#: Files of 10 MiB in base64, and the bodies.
BODY_BYTES_MAX = 20 * 1024 * 1024
#: Limit of such bodies in memory, unpacked and decoded, at the same time.
CONCURRENT_MAX = 8


async def send_email(request: Request) -> Response:
    """`POST /emails`."""
    context = context_of(request)
    body = await read_body(request)
    head: Head = request.scope["state"]["head"]
    key = head.headers.get(b"idempotency-key")
    mailing, project = context.services.mail.mailing, context.principal.project
    wanted = decode_email(
        body,
        context.services.clock_us(),
        header_key=None if key is None else key.decode("latin-1"),
        topicless_marketing=await mailing.allows_topicless_marketing(project.id),
    )
    if not wanted.audiences:
        sent = await mailing.send(project.id, wanted, project.policies)
        return json_response({"data": email_response(sent)}, 200 if sent.deduplicated else 201)
    if wanted.dry_run:
        preview = await mailing.preview(project.id, wanted, project.policies)
        forecast = await mailing.forecast(project.id, wanted)
        return json_response({"data": preview_response(preview, forecast)})
    started = await mailing.start(
        project.id, wanted, project.policies, actor=context.principal.key_id
    )
    return json_response({"data": _job(started)}, 200 if started.deduplicated else 201)


def _job(started: StartedJob) -> SendJobResponse:
    job = started.job
    return SendJobResponse(
        id=job.id,
        status=job.status,
        total=job.total,
        done=job.done,
        made=job.made,
        created_at=to_text(job.created_us),
        deduplicated=started.deduplicated,
    )


async def send_emails(request: Request) -> Response:
    """`POST /emails/batch`: each is reported separately."""
    context = context_of(request)
    head: Head = request.scope["state"]["head"]
    if b"idempotency-key" in head.headers:
        problem = "names one e-mail; in a batch give each e-mail its idempotency_key"
        raise invalid(FieldProblem("Idempotency-Key", problem))
    texts = _texts(await read_body(request))
    mailing, project = context.services.mail.mailing, context.principal.project
    topicless = await mailing.allows_topicless_marketing(project.id)
    decoded = [_decoded(context, text, topicless=topicless) for text in texts]
    outcomes = await mailing.send_batch(project.id, decoded, project.policies)
    return json_response(EmailBatchResponse([_item(each) for each in outcomes]))


def _texts(body: bytes) -> list[bytes]:
    check = FieldReader(read_object(body), ("emails",), "a batch")
    check.require("emails")
    given = check.members.get("emails")
    if given is not None and not isinstance(given, list):
        check.add("emails", f"must be an array of e-mails, got {kind_of(given)}")
    elif given is not None and not 1 <= len(given) <= BATCH_MAX:
        check.add("emails", f"must be 1 to {BATCH_MAX} e-mails, got {'more' if given else 'none'}")
    check.raise_if_any()
    return slice_elements(body.decode())


def _decoded(context: Context, text: bytes, *, topicless: bool) -> EmailRequest | ApiError:
    try:
        wanted = decode_email(text, context.services.clock_us(), topicless_marketing=topicless)
    except ApiError as error:
        return error
    if wanted.audiences:
        return invalid(FieldProblem("audiences", "cannot be in a batch; use POST /emails"))
    return wanted


def _item(outcome: SentEmail | ApiError) -> EmailItem:
    if isinstance(outcome, ApiError):
        return EmailItem(outcome.status, error=error_object(outcome).error)
    data = SentItem(outcome.email.id, status_of(outcome.messages))
    return EmailItem(200 if outcome.deduplicated else 201, data=data)


async def list_emails(request: Request) -> Response:
    """`GET /emails`: newest first."""
    context = context_of(request)
    lists, limit = context.services.store.messages.lists, context.limit
    scope = f"emails {context.project_id}"
    found = await lists.emails(
        context.project_id, before=place_before(context, scope), limit=limit + 1
    )
    following = None
    if len(found) > limit:
        last = found[limit - 1]
        following = context.services.cursors.make_text(f"{last.created_us} {last.id}", scope)
    shown = found[:limit]
    outcomes = await lists.outcomes([one.id for one in shown if not one.content.to_audiences])
    data = [listed_email(one, outcomes.get(one.id, [])) for one in shown]
    return json_response({"data": data, "next_cursor": following})


async def get_email(request: Request) -> Response:
    """`GET /emails/{id}`."""
    context = context_of(request)
    messages = context.services.store.messages
    found = await messages.emails.get(context.project_id, path_uuid(request))
    if found is None:
        raise not_found()
    detail = None
    if len(found.messages) == 1:
        now_us = context.services.clock_us()
        detail = await messages.lists.detail(context.project_id, found.messages[0].id, now_us)
    return json_response({"data": email_response(found, detail)})


async def get_job(request: Request) -> Response:
    """`GET /send-jobs/{id}`."""
    context = context_of(request)
    jobs = context.services.store.messages.jobs
    found = await jobs.get(context.project_id, path_uuid(request))
    if found is None:
        raise not_found()
    return json_response({"data": _job(StartedJob(job=found))})


async def stop_job(request: Request) -> Response:
    """`POST /send-jobs/{id}/stop`."""
    context = context_of(request)
    jobs = context.services.store.messages.jobs
    stopped = await jobs.stop(
        context.project_id,
        path_uuid(request),
        context.services.clock_us(),
        actor=context.principal.key_id,
    )
    if stopped is None:
        raise not_found()
    return json_response({"data": _job(StartedJob(job=stopped))})


_LIMITS = Limits(
    body_bytes_max=BODY_BYTES_MAX,
    unpacked_bytes_max=BODY_BYTES_MAX,
    concurrent_max=CONCURRENT_MAX,
)
_EXAMPLE = {
    "from": "Shop <news@example.org>",
    "to": ["mike@example.com"],
    "subject": "Your order",
    "text": "It is on its way.",
}

ROUTES = (
    post(
        "/emails",
        send_email,
        SEND,
        name="sendEmail",
        summary="Send an e-mail",
        description="Creates one message for each recipient, stored before the response. With "
        "`audiences` instead of `to`, a job creates a message for each of their contacts; "
        "marketing only.",
        bodies=json_body(EmailInput, example=_EXAMPLE),
        responses=(
            created("Accepted for sending.", (EmailResponse, SendJobResponse)),
            ok(
                "The e-mail that has this key, or a dry run.",
                (EmailResponse, SendJobResponse, SendPreviewResponse),
            ),
        ),
        errors=(ErrorCode.IDEMPOTENCY_KEY_REUSED,),
        limits=_LIMITS,
    ),
    post(
        "/emails/batch",
        send_emails,
        SEND,
        name="sendEmails",
        summary=f"Send up to {BATCH_MAX} e-mails",
        description="Each is checked separately; a bad one does not affect the others.",
        bodies=json_body(EmailBatchInput, example={"emails": [_EXAMPLE]}),
        responses=(whole("One result per e-mail, in the order sent.", EmailBatchResponse),),
        limits=_LIMITS,
    ),
    get(
        "/emails",
        list_emails,
        name="listEmails",
        summary="List e-mails",
        description="E-mails that were requested. `GET /messages` finds the outcome of each "
        "recipient's mail.",
        parameters=PAGE,
        responses=(page(EmailListItem),),
    ),
    get(
        "/emails/{id}",
        get_email,
        name="getEmail",
        summary="Get an e-mail and its status",
        responses=(ok("The e-mail.", EmailResponse),),
    ),
    get(
        "/send-jobs/{id}",
        get_job,
        name="getSendJob",
        summary="Get the progress of a send to audiences",
        responses=(ok("The job.", SendJobResponse),),
    ),
    post(
        "/send-jobs/{id}/stop",
        stop_job,
        SEND,
        name="stopSendJob",
        summary="Stop a send to audiences",
        description="It creates no more messages, and waiting messages are cancelled.",
        responses=(ok("The updated job.", SendJobResponse),),
    ),
)
