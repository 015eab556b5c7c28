"""One text for a statement; SQLite's text is derived from PostgreSQL's.

A statement is written once, for PostgreSQL, in the part of SQL that both databases share or that a
rule below translates:

======================================  ==========================================================
PostgreSQL                              SQLite
======================================  ==========================================================
``$1``                                  ``?1``
``x::bigint``, ``COLLATE "C"``          dropped: SQLite compares text by its bytes
``FOR UPDATE``, ``FOR SHARE`` …         dropped: there is one writer, and readers see a snapshot
``x = ANY($1::text[])``                 ``x IN (SELECT value FROM json_each(?1))``
``unnest($1::text[], …) AS n (a, b)``   a subquery over ``json_each`` with the columns ``a``, ``b``
``unnest(…) AS n (…) JOIN t ON …``      the same with ``CROSS JOIN``: each value leads to its rows
                                        of ``t``, never all rows of ``t`` to the values
``greatest(…)``, ``least(…)``           ``max(…)``, ``min(…)``; unlike PostgreSQL's, NULL if one is
``strpos(…)``                           ``instr(…)``
======================================  ==========================================================

Where the databases really differ, the text for SQLite is given with the other: `sql(text,
sqlite=…)`. An empty one is for rows that SQLite does not have: nothing is run. Each such place is
listed in docs/decisions/0011-sql-once.md.

Rows of an event are found by lane and sequence on PostgreSQL. In SQLite the sequence alone is the
key, and tables that the hot path writes have no lane: `without_lane` leaves it out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: Quoted strings and names, which are not translated.
_QUOTED = re.compile(r"""('(?:[^']|'')*'|"(?:[^"]|"")*")""")
_COLLATE = re.compile(r'\s+COLLATE\s+"C"')
_UNNEST = re.compile(
    r"\bunnest\((\s*\$\d+::\w+\[\](?:\s*,\s*\$\d+::\w+\[\])*\s*)\)\s+AS\s+(\w+)\s*\(([\w\s,]+)\)"
    r"(\s+JOIN\b)?"
)
_ARRAY = re.compile(r"\$(\d+)::(\w+)\[\]")
_ANY = re.compile(r"=\s*ANY\(\s*\$(\d+)::(\w+)\[\]\s*\)")
_CAST = re.compile(r"::(?:double precision|\w+)(?:\[\])?")
_ROW_LOCK = re.compile(
    r"\s+FOR\s+(?:NO\s+KEY\s+UPDATE|UPDATE|KEY\s+SHARE|SHARE)\b(?:\s+OF\s+\w+(?:\s*,\s*\w+)*)?"
    r"(?:\s+SKIP\s+LOCKED|\s+NOWAIT)?"
)
_GREATEST = re.compile(r"\bgreatest\(", re.IGNORECASE)
_LEAST = re.compile(r"\bleast\(", re.IGNORECASE)
_STRPOS = re.compile(r"\bstrpos\(", re.IGNORECASE)
_SAME_LANE = re.compile(r"\b(?:\w+\.)?lane = (?:\$\d+|\w+\.lane) AND ")
_PARAMETER = re.compile(r"\$(\d+)")
_PLACE = re.compile(r"\?(\d+)")

#: Types of the values of arrays. One object: a union in the test would be made for each value.
_ARRAYS = (list, tuple)
#: Types whose values are bytes: JSON carries them as hexadecimal digits.
_BINARY_TYPES = ("bytea", "uuid")


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement in both dialects. Made by `sql`."""

    postgres: str
    sqlite: str
    #: How many values SQLite's text takes; a value used only by dropped parts is not bound.
    sqlite_values: int

    def __str__(self) -> str:
        return self.postgres


def sql(text: str, *, sqlite: str | None = None) -> Statement:
    """A statement from PostgreSQL's text.

    Args:
        text: with parameters `$1`, `$2`, …
        sqlite: SQLite's text where it cannot be derived, with parameters `?1`, `?2`, … for the same
            values in the same order.
    """
    derived = to_sqlite(text) if sqlite is None else sqlite
    places = [int(number) for number in _PLACE.findall(derived)]
    return Statement(text, derived, max(places, default=0))


def without_lane(text: str) -> Statement:
    """A statement for tables that have no lane in SQLite.

    Conditions `lane = … AND` are left out there; a parameter that only they use comes last.

    >>> without_lane("SELECT a FROM t WHERE lane = $2 AND sequence = $1").sqlite
    'SELECT a FROM t WHERE sequence = ?1'
    """
    return sql(text, sqlite=to_sqlite(_SAME_LANE.sub("", text)))


def to_sqlite(text: str) -> str:
    """SQLite's text of a statement, by the rules above.

    >>> to_sqlite("SELECT a FROM t WHERE b = ANY($1::text[]) AND c = $2::bigint FOR UPDATE")
    'SELECT a FROM t WHERE b IN (SELECT value FROM json_each(?1)) AND c = ?2'
    """
    # The only quoted name to translate, so it is dropped before quoted parts are skipped.
    text = _COLLATE.sub("", text)
    parts = _QUOTED.split(text)
    return "".join(part if index % 2 else _translate(part) for index, part in enumerate(parts))


def _translate(text: str) -> str:
    text = _UNNEST.sub(_unnested, text)
    text = _ANY.sub(_any_of, text)
    text = _CAST.sub("", text)
    text = _ROW_LOCK.sub("", text)
    text = _LEAST.sub("min(", _GREATEST.sub("max(", text))
    text = _STRPOS.sub("instr(", text)
    return _PARAMETER.sub(r"?\1", text)


def _any_of(found: re.Match[str]) -> str:
    return f"IN (SELECT {_value(found[2])} FROM json_each(?{found[1]}))"


def _unnested(found: re.Match[str]) -> str:
    """A subquery with a row for each place of the arrays, in their order."""
    arrays = _ARRAY.findall(found[1])
    names = [name.strip() for name in found[3].split(",")]
    if len(arrays) != len(names):
        raise ValueError(f"unnest gives {len(arrays)} columns, {len(names)} are named: {found[0]}")
    (first, kind), *others = arrays
    columns = [f"{_value(kind)} AS {names[0]}"]
    columns += [
        f"{_value(kind, f'json_extract(?{number}, j.fullkey)')} AS {name}"
        for (number, kind), name in zip(others, names[1:], strict=True)
    ]
    join = " CROSS JOIN" if found[4] else ""
    return f"(SELECT {', '.join(columns)} FROM json_each(?{first}) j) AS {found[2]}{join}"


def _value(kind: str, value: str = "value") -> str:
    return f"unhex({value})" if kind in _BINARY_TYPES else value


def sqlite_values(values: Sequence[Any]) -> list[Any]:
    """Values as SQLite takes them: arrays travel as JSON, bytes in them as hexadecimal digits."""
    return [_json_array(each) if isinstance(each, _ARRAYS) else each for each in values]


def _json_array(values: Sequence[Any]) -> str:
    return json.dumps([each.hex() if isinstance(each, bytes) else each for each in values])
