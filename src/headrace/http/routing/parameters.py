"""Parameters of queries: how they are declared, read and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from headrace.domain import timestamps
from headrace.domain.errors import FieldProblem, echo, invalid
from headrace.domain.events.fields import check_contact_id, nearest_member
from headrace.http.routing.route import Parameter

LIMIT_DEFAULT = 50
LIMIT_MAX = 200
QUERY_MEMBERS_MAX = 50
QUERY_BYTES_MAX = 8192


def text(name: str, check: Callable[[str], Any], description: str = "", **rules: Any) -> Parameter:
    """A text with a rule of its own; `rules` say the same in JSON Schema."""
    return Parameter(
        name=name, schema={"type": "string", **rules}, check=check, description=description
    )


def in_path(name: str, description: str = "", **rules: Any) -> Parameter:
    """A parameter of the path that is not a UUID; its handler checks it."""
    return Parameter(
        name=name,
        location="path",
        schema={"type": "string", **rules},
        description=description,
    )


def uuid(name: str, description: str = "") -> Parameter:
    return text(name, check_contact_id, description, format="uuid")


def time(name: str, description: str = "") -> Parameter:
    """A point in time; the handler gets microseconds since 1970."""
    return text(name, timestamps.parse, description, format="date-time")


def flag(name: str, description: str = "") -> Parameter:
    """`true` or `false`; the handler gets a boolean."""
    return _choice(name, {"true": True, "false": False}, description, "true or false")


def one_of(
    name: str, values: Mapping[str, Any] | Iterable[str], description: str = ""
) -> Parameter:
    """One name of a closed list; the handler gets its value in a mapping."""
    known = values if isinstance(values, Mapping) else {value: value for value in values}
    return _choice(name, known, description)


def _choice(name: str, known: Mapping[str, Any], description: str, words: str = "") -> Parameter:
    def check(value: str) -> Any:
        if value not in known:
            message = f"must be {words or 'one of ' + ', '.join(known)}"
            raise ValueError(message)
        return known[value]

    schema = {"type": "string", "enum": list(known)}
    return Parameter(name=name, schema=schema, check=check, description=description)


def _check_limit(value: str) -> int:
    if value.isascii() and value.isdigit() and len(value) <= 4 and 1 <= int(value) <= LIMIT_MAX:
        return int(value)
    message = f"must be a whole number from 1 to {LIMIT_MAX}"
    raise ValueError(message)


#: Of every list.
PAGE = (
    Parameter(
        name="limit",
        schema={"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
        check=_check_limit,
        description="Maximum number of items to return.",
    ),
    Parameter(
        name="cursor",
        schema={"type": "string"},
        description="`next_cursor` of the previous page; valid with the same filters only.",
    ),
)


def read_query(query_string: bytes, known: tuple[Parameter, ...]) -> dict[str, Any]:
    """Read and check the parameters of a query.

    Returns:
        Checked values by name. Those of a family, such as `property.`, are `(rest of the name,
        value)` in a tuple under the name of the family.

    Raises:
        ApiError: 422 with every problem: unknown, repeated, unreadable, wrong or too many.
    """
    if not query_string:
        return {}
    if len(query_string) > QUERY_BYTES_MAX:
        raise invalid(FieldProblem("", f"the query is longer than {QUERY_BYTES_MAX} bytes"))
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=QUERY_MEMBERS_MAX,
        )
    except ValueError:
        raise invalid(FieldProblem("", "the query is not readable")) from None
    return _checked(pairs, known)


def _checked(pairs: list[tuple[str, str]], known: tuple[Parameter, ...]) -> dict[str, Any]:
    parameters = {parameter.name: parameter for parameter in known if not parameter.is_prefix}
    families = [parameter for parameter in known if parameter.is_prefix]
    found: dict[str, Any] = {}
    seen: set[str] = set()
    problems: list[FieldProblem] = []
    for name, value in pairs:
        family = next((each for each in families if name.startswith(each.name)), None)
        parameter = parameters.get(name, family)
        try:
            if parameter is None:
                raise ValueError(_unknown(name, known))
            if name in seen:
                raise ValueError("occurs twice")
            seen.add(name)
            if "\x00" in value:
                raise ValueError("must not contain NUL")
            if parameter.is_prefix:
                _add_of_family(found, parameter, name, value)
            else:
                found[name] = value if parameter.check is None else parameter.check(value)
        except ValueError as error:
            problems.append(FieldProblem(echo(name), str(error)))
    if problems:
        raise invalid(*problems)
    return found


def _add_of_family(found: dict[str, Any], family: Parameter, name: str, value: str) -> None:
    rest = name.removeprefix(family.name)
    if family.check is not None:
        family.check(rest)
    given = found.get(family.name, ())
    if len(given) >= family.count_max:
        message = f"is one of more than {family.count_max} that begin with {family.name}"
        raise ValueError(message)
    found[family.name] = (*given, (rest, value))


def _unknown(name: str, known: tuple[Parameter, ...]) -> str:
    names = tuple(each.name + ("<name>" if each.is_prefix else "") for each in known)
    if not names:
        return "is not a parameter of this route, which takes none"
    nearest = nearest_member(name, names)
    hint = f"did you mean {nearest}? " if nearest else ""
    return f"is not a parameter of this route; {hint}known: {', '.join(names)}"
