"""Strict parsing of JSON: every problem has its path, what is wrong and what is allowed."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, NoReturn, TypeVar

from headrace.domain.automations.limits import (
    DEPTH_MAX,
    DOCUMENT_BYTES_MAX,
    ITEMS_MAX,
    TEXT_CHARACTERS_MAX,
)
from headrace.domain.automations.problems import Code, Problems
from headrace.domain.errors import echo
from headrace.domain.json_fields import kind_of, text_problem
from headrace.domain.json_text import Number, deeper_than

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

#: Known names that an unknown one is compared with, and problems after which hints stop.
_KNOWN_COMPARED_MAX = 50
_HINTS_MAX = 20
#: More digits than any whole number in a definition has.
_DIGITS_MAX = 10


def load_object(text: bytes, problems: Problems) -> dict[str, Any] | None:
    """Parse one JSON object, numbers left as their text; None when that is impossible.

    A duplicate member, at any depth, is a problem: which one is meant would be a guess.
    """
    if len(text) > DOCUMENT_BYTES_MAX:
        message = f"must be at most {DOCUMENT_BYTES_MAX} bytes, got {len(text)}"
        problems.add(Code.TOO_LARGE, "", message)
        return None
    # Also guards the parser, which would nest as deeply as the text does.
    if deeper_than(text, DEPTH_MAX):
        problems.add(Code.TOO_DEEP, "", f"must not nest deeper than {DEPTH_MAX} levels")
        return None

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            seen: set[str] = set()
            for name, _ in pairs:
                if name in seen:
                    message = "occurs twice in one object"
                    problems.add(Code.DUPLICATE_MEMBER, echo(name), message)
                seen.add(name)
        return result

    try:
        value = json.loads(
            text.decode(),
            object_pairs_hook=members,
            parse_constant=_no_constant,
            parse_int=Number,
            parse_float=Number,
        )
    except UnicodeDecodeError as error:
        message = f"is not UTF-8: byte {error.start} does not belong there"
        problems.add(Code.NOT_JSON, "", message)
        return None
    except (ValueError, RecursionError) as error:
        problems.add(Code.NOT_JSON, "", f"is not JSON: {echo(str(error))}")
        return None
    if not isinstance(value, dict):
        problems.add(Code.WRONG_TYPE, "", f"must be an object, got {kind_of(value)}")
        return None
    return value


def _no_constant(name: str) -> NoReturn:
    message = f"{name} is not a JSON number"
    raise ValueError(message)


class FieldReader:
    """Reads the members of one JSON object.

    JSON null means that a member is absent. An invalid member adds a problem and reads as absent.

    Args:
        value: parsed JSON; anything but an object adds a problem and reads as an empty one.
        field: path of the object, for problems.
        known: members that it may have.
        step: key of the step that it belongs to.
    """

    def __init__(
        self,
        value: Any,
        field: str,
        known: Sequence[str],
        problems: Problems,
        step: str | None = None,
    ) -> None:
        self.field = field
        self.step = step
        self.problems = problems
        self.members: dict[str, Any] = value if isinstance(value, dict) else {}
        #: Whether everything read so far was right.
        self.sound = isinstance(value, dict)
        if not self.sound:
            self.bad(Code.WRONG_TYPE, "", f"must be an object, got {kind_of(value)}")
        for name in self.members:
            if name not in known:
                meant = nearest(name, known) if len(problems) < _HINTS_MAX else None
                hint = f"did you mean {meant}? " if meant else ""
                message = f"is an unknown field; {hint}allowed are {', '.join(known)}"
                self.bad(Code.UNKNOWN_MEMBER, name, message)

    def at(self, name: str) -> str:
        """Path of a member."""
        return f"{self.field}.{echo(name)}" if self.field and name else self.field or echo(name)

    def bad(self, code: Code, name: str, message: str) -> None:
        """Add a problem with a member, or with the object itself when `name` is empty."""
        self.sound = False
        self.problems.add(code, self.at(name), message, self.step)

    def has(self, name: str) -> bool:
        """Whether a member is present and not null."""
        return self.members.get(name) is not None

    def get(self, name: str, *, required: bool = False) -> Any:
        """A member as it was parsed; None when absent."""
        value = self.members.get(name)
        if value is None and required:
            self.bad(Code.MISSING, name, "is required")
        return value

    def text(
        self,
        name: str,
        *,
        required: bool = False,
        rule: Callable[[str], T] | None = None,
        code: Code = Code.INVALID_VALUE,
    ) -> T | None:
        """A string as `rule` returns it, which raises ValueError with a sentence."""
        value = self.get(name, required=required)
        if value is None:
            return None
        problem = text_problem(value)
        if problem is None and len(value) > TEXT_CHARACTERS_MAX:
            problem = f"must be at most {TEXT_CHARACTERS_MAX} characters, got {len(value)}"
        if problem is not None:
            wrong = Code.INVALID_VALUE if type(value) is str else Code.WRONG_TYPE
            self.bad(wrong, name, problem)
            return None
        try:
            return value if rule is None else rule(value)
        except ValueError as error:
            self.bad(code, name, str(error))
            return None

    def choice(self, name: str, kinds: type[E], default: E) -> E:
        """One of a closed list of strings."""
        value = self.get(name)
        if value is None:
            return default
        if type(value) is str and value in tuple(kinds):
            return kinds(value)
        self.bad(Code.INVALID_VALUE, name, f"must be one of {', '.join(kinds)}")
        return default

    def flag(self, name: str) -> bool | None:
        """True or false."""
        value = self.get(name)
        if value is None or isinstance(value, bool):
            return value
        self.bad(Code.WRONG_TYPE, name, f"must be true or false, got {kind_of(value)}")
        return None

    def whole(self, name: str, low: int, high: int, *, required: bool = False) -> int | None:
        """A whole number within bounds; `3.0` is not one."""
        value = self.get(name, required=required)
        if value is None:
            return None
        number = whole_number(value)
        if number is None or not low <= number <= high:
            code = Code.OUT_OF_RANGE if isinstance(value, Number) else Code.WRONG_TYPE
            got = echo(value) if isinstance(value, Number) else kind_of(value)
            self.bad(code, name, f"must be a whole number from {low} to {high}, got {got}")
            return None
        return number

    def items(self, name: str, most: int, *, required: bool = False, least: int = 0) -> list[Any]:
        """An array; one that is too long reads as empty."""
        value = self.get(name, required=required)
        if value is None:
            return []
        if not isinstance(value, list):
            self.bad(Code.WRONG_TYPE, name, f"must be an array, got {kind_of(value)}")
            return []
        if not least <= len(value) <= most:
            code = Code.TOO_MANY if value else Code.MISSING
            self.bad(code, name, f"must have {least} to {most} items, got {len(value)}")
            return []
        return value

    def mapping(self, name: str, most: int = ITEMS_MAX) -> dict[str, Any]:
        """An object whose members are named by the author; one too large reads as empty."""
        value = self.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.bad(Code.WRONG_TYPE, name, f"must be an object, got {kind_of(value)}")
            return {}
        if len(value) > most:
            message = f"must have at most {most} keys, got {len(value)}"
            self.bad(Code.TOO_MANY, name, message)
            return {}
        return value


def whole_number(value: Any) -> int | None:
    """The parsed value as a whole number, None when it is not one or too long."""
    if not isinstance(value, Number) or len(value) > _DIGITS_MAX:
        return None
    return int(value) if value.lstrip("-").isdigit() else None


def nearest(name: str, known: Sequence[str]) -> str | None:
    """The known name that was most likely meant."""
    lowered = name[:64].lower().replace("-", "_")
    close = difflib.get_close_matches(lowered, known[:_KNOWN_COMPARED_MAX], n=1, cutoff=0.6)
    return close[0] if close else None
