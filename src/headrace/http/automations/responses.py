"""Requests and responses of automations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec

from headrace.domain.automations.definition.aliases import Rewritten
from headrace.domain.automations.problems import Problem
from headrace.domain.automations.running.starting import AutomationStatus
from headrace.domain.timestamps import to_text
from headrace.http.routing.schema import Description, Id, Name, Time, about
from headrace.store.contract.automations import (
    Automation,
    AutomationVersion,
    PauseMode,
)

_DEFINITION = about("See the documentation of automations.")


class AutomationUpdate(msgspec.Struct, forbid_unknown_fields=True):
    """A change of a draft. Fields that are absent or null are not changed."""

    name: Name | None = None
    description: Description | None = None
    definition: Annotated[dict[str, Any] | None, _DEFINITION] = None
    editor_layout: Annotated[
        dict[str, Any] | None, about("Stored for an editor; not used by the server.")
    ] = None


class AutomationCreate(AutomationUpdate, kw_only=True, forbid_unknown_fields=True):
    """A new automation."""

    name: Name
    definition: Annotated[dict[str, Any], _DEFINITION]


class AutomationVersionResponse(msgspec.Struct, kw_only=True):
    """A published version; it never changes."""

    id: Id
    version_number: int
    state: Literal["published", "superseded"]
    published_at: Time


class ListedAutomation(msgspec.Struct, kw_only=True):
    """An automation without its definition."""

    id: Id
    name: str
    description: str
    status: AutomationStatus
    version_number: Annotated[int | None, about("Of the newest version; null if none.")]
    has_draft_changes: Annotated[bool, about("Whether the draft differs from that version.")]
    created_at: Time
    updated_at: Time
    pause_mode: Annotated[
        PauseMode | None, about("What happens to open runs; null unless it is paused.")
    ] = None


class RewrittenResponse(msgspec.Struct):
    """A name that was replaced by the one of the language."""

    field: str
    was: str
    now: str


class AutomationResponse(ListedAutomation, kw_only=True):
    """An automation with its draft."""

    definition: dict[str, Any]
    draft_revision: Annotated[int, about("For `If-Match` of a change.")]
    editor_layout: dict[str, Any] | None
    rewritten: Annotated[list[RewrittenResponse], about("What this request has replaced.")] = []


class FindingResponse(msgspec.Struct):
    """A problem or warning of the publish checks."""

    code: str
    field: str
    message: str
    step: str | None


class AutomationPublishedResponse(msgspec.Struct, kw_only=True):
    """An automation and the version that is published."""

    id: Id
    status: AutomationStatus
    current_published_version: AutomationVersionResponse
    warnings: list[FindingResponse]


class AutomationCheckResponse(msgspec.Struct, kw_only=True):
    """The result of the publish checks."""

    ok: bool
    problems: list[FindingResponse]
    problems_left_out: int
    warnings: list[FindingResponse]


class AutomationVersionDetail(AutomationVersionResponse, kw_only=True):
    """A published version with its definition."""

    definition: dict[str, Any]
    sha256: str
    published_by: str


def listed_response(of: Automation) -> ListedAutomation:
    """An automation as in lists."""
    return ListedAutomation(
        id=of.id,
        name=of.name,
        description=of.description,
        status=of.status,
        version_number=of.version or None,
        has_draft_changes=of.has_draft_changes,
        created_at=to_text(of.created_us),
        updated_at=to_text(of.updated_us),
        pause_mode=of.pause_mode,
    )


def automation_response(of: Automation, rewritten: Iterable[Rewritten] = ()) -> AutomationResponse:
    """An automation with its draft."""
    layout = None if of.editor_layout is None else raw(of.editor_layout)
    return AutomationResponse(
        **msgspec.structs.asdict(listed_response(of)),
        definition=raw(of.draft),
        draft_revision=of.draft_revision,
        editor_layout=layout,
        rewritten=[RewrittenResponse(each.field, each.was, each.now) for each in rewritten],
    )


def raw(text: str) -> Any:
    """Stored JSON, which is sent as it is."""
    return msgspec.Raw(text.encode())


def version_response(of: AutomationVersion, newest: int) -> AutomationVersionResponse:
    """A version without its definition."""
    return AutomationVersionResponse(
        id=of.id,
        version_number=of.number,
        state="published" if of.number == newest else "superseded",
        published_at=to_text(of.published_us),
    )


def findings(found: Iterable[Problem]) -> list[FindingResponse]:
    """Problems or warnings."""
    return [FindingResponse(each.code.value, each.field, each.message, each.step) for each in found]
