"""`/templates/{id}/…`: published versions, previews and test sends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.errors import FieldProblem, invalid
from headrace.domain.messages.email_request import EmailRequest
from headrace.domain.messages.template_requests import (
    TEST_RECIPIENTS_MAX,
    decode_preview,
    decode_restore,
    decode_test_send,
)
from headrace.domain.push.content import LocalText
from headrace.domain.timestamps import to_text
from headrace.http.deliveries.dead_letters import reject_fields
from headrace.http.messages.email_responses import EmailResponse, Mailbox, email_response
from headrace.http.messages.templates import (
    PushMessage,
    TemplateResponse,
    VersionResponse,
    push_buttons,
    template_response,
)
from headrace.http.routing.context import Context, context_of, json_response
from headrace.http.routing.media import read_body
from headrace.http.routing.parameters import PAGE, in_path
from headrace.http.routing.path import not_found, path_uuid
from headrace.http.routing.route import (
    Limits,
    created,
    empty_body,
    get,
    json_body,
    ok,
    page,
    post,
)
from headrace.http.routing.schema import Id, about
from headrace.pipeline.messages.templating import sent_source_of
from headrace.store.contract.messages import Template, TemplateVersion
from headrace.store.messages.content.templates import Templates

_NUMBER_DIGITS_MAX = 9
#: Prefix of the subject of test sends.
TEST_MARK = "[Test] "
#: Enough for variables and a few addresses.
BODY_BYTES_MAX = 256 * 1024
#: Limit of concurrent renderings of one process.
CONCURRENT_MAX = 4


class RestoreInput(msgspec.Struct, forbid_unknown_fields=True):
    """Which version becomes the draft."""

    version_number: Annotated[int, about(minimum=1)]


class PreviewInput(msgspec.Struct, forbid_unknown_fields=True):
    """With whose data a template is shown."""

    contact_id: Annotated[Id | None, about("Whose properties are used.")] = None
    variables: dict[str, Any] | None = None
    version_number: Annotated[int | None, about("The draft if absent.", minimum=1)] = None


class TestSendInput(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Where a draft is sent as a test."""

    from_: Mailbox = msgspec.field(name="from")
    to: Annotated[list[Mailbox], about(minItems=1, maxItems=TEST_RECIPIENTS_MAX)]
    contact_id: Annotated[Id | None, about("Whose properties are used.")] = None
    variables: dict[str, Any] | None = None


class PreviewResponse(msgspec.Struct, kw_only=True):
    """A template as a contact would get it."""

    subject: str
    preview_text: str
    html: str
    text: str
    messages: Annotated[list[PushMessage], about("Of a push template, the default language first.")]
    data: Annotated[dict[str, Any], about("Of a push template.")]


class VersionDetailResponse(VersionResponse, kw_only=True):
    """A published version, and what it sends: CSS inlined, text derived."""

    published_by: str
    subject_template: str
    preview_text: str
    rendered_html: str
    rendered_text: str
    messages: Annotated[list[PushMessage], about("Of a push template, the default language first.")]
    data: Annotated[dict[str, Any], about("Of a push template.")]
    variables: Annotated[list[str], about("Names that it asks for.")]
    required: Annotated[list[str], about("Names without which it is not sent.")]


def _version(of: TemplateVersion) -> VersionResponse:
    return VersionResponse(
        id=of.id, version_number=of.number, published_at=to_text(of.published_us)
    )


async def list_versions(request: Request) -> Response:
    """`GET /templates/{id}/versions`: newest first."""
    context = context_of(request)
    template_id, limit = path_uuid(request), context.limit
    await _require_template(context, template_id)
    scope, cursors = f"template versions {template_id}", context.services.cursors
    found = await _store(context).version_list(
        context.project_id, template_id, before=context.before(scope), limit=limit + 1
    )
    following = cursors.make(found[limit - 1].number, scope) if len(found) > limit else None
    shown = [_version(one) for one in found[:limit]]
    return json_response({"data": shown, "next_cursor": following})


async def get_version(request: Request) -> Response:
    """`GET /templates/{id}/versions/{number}`."""
    context = context_of(request)
    number = request.path_params["number"]
    if not (number.isascii() and number.isdigit() and len(number) <= _NUMBER_DIGITS_MAX):
        raise not_found()
    found = await _store(context).version_numbered(
        context.project_id, path_uuid(request), int(number)
    )
    if found is None:
        raise not_found()
    sent = sent_source_of(found.content)
    shown = VersionDetailResponse(
        **msgspec.structs.asdict(_version(found)),
        published_by=found.published_by,
        subject_template=sent.subject,
        preview_text=sent.preview,
        rendered_html=sent.html,
        rendered_text=sent.text,
        messages=_push_messages(found.content.texts),
        data=found.content.data,
        variables=list(found.content.variables),
        required=list(found.content.required),
    )
    return json_response({"data": shown})


async def restore_template(request: Request) -> Response:
    """`POST /templates/{id}/restore`: copies a version into the draft."""
    context = context_of(request)
    template_id, body = path_uuid(request), await read_body(request)
    await _require_template(context, template_id)
    number = decode_restore(body)
    restored = await _store(context).restore(
        context.project_id, template_id, number, context.services.clock_us()
    )
    if restored is None:
        raise invalid(FieldProblem("version_number", "is no version of this template"))
    return json_response({"data": template_response(restored)})


async def archive_template(request: Request) -> Response:
    """`POST /templates/{id}/archive`: its versions can still be sent; its name can be reused."""
    context = context_of(request)
    template_id = path_uuid(request)
    await reject_fields(request)
    await _store(context).archive(
        context.project_id,
        template_id,
        context.services.clock_us(),
        actor=context.principal.key_id,
    )
    found = await _store(context).get(context.project_id, template_id)
    if found is None:
        raise not_found()
    return json_response({"data": template_response(found)})


async def preview_template(request: Request) -> Response:
    """`POST /templates/{id}/preview`: changes nothing and sends nothing."""
    context = context_of(request)
    template_id, body = path_uuid(request), await read_body(request)
    held = await _require_template(context, template_id)
    wanted = decode_preview(body)
    if held.channel == "push":
        preview = await context.services.mail.templating.preview_push(
            context.project_id,
            held,
            contact_id=wanted.contact_id,
            variables=wanted.variables,
            number=wanted.version_number,
        )
        pushed = PreviewResponse(
            subject="",
            preview_text="",
            html="",
            text="",
            messages=_push_messages(preview.texts),
            data=preview.data,
        )
        return json_response({"data": pushed})
    rendered = await context.services.mail.templating.preview(
        context.project_id,
        template_id,
        contact_id=wanted.contact_id,
        variables=wanted.variables,
        number=wanted.version_number,
    )
    if rendered is None:
        raise not_found()
    shown = PreviewResponse(
        subject=rendered.subject,
        preview_text=rendered.preview,
        html=rendered.html,
        text=rendered.text,
        messages=[],
        data={},
    )
    return json_response({"data": shown})


async def test_send_template(request: Request) -> Response:
    """`POST /templates/{id}/test-send`: the draft, as transactional mail."""
    context = context_of(request)
    template_id, body = path_uuid(request), await read_body(request)
    await _require_template(context, template_id)
    wanted = decode_test_send(body)
    mail = context.services.mail
    rendered = await mail.templating.try_out(
        context.project_id,
        template_id,
        contact_id=wanted.contact_id,
        variables=wanted.variables,
    )
    if rendered is None:
        raise not_found()
    email = EmailRequest(
        sender=wanted.sender,
        to=wanted.to,
        subject=TEST_MARK + rendered.subject,
        text=rendered.text or None,
        html=rendered.html or None,
        track_opens=False,
        track_clicks=False,
    )
    # The recipient of a test must not become a contact.
    policies = msgspec.structs.replace(context.principal.project.policies, create_contacts=False)
    sent = await mail.mailing.send(context.project_id, email, policies)
    return json_response({"data": email_response(sent)}, 201)


async def _require_template(context: Context, template_id: str) -> Template:
    found = await _store(context).get(context.project_id, template_id)
    if found is None:
        raise not_found()
    return found


def _push_messages(texts: Sequence[LocalText]) -> list[PushMessage]:
    return [
        PushMessage(
            locale=one.code,
            title=one.title,
            message=one.body,
            launch_url=one.launch_url,
            image_url=one.image_url,
            buttons=push_buttons(one.buttons) or None,
        )
        for one in texts
    ]


def _store(context: Context) -> Templates:
    return context.services.store.messages.templates


_LIMITS = Limits(
    body_bytes_max=BODY_BYTES_MAX,
    unpacked_bytes_max=BODY_BYTES_MAX,
    concurrent_max=CONCURRENT_MAX,
)

ROUTES = (
    get(
        "/templates/{id}/versions",
        list_versions,
        name="listTemplateVersions",
        summary="List published versions of a template",
        parameters=PAGE,
        responses=(page(VersionResponse),),
    ),
    get(
        "/templates/{id}/versions/{number}",
        get_version,
        name="getTemplateVersion",
        summary="Get a published version of a template",
        parameters=(in_path("number", "Number of the version.", pattern="^[0-9]+$"),),
        responses=(ok("The version.", VersionDetailResponse),),
    ),
    post(
        "/templates/{id}/restore",
        restore_template,
        name="restoreTemplate",
        summary="Make the draft that of a version",
        description="What the draft holds is lost; published versions stay.",
        bodies=json_body(RestoreInput, example={"version_number": 1}),
        responses=(ok("The updated template.", TemplateResponse),),
    ),
    post(
        "/templates/{id}/archive",
        archive_template,
        name="archiveTemplate",
        summary="Take a template out of use",
        description="Its versions can still be sent, and its name is free again. It can no longer "
        "be published.",
        bodies=empty_body(),
        responses=(ok("The updated template.", TemplateResponse),),
    ),
    post(
        "/templates/{id}/preview",
        preview_template,
        name="previewTemplate",
        summary="Show a template with a contact's data",
        description="Sends nothing. A value that is missing is named in the 422 response. "
        "Of a push template, `messages` has every language; one without `buttons`, `launch_url` or "
        "`image_url` takes those of the first.",
        bodies=json_body(PreviewInput, example={"variables": {"first_name": "Ann"}}),
        responses=(ok("As the contact would get it.", PreviewResponse),),
        limits=_LIMITS,
    ),
    post(
        "/templates/{id}/test-send",
        test_send_template,
        name="testSendTemplate",
        summary="Send the draft of a template as a test",
        description=f"As transactional mail to up to {TEST_RECIPIENTS_MAX} addresses, without "
        f"tracking, with `{TEST_MARK.strip()}` before the subject. It creates no contacts.",
        bodies=json_body(
            TestSendInput,
            example={"from": "news@example.org", "to": ["me@example.org"]},
        ),
        responses=(created("It will be sent.", EmailResponse),),
        limits=_LIMITS,
    ),
)
