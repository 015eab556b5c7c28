"""Templates for the edges: published, and shown with a contact's data."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.delivery.mail.liquid import TemplateError
from headrace.delivery.mail.templates import (
    Publication,
    Rendered,
    TemplateSource,
    publish,
    render_source,
)
from headrace.domain.contacts.contact import Contact
from headrace.domain.errors import ApiError, ErrorCode, FieldProblem, invalid
from headrace.domain.messages.variables import template_values
from headrace.domain.push.content import LocalText
from headrace.pipeline.messages.composer import template_contact
from headrace.pipeline.messages.push_templates import (
    publish_push,
    push_values,
    render_data,
    render_text,
)
from headrace.store.contract.messages import Draft, Template, TemplateVersion, VersionContent
from headrace.store.messages.content.templates import DraftChangedError, TooManyTemplatesError
from headrace.store.store import Store


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """A new version, and warnings for its author."""

    version: TemplateVersion
    warnings: tuple[FieldProblem, ...]


class PushPreview(msgspec.Struct, frozen=True, kw_only=True):
    """A push template as a contact would get it."""

    #: That of the default language first.
    texts: tuple[LocalText, ...]
    data: dict[str, Any]


class Templating:
    """Templates of all projects."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def publish(self, project_id: int, template_id: str, *, actor: str) -> Published | None:
        """Publish the draft of a template; None when there is no such template.

        Raises:
            ApiError: 422 with every problem; 409 when the draft was changed meanwhile.
        """
        templates = self._store.messages.templates
        held = await templates.get(project_id, template_id)
        if held is None:
            return None
        warnings: tuple[FieldProblem, ...] = ()
        if held.channel == "push":
            content = publish_push(held.draft)
        else:
            made = await publish(source_of(held.draft))
            if made.problems:
                raise invalid(*made.problems)
            content, warnings = _content(made), made.warnings
        try:
            version = await templates.publish(held, content, self._store.clock_us(), actor=actor)
        except DraftChangedError:
            raise ApiError(ErrorCode.CONFLICT, "The draft was changed meanwhile.") from None
        except TooManyTemplatesError:
            raise ApiError(ErrorCode.CONFLICT, "The template has too many versions.") from None
        return Published(version=version, warnings=warnings)

    async def preview(
        self,
        project_id: int,
        template_id: str,
        *,
        contact_id: str | None,
        variables: dict[str, object],
        number: int | None = None,
    ) -> Rendered | None:
        """A template as a contact would get it; None when there is no such template.

        Args:
            number: of a version; None: the draft.

        Raises:
            ApiError: 422 when it cannot be rendered, or contact or version are unknown.
        """
        held = await self._store.messages.templates.get(project_id, template_id)
        if held is None:
            return None
        source = source_of(held.draft)
        if number is not None:
            version = await self._store.messages.templates.version_numbered(
                project_id, template_id, number
            )
            if version is None:
                raise invalid(FieldProblem("version_number", "is no version of this template"))
            source = sent_source_of(version.content)
        return await self._rendered(project_id, source, contact_id, variables)

    async def preview_push(
        self,
        project_id: int,
        held: Template,
        *,
        contact_id: str | None,
        variables: dict[str, object],
        number: int | None = None,
    ) -> PushPreview:
        """A push template in every language as a contact would get it.

        Args:
            number: of a version; None: the draft.

        Raises:
            ApiError: 422 when it cannot be rendered, or contact or version are unknown.
        """
        if number is None:
            content = publish_push(held.draft)
        else:
            version = await self._store.messages.templates.version_numbered(
                project_id, held.id, number
            )
            if version is None:
                raise invalid(FieldProblem("version_number", "is no version of this template"))
            content = version.content
        values = push_values(variables, {}, await self._contact(project_id, contact_id))
        now_us = self._store.clock_us()
        try:
            return PushPreview(
                texts=tuple(render_text(one, values, now_us) for one in content.texts),
                data=render_data(content.data, values, now_us),
            )
        except TemplateError as error:
            raise invalid(FieldProblem("", str(error))) from None

    async def try_out(
        self,
        project_id: int,
        template_id: str,
        *,
        contact_id: str | None,
        variables: dict[str, object],
    ) -> Rendered | None:
        """The draft as it would be sent once it is published; None when there is no template.

        Raises:
            ApiError: 422 with every problem that publishing would find, or when it cannot be
                rendered, or the contact is unknown.
        """
        held = await self._store.messages.templates.get(project_id, template_id)
        if held is None:
            return None
        if held.channel != "email":
            message = "of a push template a test is sent with POST /push/tests"
            raise invalid(FieldProblem("channel", message))
        made = await publish(source_of(held.draft))
        if made.problems:
            raise invalid(*made.problems)
        return await self._rendered(project_id, made.source, contact_id, variables)

    async def _rendered(
        self,
        project_id: int,
        source: TemplateSource,
        contact_id: str | None,
        variables: dict[str, object],
    ) -> Rendered:
        contact = await self._contact(project_id, contact_id)
        values = template_values(
            variables=variables,
            payload={},
            contact=template_contact(contact),
            unsubscribe_url="#unsubscribe",
            preferences_url="#preferences",
        )
        try:
            return render_source(source, values, self._store.clock_us())
        except TemplateError as error:
            raise invalid(FieldProblem("", str(error))) from None

    async def _contact(self, project_id: int, contact_id: str | None) -> Contact | None:
        if contact_id is None:
            return None
        contact = await self._store.contacts.get(project_id, contact_id)
        if contact is None:
            raise invalid(FieldProblem("contact_id", "is no contact of this project"))
        return contact


def source_of(draft: Draft) -> TemplateSource:
    """The mail of a draft."""
    return TemplateSource(
        subject=draft.subject_template,
        preview=draft.preview_text,
        html=draft.rendered_html,
        text=draft.rendered_text,
    )


def sent_source_of(content: VersionContent) -> TemplateSource:
    """The mail of a published version."""
    return TemplateSource(
        subject=content.subject, preview=content.preview, html=content.html, text=content.text
    )


def _content(made: Publication) -> VersionContent:
    return VersionContent(
        subject=made.source.subject,
        preview=made.source.preview,
        html=made.source.html,
        text=made.source.text,
        variables=made.variables,
        required=made.required,
    )
