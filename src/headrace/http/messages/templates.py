"""`/templates`: drafts of mail, and publishing them as versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.contacts.search import SEARCH_CHARACTERS_MAX, check_search
from headrace.domain.errors import ApiError, ErrorCode
from headrace.domain.messages.kinds import TemplateStatus
from headrace.domain.messages.requests import (
    PUSH_BUTTONS_MAX,
    SUBJECT_CHARACTERS_MAX,
    PushButton,
    decode_template,
)
from headrace.domain.push.content import Button
from headrace.domain.timestamps import to_text
from headrace.http.contacts.topics import name_taken
from headrace.http.routing.context import Context, context_of, json_response
from headrace.http.routing.media import read_body
from headrace.http.routing.parameters import PAGE, one_of, text
from headrace.http.routing.path import not_found, path_uuid
from headrace.http.routing.route import Limits, created, get, json_body, ok, page, patch, post
from headrace.http.routing.schema import Description, Id, Name, Time, about
from headrace.pipeline.messages.push_templates import read_push_draft
from headrace.store.contract.errors import StoreConflictError
from headrace.store.contract.messages import TEMPLATES_MAX, Template
from headrace.store.messages.content.templates import Templates, TooManyTemplatesError

#: Enough for a draft in all its forms.
BODY_BYTES_MAX = 4 * 1024 * 1024
_Line = Annotated[str, about(maxLength=SUBJECT_CHARACTERS_MAX)]


class PushTemplateButton(msgspec.Struct, forbid_unknown_fields=True):
    """A button of a push template; `text` and `launch_url` are Liquid."""

    id: Annotated[str, about(maxLength=64, pattern="^[A-Za-z0-9._-]+$", examples=["track"])]
    text: str
    launch_url: str | None = None


_Buttons = Annotated[list[PushTemplateButton], about(maxItems=PUSH_BUTTONS_MAX)]
_Data = Annotated[
    dict[str, Any], about("Of a push template: sent to the app with it. Strings are Liquid.")
]


class PushMessage(msgspec.Struct, forbid_unknown_fields=True):
    """A push template in one language."""

    locale: Annotated[str, about(examples=["en"])]
    title: str
    message: str
    launch_url: str | None = None
    image_url: str | None = None
    buttons: Annotated[_Buttons | None, about("Those of the template if absent.")] = None


class TemplateUpdate(msgspec.Struct, forbid_unknown_fields=True):
    """A change of a draft. Fields that are absent or null are not changed."""

    name: Name | None = None
    description: Description | None = None
    subject_template: _Line | None = None
    preview_text: _Line | None = None
    editor_json: Annotated[
        dict[str, Any] | None, about("Stored for an editor; not used by the server.")
    ] = None
    rendered_html: str | None = None
    rendered_text: str | None = None
    default_locale: str | None = None
    messages: list[PushMessage] | None = None
    buttons: Annotated[_Buttons | None, about("Of a push template, in all languages.")] = None
    data: _Data | None = None


class TemplateCreate(TemplateUpdate, kw_only=True, forbid_unknown_fields=True):
    """A new template."""

    name: Name
    channel: Literal["email", "push"]


class ListedTemplate(msgspec.Struct, kw_only=True):
    """A template without its draft."""

    id: Id
    name: str
    channel: Literal["email", "push"]
    description: str
    status: TemplateStatus
    versions: Annotated[int, about("Number of the newest published version; 0 if none.")]
    has_changes: Annotated[bool, about("Whether the draft was changed since that version.")]
    created_at: Time
    updated_at: Time


class TemplateResponse(ListedTemplate, kw_only=True):
    """A template with its draft."""

    subject_template: str
    preview_text: str
    rendered_html: str
    rendered_text: str
    default_locale: Annotated[str | None, about("Of a push template.")]
    messages: Annotated[list[PushMessage], about("Of a push template.")]
    buttons: Annotated[list[PushTemplateButton], about("Of a push template.")]
    data: _Data


class VersionResponse(msgspec.Struct, kw_only=True):
    """A published version; it never changes."""

    id: Id
    version_number: int
    state: Literal["published"] = "published"
    published_at: Time


class WarningResponse(msgspec.Struct):
    """A warning for the author of a template."""

    field: str
    message: str


class PublishedResponse(msgspec.Struct, kw_only=True):
    """A template and the version that was just published."""

    id: Id
    status: TemplateStatus
    current_published_version: VersionResponse
    warnings: list[WarningResponse]


def _listed(of: Template) -> ListedTemplate:
    return ListedTemplate(
        id=of.id,
        name=of.name,
        channel="push" if of.channel == "push" else "email",
        description=of.description,
        status=of.status,
        versions=of.versions,
        has_changes=of.changed,
        created_at=to_text(of.created_us),
        updated_at=to_text(of.updated_us),
    )


def template_response(of: Template) -> TemplateResponse:
    """A template as the API shows it."""
    texts, buttons, data = read_push_draft(of.draft)
    return TemplateResponse(
        **msgspec.structs.asdict(_listed(of)),
        subject_template=of.draft.subject_template,
        preview_text=of.draft.preview_text,
        rendered_html=of.draft.rendered_html,
        rendered_text=of.draft.rendered_text,
        default_locale=of.draft.default_locale,
        messages=[
            PushMessage(
                locale=one.locale,
                title=one.title,
                message=one.message,
                launch_url=one.launch_url,
                image_url=one.image_url,
                buttons=push_buttons(one.buttons) or None,
            )
            for one in texts
        ],
        buttons=push_buttons(buttons),
        data=data,
    )


def push_buttons(of: Sequence[Button | PushButton]) -> list[PushTemplateButton]:
    """Buttons as the API shows them."""
    return [PushTemplateButton(id=one.id, text=one.text, launch_url=one.launch_url) for one in of]


async def create_template(request: Request) -> Response:
    """`POST /templates`."""
    context = context_of(request)
    fields = decode_template(await read_body(request))
    now_us = context.services.clock_us()
    try:
        made = await _store(context).create(context.project_id, fields, now_us)
    except StoreConflictError:
        raise name_taken("template") from None
    except TooManyTemplatesError:
        message = f"A project has at most {TEMPLATES_MAX} templates."
        raise ApiError(ErrorCode.CONFLICT, message) from None
    return json_response({"data": template_response(made)}, 201)


async def list_templates(request: Request) -> Response:
    """`GET /templates`: newest first."""
    context = context_of(request)
    limit, query = context.limit, context.query
    channel, status, part = query.get("channel"), query.get("status"), query.get("search", "")
    scope = f"templates {context.project_id} {channel} {status} {part}"
    found = await _store(context).search(
        context.project_id,
        channel=channel,
        status=status,
        text=part,
        before=context.before(scope),
        limit=limit + 1,
    )
    cursors = context.services.cursors
    following = cursors.make(found[limit - 1].created_us, scope) if len(found) > limit else None
    shown = [_listed(one) for one in found[:limit]]
    return json_response({"data": shown, "next_cursor": following})


async def get_template(request: Request) -> Response:
    """`GET /templates/{id}`."""
    context = context_of(request)
    found = await _store(context).get(context.project_id, path_uuid(request))
    if found is None:
        raise not_found()
    return json_response({"data": template_response(found)})


async def patch_template(request: Request) -> Response:
    """`PATCH /templates/{id}`: writes to the draft."""
    context = context_of(request)
    template_id = path_uuid(request)
    body = await read_body(request)
    held = await _store(context).get(context.project_id, template_id)
    if held is None:
        raise not_found()
    fields = decode_template(body, channel=held.channel)
    now_us = context.services.clock_us()
    try:
        changed = await _store(context).update(context.project_id, template_id, fields, now_us)
    except StoreConflictError:
        raise name_taken("template") from None
    if changed is None:
        raise not_found()
    return json_response({"data": template_response(changed)})


async def publish_template(request: Request) -> Response:
    """`POST /templates/{id}/publish`: publishes the draft as a version."""
    context = context_of(request)
    made = await context.services.mail.templating.publish(
        context.project_id, path_uuid(request), actor=context.principal.key_id
    )
    if made is None:
        raise not_found()
    version = made.version
    shown = PublishedResponse(
        id=version.template_id,
        status=TemplateStatus.ACTIVE,
        current_published_version=VersionResponse(
            id=version.id,
            version_number=version.number,
            published_at=to_text(version.published_us),
        ),
        warnings=[WarningResponse(each.field, each.message) for each in made.warnings],
    )
    return json_response({"data": shown})


def _store(context: Context) -> Templates:
    return context.services.store.messages.templates


_LIMITS = Limits(body_bytes_max=BODY_BYTES_MAX, unpacked_bytes_max=BODY_BYTES_MAX)

ROUTES = (
    post(
        "/templates",
        create_template,
        name="createTemplate",
        summary="Create a template",
        description=f"A project has at most {TEMPLATES_MAX} templates.",
        bodies=json_body(
            TemplateCreate,
            example={
                "name": "Welcome",
                "channel": "email",
                "subject_template": "Welcome, {{ first_name | default: 'friend' }}",
                "rendered_html": "<p>Good to have you.</p>",
            },
        ),
        responses=(created("Created as a draft.", TemplateResponse),),
        errors=(ErrorCode.CONFLICT,),
        limits=_LIMITS,
    ),
    get(
        "/templates",
        list_templates,
        name="listTemplates",
        summary="List templates",
        description="Without their drafts. Every filter that is given must match.",
        parameters=(
            one_of("channel", ("email", "push"), "Only those of this channel."),
            one_of("status", {each.value: each for each in TemplateStatus}, "Only in this status."),
            text("search", check_search, "Their name holds it.", maxLength=SEARCH_CHARACTERS_MAX),
            *PAGE,
        ),
        responses=(page(ListedTemplate),),
    ),
    get(
        "/templates/{id}",
        get_template,
        name="getTemplate",
        summary="Get a template",
        responses=(ok("The template.", TemplateResponse),),
    ),
    patch(
        "/templates/{id}",
        patch_template,
        name="patchTemplate",
        summary="Change the draft of a template",
        description="Fields that are absent or null are not changed. Published versions "
        "never change.",
        bodies=json_body(TemplateUpdate, example={"preview_text": "And what is new."}),
        responses=(ok("The updated template.", TemplateResponse),),
        errors=(ErrorCode.CONFLICT,),
        limits=_LIMITS,
    ),
    post(
        "/templates/{id}/publish",
        publish_template,
        name="publishTemplate",
        summary="Publish the draft of an e-mail template",
        description="Only published versions can be sent; they never change.",
        responses=(ok("Published.", PublishedResponse),),
        errors=(ErrorCode.CONFLICT,),
    ),
)
