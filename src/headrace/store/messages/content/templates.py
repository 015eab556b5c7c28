"""Templates: a draft that changes, and published versions that never do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.domain.ids import new_uuid, uuid_text
from headrace.domain.messages.kinds import TemplateStatus
from headrace.domain.messages.requests import TemplateFields
from headrace.store.access.audit import write_audit
from headrace.store.contract.errors import StoreConflictError
from headrace.store.contract.messages import (
    TEMPLATES_MAX,
    VERSIONS_MAX,
    Draft,
    Template,
    TemplateVersion,
    VersionContent,
)
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import BIGINT_MAX
from headrace.store.engine.transaction import Database, Row, Transaction
from headrace.store.messages.content.domains import LOCK

COLUMNS = (
    "id, project_id, name, channel, description, status, draft, versions, changed, created_us, "
    "updated_us"
)
VERSION_COLUMNS = "id, template_id, project_id, number, content, draft, published_us, published_by"
_GET_TEXT = f"SELECT {COLUMNS} FROM templates WHERE project_id = $1"
GET = sql(f"{_GET_TEXT} AND id = $2")
_HOLD = sql(f"{_GET_TEXT} AND id = $2 FOR UPDATE")
BY_NAME = sql(f"{_GET_TEXT} AND name = $2 AND status <> 'archived'")
LIST = sql(f"{_GET_TEXT} AND created_us < $2 ORDER BY created_us DESC LIMIT $3")
# Without drafts: a page of them could reach a gigabyte.
_LISTED = COLUMNS.replace("draft", "'{}' AS draft")
SEARCH = sql(
    f"SELECT {_LISTED} FROM templates WHERE project_id = $1 AND created_us < $2 "
    "AND coalesce($4::text, channel) = channel AND coalesce($5::text, status) = status "
    "AND strpos(lower(name), lower($6::text)) > 0 ORDER BY created_us DESC LIMIT $3",
    sqlite=f"SELECT {_LISTED} FROM templates WHERE project_id = ?1 AND created_us < ?2 "
    "AND coalesce(?4, channel) = channel AND coalesce(?5, status) = status "
    "AND instr(lower(name), lower(?6)) > 0 ORDER BY created_us DESC LIMIT ?3",
)
_COUNT = sql("SELECT count(*), coalesce(max(created_us), 0) FROM templates WHERE project_id = $1")
_INSERT = sql(
    f"INSERT INTO templates ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
)
_UPDATE = sql(
    "UPDATE templates SET name = $3, description = $4, draft = $5, changed = $6, updated_us = $7 "
    "WHERE project_id = $1 AND id = $2"
)
_PUBLISH = sql(
    "UPDATE templates SET status = 'active', versions = $3, changed = false, updated_us = $4 "
    "WHERE project_id = $1 AND id = $2"
)
_ARCHIVE = sql(
    "UPDATE templates SET status = 'archived', updated_us = $3 "
    "WHERE project_id = $1 AND id = $2 AND status <> 'archived'"
)
_EMPTY = "'{}' AS content, '{}' AS draft"
_VERSION_TEXT = f"SELECT {VERSION_COLUMNS} FROM template_versions WHERE project_id = $1"
VERSION = sql(f"{_VERSION_TEXT} AND id = $2")
VERSION_BY_NUMBER = sql(f"{_VERSION_TEXT} AND template_id = $2 AND number = $3")
VERSIONS = sql(
    f"{_VERSION_TEXT} AND template_id = $2 AND number < $3 ORDER BY number DESC LIMIT $4"
)
VERSION_LIST = sql(
    f"SELECT {VERSION_COLUMNS.replace('content, draft', _EMPTY)} "
    "FROM template_versions WHERE project_id = $1 AND template_id = $2 AND number < $3 "
    "ORDER BY number DESC LIMIT $4"
)
_INSERT_VERSION = sql(
    f"INSERT INTO template_versions ({VERSION_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
)
_NUMBER_AFTER_ALL = 2**31 - 1


class TooManyTemplatesError(Exception):
    """The project has `TEMPLATES_MAX` templates, or a template `VERSIONS_MAX` versions."""


class DraftChangedError(Exception):
    """The draft has changed since it was read for publishing."""


class Templates:
    """Templates of all projects. A name that is taken raises `StoreConflictError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, project_id: int, fields: TemplateFields, now_us: int) -> Template:
        """Create a template with its draft; `name` and `channel` are given.

        Raises:
            TooManyTemplatesError: there are `TEMPLATES_MAX` already.
        """

        async def work(tx: Transaction) -> Template:
            await tx.rows(LOCK, project_id)
            await _reject_taken(tx, project_id, fields.name, None)
            count, newest_us = await tx.row(_COUNT, project_id) or (0, 0)
            if count >= TEMPLATES_MAX:
                raise TooManyTemplatesError
            made_us = max(now_us, newest_us + 1)
            made = Template(
                id=uuid_text(new_uuid()),
                project_id=project_id,
                name=fields.name or "",
                channel=fields.channel or "email",
                description=fields.description or "",
                status=TemplateStatus.DRAFT,
                draft=draft_of(Draft(), fields),
                versions=0,
                changed=True,
                created_us=made_us,
                updated_us=made_us,
            )
            await tx.run(_INSERT, *_values(made))
            return made

        return await self._database.write(work)

    async def get(self, project_id: int, template_id: str) -> Template | None:
        """One template, None when the project has no such template."""
        row = await self._database.read(lambda tx: tx.row(GET, project_id, template_id))
        return None if row is None else template(row)

    async def by_name(self, project_id: int, name: str) -> Template | None:
        """The template of that name that is not archived."""
        row = await self._database.read(lambda tx: tx.row(BY_NAME, project_id, name))
        return None if row is None else template(row)

    async def list(self, project_id: int, *, before: int | None, limit: int) -> Sequence[Template]:
        """Templates of a project, newest first, created before `before`."""
        below = BIGINT_MAX if before is None else before
        rows = await self._database.read(lambda tx: tx.rows(LIST, project_id, below, limit))
        return [template(row) for row in rows]

    async def search(
        self,
        project_id: int,
        *,
        channel: str | None = None,
        status: TemplateStatus | None = None,
        text: str = "",
        before: int | None,
        limit: int,
    ) -> Sequence[Template]:
        """Templates whose name contains a text, newest first, with empty drafts."""
        below = BIGINT_MAX if before is None else before
        values = (channel, None if status is None else status.value, text)
        rows = await self._database.read(
            lambda tx: tx.rows(SEARCH, project_id, below, limit, *values)
        )
        return [template(row) for row in rows]

    async def update(
        self, project_id: int, template_id: str, fields: TemplateFields, now_us: int
    ) -> Template | None:
        """Write to the draft; None when there is no template."""

        async def work(tx: Transaction) -> Template | None:
            await tx.rows(LOCK, project_id)
            held = await _held(tx, project_id, template_id)
            if held is None:
                return None
            await _reject_taken(tx, project_id, fields.name, template_id)
            return await _write(tx, held, draft_of(held.draft, fields), fields, now_us)

        return await self._database.write(work)

    async def publish(
        self, held: Template, content: VersionContent, now_us: int, *, actor: str
    ) -> TemplateVersion:
        """Publish the draft of `held` as the next version.

        Args:
            held: the template as it was read; its draft was checked.
            content: rendered from that draft.

        Raises:
            DraftChangedError: the draft was changed, or the template is gone.
            TooManyTemplatesError: it has `VERSIONS_MAX` versions.
        """

        async def work(tx: Transaction) -> TemplateVersion:
            now = await _held(tx, held.project_id, held.id)
            if now is None or now.draft != held.draft or now.status is TemplateStatus.ARCHIVED:
                raise DraftChangedError
            if now.versions >= VERSIONS_MAX:
                raise TooManyTemplatesError
            made = TemplateVersion(
                id=uuid_text(new_uuid()),
                template_id=held.id,
                project_id=held.project_id,
                number=now.versions + 1,
                content=content,
                draft=now.draft,
                published_us=now_us,
                published_by=actor,
            )
            values = [getattr(made, name) for name in VERSION_COLUMNS.split(", ")]
            values[4], values[5] = _text(made.content), _text(made.draft)
            await tx.run(_INSERT_VERSION, *values)
            at_us = max(now_us, now.updated_us)
            await tx.run(_PUBLISH, held.project_id, held.id, made.number, at_us)
            detail = {"template": held.id, "version": made.number}
            await write_audit(tx, now_us, actor, held.project_id, "template.publish", detail)
            return made

        return await self._database.write(work)

    async def restore(
        self, project_id: int, template_id: str, number: int, now_us: int
    ) -> Template | None:
        """Copy a version into the draft; None without the template or the version."""

        async def work(tx: Transaction) -> Template | None:
            held = await _held(tx, project_id, template_id)
            row = await tx.row(VERSION_BY_NUMBER, project_id, template_id, number)
            if held is None or row is None:
                return None
            return await _write(tx, held, version(row).draft, TemplateFields(), now_us)

        return await self._database.write(work)

    async def archive(self, project_id: int, template_id: str, now_us: int, *, actor: str) -> bool:
        """Archive a template; its versions can still be sent. False when there is none."""

        async def work(tx: Transaction) -> bool:
            if not await tx.run(_ARCHIVE, project_id, template_id, now_us):
                return False
            detail = {"template": template_id}
            await write_audit(tx, now_us, actor, project_id, "template.archive", detail)
            return True

        return await self._database.write(work)

    async def version(self, project_id: int, version_id: str) -> TemplateVersion | None:
        """One version by its id."""
        return await self._database.read(lambda tx: find_version(tx, project_id, version_id))

    async def version_numbered(
        self, project_id: int, template_id: str, number: int
    ) -> TemplateVersion | None:
        """One version by its number."""
        key = (project_id, template_id, number)
        row = await self._database.read(lambda tx: tx.row(VERSION_BY_NUMBER, *key))
        return None if row is None else version(row)

    async def version_list(
        self, project_id: int, template_id: str, *, before: int | None, limit: int
    ) -> Sequence[TemplateVersion]:
        """As `versions`, without content."""
        below = _NUMBER_AFTER_ALL if before is None else before
        key = (project_id, template_id)
        rows = await self._database.read(lambda tx: tx.rows(VERSION_LIST, *key, below, limit))
        return [version(row) for row in rows]

    async def versions(
        self, project_id: int, template_id: str, *, before: int | None, limit: int
    ) -> Sequence[TemplateVersion]:
        """Versions of a template, newest first, numbered below `before`."""
        below = _NUMBER_AFTER_ALL if before is None else before
        key = (project_id, template_id)
        rows = await self._database.read(lambda tx: tx.rows(VERSIONS, *key, below, limit))
        return [version(row) for row in rows]


def draft_of(before: Draft, fields: TemplateFields) -> Draft:
    """A draft, overwritten with the fields sent."""
    changes: dict[str, Any] = {
        name: value
        for name in ("subject_template", "preview_text", "editor_json", "rendered_html")
        if (value := getattr(fields, name)) is not None
    }
    if fields.rendered_text is not None:
        changes["rendered_text"] = fields.rendered_text
    if fields.default_locale is not None:
        changes["default_locale"] = fields.default_locale
    if fields.messages is not None:
        changes["messages"] = msgspec.json.encode(fields.messages).decode()
    if fields.buttons is not None:
        changes["buttons"] = msgspec.json.encode(fields.buttons).decode()
    if fields.data is not None:
        changes["data"] = fields.data
    return msgspec.structs.replace(before, **changes)


async def find_version(tx: Transaction, project_id: int, version_id: str) -> TemplateVersion | None:
    """One version by its id, in the caller's transaction."""
    row = await tx.row(VERSION, project_id, version_id)
    return None if row is None else version(row)


async def _held(tx: Transaction, project_id: int, template_id: str) -> Template | None:
    row = await tx.row(_HOLD, project_id, template_id)
    return None if row is None else template(row)


async def _write(
    tx: Transaction, held: Template, draft: Draft, fields: TemplateFields, now_us: int
) -> Template:
    after = msgspec.structs.replace(
        held,
        name=held.name if fields.name is None else fields.name,
        description=held.description if fields.description is None else fields.description,
        draft=draft,
        changed=held.changed or draft != held.draft,
        updated_us=max(now_us, held.updated_us),
    )
    values = (after.name, after.description, _text(draft), after.changed, after.updated_us)
    await tx.run(_UPDATE, held.project_id, held.id, *values)
    return after


async def _reject_taken(
    tx: Transaction, project_id: int, name: str | None, own_id: str | None
) -> None:
    row = None if name is None else await tx.row(BY_NAME, project_id, name)
    if row is not None and row[0] != own_id:
        field = "name"
        raise StoreConflictError(field)


def _values(made: Template) -> list[Any]:
    values = [getattr(made, name) for name in COLUMNS.split(", ")]
    values[6] = _text(made.draft)
    return values


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def template(row: Row) -> Template:
    """The template of a row of `COLUMNS`."""
    values = dict(zip(COLUMNS.split(", "), row, strict=True))
    values["status"] = TemplateStatus(values["status"])
    values["draft"] = msgspec.json.decode(values["draft"], type=Draft)
    values["changed"] = bool(values["changed"])
    return Template(**values)


def version(row: Row) -> TemplateVersion:
    """The version of a row of `VERSION_COLUMNS`."""
    values = dict(zip(VERSION_COLUMNS.split(", "), row, strict=True))
    values["content"] = msgspec.json.decode(values["content"], type=VersionContent)
    values["draft"] = msgspec.json.decode(values["draft"], type=Draft)
    return TemplateVersion(**values)
