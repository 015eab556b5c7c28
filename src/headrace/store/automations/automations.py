"""Automations of all projects: drafts, and publishing them as versions; every change is audited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.domain.automations.definition.parsing import Document, parse_document
from headrace.domain.automations.definition.publish_checks import (
    PublishRules,
    Report,
    check_for_publish,
)
from headrace.domain.automations.definition.references import References
from headrace.domain.automations.running.resolving import resolve
from headrace.domain.automations.running.starting import AutomationStatus
from headrace.domain.automations.running.version import Version
from headrace.domain.ids import new_uuid, uuid_text
from headrace.store.access.audit import write_audit
from headrace.store.access.sending_policies import read_run_values, read_sending_policies
from headrace.store.automations.references import read_references
from headrace.store.contract.automations import (
    AUTOMATIONS_MAX,
    VERSIONS_MAX,
    Automation,
    AutomationVersion,
    PauseMode,
)
from headrace.store.contract.errors import StoreConflictError
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import BIGINT_MAX
from headrace.store.engine.transaction import Database, Row, Transaction
from headrace.store.messages.content.domains import LOCK

_FIELDS = tuple(field.name for field in msgspec.structs.fields(Automation))
COLUMNS = ", ".join(_FIELDS)
_VERSION_FIELDS = tuple(field.name for field in msgspec.structs.fields(AutomationVersion))
VERSION_COLUMNS = ", ".join(_VERSION_FIELDS)
_GET_TEXT = f"SELECT {COLUMNS} FROM automations WHERE project_id = $1"
GET = sql(f"{_GET_TEXT} AND id = $2")
_HOLD = sql(f"{_GET_TEXT} AND id = $2 FOR UPDATE")
BY_NAME = sql(f"{_GET_TEXT} AND name = $2 AND status <> 'archived'")
LIST = sql(
    f"{_GET_TEXT} AND created_us < $2 AND coalesce($4::text, status) = status "
    "AND strpos(lower(name), lower($5::text)) > 0 ORDER BY created_us DESC LIMIT $3"
)
_COUNT = sql("SELECT count(*), coalesce(max(created_us), 0) FROM automations WHERE project_id = $1")
_INSERT = sql(
    f"INSERT INTO automations ({COLUMNS}) "
    f"VALUES ({', '.join(f'${n}' for n in range(1, len(_FIELDS) + 1))})"
)
_UPDATE = sql(
    "UPDATE automations SET name = $3, description = $4, draft = $5, draft_revision = $6, "
    "editor_layout = $7, updated_us = $8 WHERE project_id = $1 AND id = $2"
)
_PUBLISH = sql(
    "UPDATE automations SET status = 'active', version = $3, version_revision = draft_revision, "
    "task = CASE WHEN pause_mode = 'hold' THEN 'resume' ELSE task END, pause_mode = NULL, "
    "trigger_event = $4, active_since_us = CASE WHEN status = 'active' THEN active_since_us "
    "ELSE $5 END, updated_us = $5 WHERE project_id = $1 AND id = $2"
)
_STATUS = sql(
    "UPDATE automations SET status = $3, active_since_us = $4, "
    # Runs that it held go on.
    "task = CASE WHEN pause_mode = 'hold' THEN 'resume' ELSE task END, pause_mode = NULL, "
    "trigger_event = CASE WHEN $3 = 'archived' THEN NULL ELSE trigger_event END, updated_us = $5 "
    "WHERE project_id = $1 AND id = $2",
)
VERSION = sql(
    f"SELECT {VERSION_COLUMNS} FROM automation_versions WHERE automation_id = $1 AND number = $2"
)
VERSIONS = sql(
    f"SELECT {VERSION_COLUMNS} FROM automation_versions WHERE automation_id = $1 AND number < $2 "
    "ORDER BY number DESC LIMIT $3"
)
_INSERT_VERSION = sql(
    "INSERT INTO automation_versions (automation_id, number, id, project_id, definition, sha256, "
    "event_names, published_us, published_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
)
# Names of events that may start or continue a run: of every version that may start some or has
# open ones.
NAMES = sql(
    "SELECT v.project_id, v.event_names FROM automation_versions v "
    "JOIN automations a ON a.id = v.automation_id "
    "WHERE (a.status IN ('active', 'paused') AND a.version = v.number) OR EXISTS "
    "(SELECT 1 FROM automation_runs r WHERE r.automation_id = v.automation_id "
    "AND r.version = v.number AND r.due_us IS NOT NULL)"
)
# Processing reads subscribers and the names of events again when this number changes, before it
# commits the next batch: no event that is received after a publish misses it.
_VERSION_ROW = sql(
    "INSERT INTO meta (name, value) VALUES ('subscribers_version', '0') ON CONFLICT DO NOTHING"
)
_BUMP = sql("UPDATE meta SET value = (value::bigint + 1)::text WHERE name = 'subscribers_version'")
_NUMBER_AFTER_ALL = 2**31 - 1


class TooManyAutomationsError(Exception):
    """The project has `AUTOMATIONS_MAX` automations, or an automation `VERSIONS_MAX` versions."""


class RevisionConflictError(Exception):
    """The draft has another revision than the caller has read."""


class WrongStatusError(Exception):
    """The automation is not in a status that allows the change."""


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """Checked fields to write; None leaves one as it is."""

    name: str | None = None
    description: str | None = None
    draft: str | None = None
    editor_layout: str | None = None


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """The result of the publish checks; `version` is None unless it was published."""

    automation: Automation
    report: Report
    #: Problems beyond those listed.
    left_out: int = 0
    version: AutomationVersion | None = None


class Automations:
    """Automations of all projects. A name that is taken raises `StoreConflictError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self, project_id: int, fields: Changes, now_us: int, *, actor: str
    ) -> Automation:
        """Create an automation with a draft; `name` and `draft` are given.

        Raises:
            TooManyAutomationsError: there are `AUTOMATIONS_MAX` already.
        """

        async def work(tx: Transaction) -> Automation:
            await tx.rows(LOCK, project_id)
            await _reject_taken(tx, project_id, fields.name, None)
            count, newest_us = await tx.row(_COUNT, project_id) or (0, 0)
            if count >= AUTOMATIONS_MAX:
                raise TooManyAutomationsError
            made_us = max(now_us, newest_us + 1)
            made = Automation(
                id=uuid_text(new_uuid()),
                project_id=project_id,
                name=fields.name or "",
                description=fields.description or "",
                status=AutomationStatus.DRAFT,
                draft=fields.draft or "",
                draft_revision=1,
                editor_layout=fields.editor_layout,
                version=0,
                version_revision=0,
                created_us=made_us,
                updated_us=made_us,
            )
            await tx.run(_INSERT, *(_plain(getattr(made, name)) for name in _FIELDS))
            await self._audit(tx, made, "create", actor, now_us)
            return made

        return await self._database.write(work)

    async def get(self, project_id: int, automation_id: str) -> Automation | None:
        """One automation, None when the project has no such automation."""
        return await self._database.read(lambda tx: find_automation(tx, project_id, automation_id))

    async def by_name(self, project_id: int, name: str) -> Automation | None:
        """The automation of that name that is not archived."""
        row = await self._database.read(lambda tx: tx.row(BY_NAME, project_id, name))
        return None if row is None else automation(row)

    async def list(
        self,
        project_id: int,
        *,
        status: str | None = None,
        text: str = "",
        before: int | None = None,
        limit: int,
    ) -> Sequence[Automation]:
        """Automations of a project, newest first, created before `before`.

        Args:
            text: part of the name, in any case.
        """
        below = BIGINT_MAX if before is None else before
        values = (project_id, below, limit, status, text)
        rows = await self._database.read(lambda tx: tx.rows(LIST, *values))
        return [automation(row) for row in rows]

    async def update(
        self,
        project_id: int,
        automation_id: str,
        fields: Changes,
        now_us: int,
        *,
        revision: int | None = None,
        actor: str,
    ) -> Automation | None:
        """Write to the draft; None when there is no such automation.

        Args:
            revision: of the draft that the caller has read; None: any.

        Raises:
            RevisionConflictError: the draft has another revision.
            WrongStatusError: it is archived.
        """

        async def work(tx: Transaction) -> Automation | None:
            await tx.rows(LOCK, project_id)
            held = await find_automation(tx, project_id, automation_id, lock=True)
            if held is None:
                return None
            if held.status is AutomationStatus.ARCHIVED:
                raise WrongStatusError
            if revision is not None and revision != held.draft_revision:
                raise RevisionConflictError
            await _reject_taken(tx, project_id, fields.name, automation_id)
            draft = held.draft if fields.draft is None else fields.draft
            number = held.draft_revision + (draft != held.draft)
            layout = held.editor_layout if fields.editor_layout is None else fields.editor_layout
            await tx.run(
                _UPDATE,
                *(project_id, automation_id, fields.name or held.name),
                held.description if fields.description is None else fields.description,
                *(draft, number, layout, max(now_us, held.updated_us)),
            )
            await self._audit(tx, held, "update", actor, now_us)
            return await find_automation(tx, project_id, automation_id)

        return await self._database.write(work)

    async def check(self, project_id: int, automation_id: str) -> Checked | None:
        """Make the publish checks of a draft; None when there is no such automation."""

        async def read(tx: Transaction) -> Checked | None:
            held = await find_automation(tx, project_id, automation_id)
            return None if held is None else (await _checked(tx, held))[0]

        return await self._database.read(read, snapshot=True)

    async def check_definition(self, project_id: int, text: bytes) -> tuple[Document, Report]:
        """Make the publish checks of a definition that is not stored."""

        async def read(tx: Transaction) -> tuple[Document, Report]:
            document, report, _ = await _check(tx, project_id, text)
            return document, report

        return await self._database.read(read, snapshot=True)

    async def publish(
        self, project_id: int, automation_id: str, now_us: int, *, actor: str
    ) -> Checked | None:
        """Publish the draft as a version and activate the automation, unless there are problems.

        A draft that has not changed since the newest version is not published again; it only makes
        a paused automation active. None when there is no such automation.

        Raises:
            TooManyAutomationsError: it has `VERSIONS_MAX` versions.
            WrongStatusError: it is archived.
        """

        async def work(tx: Transaction) -> Checked | None:
            # What the definition refers to is not deleted meanwhile.
            await tx.rows(LOCK, project_id)
            held = await find_automation(tx, project_id, automation_id, lock=True)
            if held is None:
                return None
            if held.status is AutomationStatus.ARCHIVED:
                raise WrongStatusError
            checked, document, references = await _checked(tx, held)
            if checked.report.problems or document.definition is None:
                return checked
            made = await _newest(tx, held)
            text = resolve(document.text, references)
            if made is None or made.definition != text:
                if held.version >= VERSIONS_MAX:
                    raise TooManyAutomationsError
                made = await _insert_version(tx, held, text, now_us, actor)
            trigger = document.definition.trigger.event_name
            key = (project_id, automation_id)
            await tx.run(_PUBLISH, *key, made.number, trigger, now_us)
            await self._audit(tx, held, "publish", actor, now_us, version=made.number)
            await bump_names(tx)
            after = await find_automation(tx, project_id, automation_id)
            assert after is not None
            return msgspec.structs.replace(checked, automation=after, version=made)

        return await self._database.write(work)

    async def set_status(
        self,
        project_id: int,
        automation_id: str,
        status: AutomationStatus,
        now_us: int,
        *,
        actor: str,
    ) -> Automation | None:
        """Pause, resume or archive; None when there is no such automation.

        Open runs go on to their end: only starts stop. A status that it has already stays.

        Raises:
            WrongStatusError: a draft cannot be paused, and an archived automation stays archived.
        """

        async def work(tx: Transaction) -> Automation | None:
            held = await find_automation(tx, project_id, automation_id, lock=True)
            if held is None or held.status is status:
                return held
            from_any = held.status is not AutomationStatus.ARCHIVED
            was_published = held.version > 0
            if not from_any or not (was_published or status is AutomationStatus.ARCHIVED):
                raise WrongStatusError
            since_us = now_us if status is AutomationStatus.ACTIVE else None
            await tx.run(_STATUS, project_id, automation_id, status.value, since_us, now_us)
            await self._audit(tx, held, status.value, actor, now_us)
            await bump_names(tx)
            return await find_automation(tx, project_id, automation_id)

        return await self._database.write(work)

    async def version(
        self, project_id: int, automation_id: str, number: int
    ) -> AutomationVersion | None:
        """One version, None when there is none of that number."""

        async def read(tx: Transaction) -> AutomationVersion | None:
            if await find_automation(tx, project_id, automation_id) is None:
                return None
            return await find_version(tx, automation_id, number)

        return await self._database.read(read)

    async def versions(
        self, project_id: int, automation_id: str, *, before: int | None, limit: int
    ) -> Sequence[AutomationVersion] | None:
        """Versions, newest first; None when there is no such automation."""
        below = _NUMBER_AFTER_ALL if before is None else min(before, _NUMBER_AFTER_ALL)

        async def read(tx: Transaction) -> Sequence[AutomationVersion] | None:
            if await find_automation(tx, project_id, automation_id) is None:
                return None
            return [version(row) for row in await tx.rows(VERSIONS, automation_id, below, limit)]

        return await self._database.read(read)

    async def event_names(self) -> dict[int, frozenset[str]]:
        """Names of events that may start or continue a run, by project."""
        found: dict[int, set[str]] = {}
        for project_id, names in await self._database.read(lambda tx: tx.rows(NAMES)):
            found.setdefault(project_id, set()).update(msgspec.json.decode(names))
        return {project_id: frozenset(names) for project_id, names in found.items()}

    async def _audit(
        self,
        tx: Transaction,
        held: Automation,
        action: str,
        actor: str,
        now_us: int,
        **more: Any,
    ) -> None:
        detail = {"automation": held.id, "name": held.name, **more}
        await write_audit(tx, now_us, actor, held.project_id, f"automation.{action}", detail)


async def bump_names(tx: Transaction) -> None:
    """Let processing read the names of events again."""
    await tx.run(_VERSION_ROW)
    await tx.run(_BUMP)


async def find_automation(
    tx: Transaction, project_id: int, automation_id: str, *, lock: bool = False
) -> Automation | None:
    """One automation of a project."""
    row = await tx.row(_HOLD if lock else GET, project_id, automation_id)
    return None if row is None else automation(row)


async def find_version(
    tx: Transaction, automation_id: str, number: int
) -> AutomationVersion | None:
    """One version."""
    row = await tx.row(VERSION, automation_id, number)
    return None if row is None else version(row)


async def _reject_taken(
    tx: Transaction, project_id: int, name: str | None, own_id: str | None
) -> None:
    if name is None:
        return
    row = await tx.row(BY_NAME, project_id, name)
    if row is not None and automation(row).id != own_id:
        field = "name"
        raise StoreConflictError(field)


async def _newest(tx: Transaction, held: Automation) -> AutomationVersion | None:
    return await find_version(tx, held.id, held.version) if held.version else None


async def _insert_version(
    tx: Transaction, held: Automation, text: str, now_us: int, actor: str
) -> AutomationVersion:
    document = parse_document(text.encode())
    assert document.definition is not None
    number = held.version + 1
    names = sorted(Version(held.id, number, document.definition).event_names)
    made = AutomationVersion(
        automation_id=held.id,
        number=number,
        id=uuid_text(new_uuid()),
        definition=text,
        sha256=document.sha256,
        published_us=now_us,
        published_by=actor,
    )
    await tx.run(
        _INSERT_VERSION,
        *(made.automation_id, number, made.id, held.project_id, text, made.sha256),
        *(msgspec.json.encode(names).decode(), now_us, actor),
    )
    return made


async def _checked(tx: Transaction, held: Automation) -> tuple[Checked, Document, References]:
    # Problems name their place as in the request that wrote the draft.
    text = f'{{"name":"draft","definition":{held.draft}}}'
    document, report, references = await _check(tx, held.project_id, text.encode())
    checked = Checked(automation=held, report=report, left_out=document.problems.left_out)
    return checked, document, references


async def _check(
    tx: Transaction, project_id: int, text: bytes
) -> tuple[Document, Report, References]:
    document = parse_document(text)
    definition, field = document.definition, document.field or "definition"
    if definition is None:
        return document, Report(tuple(document.problems.found), ()), References()
    references = await read_references(tx, project_id, definition)
    sending = await read_sending_policies(tx, project_id)
    values = await read_run_values(tx, project_id)
    rules = PublishRules(
        topicless_marketing=sending.topicless_marketing,
        wait_max_days=values.get("wait_max_days", PublishRules().wait_max_days),
    )
    report = check_for_publish(
        definition, field, document.problems, references=references, rules=rules
    )
    return document, report, references


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, AutomationStatus | PauseMode) else value


def automation(row: Row) -> Automation:
    """An automation from `COLUMNS`."""
    values = dict(zip(_FIELDS, row, strict=True))
    values["status"] = AutomationStatus(values["status"])
    if values["pause_mode"] is not None:
        values["pause_mode"] = PauseMode(values["pause_mode"])
    return Automation(**values)


def version(row: Row) -> AutomationVersion:
    """A version from `VERSION_COLUMNS`."""
    return AutomationVersion(**dict(zip(_VERSION_FIELDS, row, strict=True)))
