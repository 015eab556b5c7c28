"""Drafts of automations for the edges: what may be saved, and the errors for the rest."""

from __future__ import annotations

from collections.abc import Iterable

from headrace.domain.automations.definition.aliases import Rewritten
from headrace.domain.automations.definition.parsing import parse_fields
from headrace.domain.automations.problems import UNFINISHED, Code, Problem
from headrace.domain.errors import ApiError, FieldProblem, invalid, malformed_json
from headrace.store.automations.automations import Changes


def read_fields(body: bytes, *, required: bool) -> tuple[Changes, tuple[Rewritten, ...]]:
    """The fields of a request, and what was rewritten in its definition.

    A draft may be unfinished, but everything in it must be readable.

    Args:
        required: whether there must be a name and a definition.

    Raises:
        ApiError: with every problem listed.
    """
    document = parse_fields(body, required=required)
    problems = [
        each
        for each in document.problems.found
        if each.code not in UNFINISHED or each.field in {"name", "definition"}
    ]
    if problems:
        raise problems_error(problems)
    fields = Changes(
        name=document.name,
        description=document.description,
        draft=document.text or None,
        editor_layout=document.editor_layout,
    )
    return fields, document.rewritten


def problems_error(problems: Iterable[Problem]) -> ApiError:
    """422 with every problem; 400 when the body is not a JSON object at all."""
    found = list(problems)
    first = found[0]
    no_object = first.code is Code.WRONG_TYPE and not first.field
    if no_object or first.code in {Code.NOT_JSON, Code.TOO_DEEP}:
        return malformed_json(f"The body {first.message}.")
    return invalid(*(FieldProblem(each.field, each.message) for each in found))
