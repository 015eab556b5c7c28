"""Reads the members of a JSON object one by one and collects everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from headrace.domain.errors import FieldProblem, echo, invalid
from headrace.domain.event_fields import nearest_member, unknown_hint
from headrace.domain.json_text import Number

T = TypeVar("T")

#: A request with thousands of wrong members is answered with the first of them.
PROBLEMS_MAX = 50


class Members:
    """The members of one request body, as `headrace.domain.event_problems.read_object` gives them.

    Args:
        known: names that the object may have.
        what: what the object is, for messages: `a contact`.
        others_in: the member that holds what callers name themselves, if there is one.
    """

    def __init__(
        self,
        members: dict[str, Any],
        known: tuple[str, ...],
        what: str,
        *,
        others_in: str | None = None,
    ) -> None:
        self.members = members
        self._problems: list[FieldProblem] = []
        for name in members:
            if name not in known:
                hint = unknown_hint(name, nearest_member(name, known), others_in)
                self.add(echo(name), f"is not a member of {what}{hint}")

    def add(self, field: str, message: str) -> None:
        """Note a problem."""
        if len(self._problems) < PROBLEMS_MAX:
            self._problems.append(FieldProblem(field, message))

    def text(self, field: str, rule: Callable[[str], T]) -> T | None:
        """Apply `rule` to a member that must be a string; None when absent, null or wrong."""
        value = self.members.get(field)
        if value is None:
            return None
        problem = text_problem(value)
        if problem is not None:
            self.add(field, problem)
            return None
        try:
            return rule(value)
        except ValueError as error:
            self.add(field, str(error))
            return None

    def flag(self, field: str) -> bool | None:
        """A member that must be true or false; None when absent, null or wrong."""
        value = self.members.get(field)
        if value is None or isinstance(value, bool):
            return value
        self.add(field, f"must be true or false, got {kind_of(value)}")
        return None

    def require(self, *fields: str) -> None:
        """Note each of the members that is absent or null."""
        for field in fields:
            if self.members.get(field) is None:
                self.add(field, "is required")

    def raise_if_any(self) -> None:
        """Raise 422 with everything that was noted."""
        if self._problems:
            raise invalid(*self._problems)


def text_problem(value: Any) -> str | None:
    """Why a parsed value is no string that can be stored, None when it is one."""
    # Numbers arrive as a kind of str, see `json_text.Number`.
    if type(value) is not str:
        return f"must be a string, got {kind_of(value)}"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "must not contain a surrogate without its other half"
    return "must not contain the character NUL" if "\x00" in value else None


def kind_of(value: Any) -> str:
    """JSON's own name for the type of a parsed value."""
    match value:
        case bool():
            return "a boolean"
        case Number():
            return "a number"
        case str():
            return "a string"
        case dict():
            return "an object"
        case list():
            return "an array"
    return "null"
