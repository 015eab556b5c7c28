"""Policies of a project: value, default, bounds, unit and effect; changes are audited."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from headrace.backoffice.access.audit import facts
from headrace.backoffice.access.policy_words import GROUPS, MEANINGS
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get, post
from headrace.domain.messages.policy_values import SENDING_POLICIES
from headrace.pipeline.access.policies import (
    POLICY_NAMES,
    policy_facts,
    typed_value,
    value_text,
)
from headrace.store.contract.sign_in import AuditFilter

_AUDIT_ROWS = 15
_UNIT_ENDINGS = ("_bytes", "_days", "_seconds", "_per_second")


class PolicyRow(msgspec.Struct, frozen=True):
    """A policy as shown on the page."""

    name: str
    title: str
    meaning: str
    #: As typed; empty for no limit.
    text: str
    shown: str
    default: str
    bounds: str
    unit: str
    #: Pairs of value and label; empty for a number or text.
    choices: tuple[tuple[str, str], ...]
    changed: bool
    optional: bool
    problem: str


async def show_policies(visit: PageRequest) -> Response:
    """List all policies, grouped by subject."""
    return await _page(visit)


async def set_policy(visit: PageRequest) -> Response:
    """Change a policy, or reset it to its default."""
    name = visit.request.path_params["name"]
    if name not in POLICY_NAMES:
        raise HTTPException(404)
    typed = visit.form.text("value")
    value: Any = policy_facts(name).default if name in SENDING_POLICIES else None
    if not visit.form.text("reset"):
        try:
            value = _checked(name, typed)
        except ValueError as error:
            return await _page(visit, 422, wrong=name, typed=typed, problem=f"It {error}.")
    if name in SENDING_POLICIES:
        await visit.store.projects.set_policy(
            visit.project.id, name, value, visit.now_us, actor=visit.actor
        )
    else:
        await visit.store.operators.set_policies(
            visit.project.id, {name: value}, visit.now_us, actor=visit.actor
        )
    text = f"{name.replace('_', ' ').capitalize()} changed. It applies within 5 s."
    return visit.go(visit.project_url("/policies"), text)


def _checked(name: str, typed: str) -> Any:
    """Convert a typed value to its type; None resets, which removes a limit.

    Raises:
        ValueError: as the rest of a sentence.
    """
    if typed == "" and policy_facts(name).default is None:
        return None
    return typed_value(name, typed)


async def _page(
    visit: PageRequest, status: int = 200, *, wrong: str = "", typed: str = "", problem: str = ""
) -> Response:
    values = await visit.store.projects.policy_values(visit.project.id)
    groups = [
        (title, [_row(values[name], name, wrong, typed, problem) for name in names])
        for title, names in _grouped()
    ]
    wanted = AuditFilter(project_id=visit.project.id, action="policy.")
    entries = await visit.store.members.audit(wanted, before=None, limit=_AUDIT_ROWS)
    changes = [(row.entry, dict(facts(row.entry.detail))) for row in entries]
    return visit.page("policies.html", status, groups=groups, changes=changes)


def _grouped() -> list[tuple[str, list[str]]]:
    grouped = [(title, [name for name in names if name in POLICY_NAMES]) for title, names in GROUPS]
    known = {name for _, names in grouped for name in names}
    rest = [name for name in POLICY_NAMES if name not in known]
    return [*grouped, *([("More", rest)] if rest else [])]


def _row(value: Any, name: str, wrong: str, typed: str, problem: str) -> PolicyRow:
    facts_of = policy_facts(name)
    default = facts_of.default
    low, high = facts_of.bounds or (None, None)
    choices: tuple[tuple[str, str], ...] = ()
    if isinstance(default, bool):
        choices = (("true", "on"), ("false", "off"))
    elif isinstance(default, str) and hasattr(type(default), "__members__"):
        choices = tuple((str(each), str(each).replace("_", " ")) for each in type(default))  # type: ignore[attr-defined]
    # The unit of a text would be a description that repeats the policy's meaning.
    is_number = name not in SENDING_POLICIES or type(default) is int
    unit = "" if isinstance(default, bool | str) or not is_number else facts_of.unit
    return PolicyRow(
        name=name,
        title=_title(name),
        meaning=MEANINGS.get(name, ""),
        text=typed if name == wrong else _text(value, typed=True),
        shown=_words(value, unit),
        default=_words(default, unit),
        bounds="" if low is None or high is None else f"{low:g} to {high:.10g}",
        unit=unit,
        choices=choices,
        changed=value != default,
        optional=default is None,
        problem=problem if name == wrong else "",
    )


def _title(name: str) -> str:
    """The name without its unit, which is shown next to the value."""
    for ending in _UNIT_ENDINGS:
        name = name.removesuffix(ending)
    return name.replace("_", " ").capitalize()


def _text(value: Any, *, typed: bool = False) -> str:
    if value is None:
        return "" if typed else "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:.10g}"
    return value_text(value) if isinstance(value, list | dict) else str(value)


def _words(value: Any, unit: str) -> str:
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{_text(value).replace('_', ' ')} {unit}".strip() or "none"


SCREENS = (
    get("/projects/{project}/policies", show_policies, Access.VIEWER),
    post("/projects/{project}/policies/{name}", set_policy, Access.OPERATOR),
)
