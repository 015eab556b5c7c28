"""Reads the members of a JSON object one by one and collects all problems."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from headrace.domain.errors import FieldProblem, echo, invalid
from headrace.domain.events.fields import nearest_member, unknown_hint
from headrace.domain.json_text import Number

T = TypeVar("T")

#: Problems that a response lists.
PROBLEMS_MAX = 50


class FieldReader:
    """The members of a request body, as `headrace.domain.events.problems.read_object` returns them.

    Args:
        known: names that the object may have.
        what: what the object is, for messages: `a contact`.
        others_in: the member for names chosen by callers, if there is one.
        inside: the reader of the enclosing object; problems are added there.
        path: of this object in it: `attachments[1]`.
    """

    def __init__(
        self,
        members: dict[str, Any],
        known: tuple[str, ...],
        what: str,
        *,
        others_in: str | None = None,
        inside: FieldReader | None = None,
        path: str = "",
    ) -> None:
        self.members = members
        self.problems: list[FieldProblem] = [] if inside is None else inside.problems
        self._prefix = f"{path}." if path else ""
        for name in members:
            if name not in known:
                hint = unknown_hint(name, nearest_member(name, known), others_in)
                self.add(echo(name), f"is an unknown field of {what}{hint}")

    def add(self, field: str, message: str) -> None:
        """Add a problem."""
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(FieldProblem(self._prefix + field, message))

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

    def items(self, field: str, most: int, what: str) -> list[Any] | None:
        """A member that must be an array of at most `most`; None when absent, null or wrong."""
        value = self.members.get(field)
        if value is None:
            return None
        if not isinstance(value, list):
            self.add(field, f"must be an array of {what}, got {kind_of(value)}")
            return None
        if len(value) > most:
            self.add(field, f"must have at most {most} items, got {len(value)}")
            return None
        return value

    def texts(self, field: str, most: int, rule: Callable[[str], T]) -> list[T] | None:
        """Apply `rule` to each item of an array of strings; None when absent, null or wrong."""
        found = self.items(field, most, "strings")
        if found is None:
            return None
        checked: list[T] = []
        for index, item in enumerate(found):
            try:
                problem = text_problem(item)
                if problem is None:
                    checked.append(rule(item))
                    continue
            except ValueError as error:
                problem = str(error)
            self.add(f"{field}[{index}]", problem)
        return checked

    def objects(
        self, field: str, most: int, known: tuple[str, ...], what: str
    ) -> Iterator[FieldReader]:
        """A reader for each object in an array."""
        for index, item in enumerate(self.items(field, most, "objects") or ()):
            path = f"{field}[{index}]"
            if isinstance(item, dict):
                yield FieldReader(item, known, what, inside=self, path=self._prefix + path)
            else:
                self.add(path, f"must be an object, got {kind_of(item)}")

    def require(self, *fields: str) -> None:
        """Add a problem for each member that is absent or null."""
        for field in fields:
            if self.members.get(field) is None:
                self.add(field, "is required")

    def raise_if_any(self) -> None:
        """Raise 422 with all problems."""
        if self.problems:
            raise invalid(*self.problems)


def text_problem(value: Any) -> str | None:
    """Why a parsed value is not a string that can be stored, None when it is."""
    # Numbers arrive as a kind of str, see `json_text.Number`.
    if type(value) is not str:
        return f"must be a string, got {kind_of(value)}"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "must not contain a lone surrogate"
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
