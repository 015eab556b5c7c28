"""Contacts in CSV: each record becomes a body of `POST /contacts`.

The first record names the columns. `external_id` and `email` are identifiers; every other column is
a property, of the type after the colon in its name: `plan`, `seats:number`, `vip:boolean`,
`since:date`, `tags:list`. An empty cell leaves the field unchanged. Blanks are part of names and
texts (RFC 4180): an external_id is kept exactly.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import IO

from headrace.cli.importing.lines import LINE_BYTES_MAX, Line
from headrace.cli.shared.failure import usage

IDENTIFIERS = ("external_id", "email")
#: Separates the items of a list in one cell.
LIST_SEPARATOR = ";"
COLUMNS_MAX = 300
#: Tried in this order; the first one found in the header is used.
_DELIMITERS = (",", ";", "\t")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORD = re.compile(r"\w+")
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?")
_FLAGS = {"true": "true", "yes": "true", "1": "true", "false": "false", "no": "false", "0": "false"}


def _number(text: str) -> str:
    if _NUMBER.fullmatch(text) is None:
        raise ValueError("must be a number such as 12.5")
    return text


def _boolean(text: str) -> str:
    found = _FLAGS.get(text.lower())
    if found is None:
        raise ValueError("must be true or false")
    return found


def _date(text: str) -> str:
    try:
        if _DATE.fullmatch(text) is None:
            raise ValueError
        datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("must be a date such as 2026-06-08") from None
    return json.dumps(text)


def _list(text: str) -> str:
    return json.dumps([item.strip() for item in text.split(LIST_SEPARATOR) if item.strip()])


#: Text of a cell -> JSON text.
_TYPES: dict[str, Callable[[str], str]] = {
    "string": json.dumps,
    "number": _number,
    "boolean": _boolean,
    "date": _date,
    "list": _list,
}


class _Source:
    """Lines of the file as text, counted, to know where each record ends."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.number = 0
        self.offset = 0
        self.sent = b""
        self.problem = ""

    def __iter__(self) -> Iterator[str]:
        while line := self._file.readline(LINE_BYTES_MAX):
            self.number += 1
            self.offset += len(line)
            self.sent += line
            if len(line) == LINE_BYTES_MAX and not line.endswith(b"\n"):
                self.problem = f"is longer than {LINE_BYTES_MAX} bytes"
                self._skip()
                yield "\n"
                continue
            try:
                yield line.decode("utf-8-sig" if self.number == 1 else "utf-8")
            except UnicodeDecodeError:
                self.problem = "is not UTF-8"
                yield "\n"

    def _skip(self) -> None:
        while rest := self._file.readline(LINE_BYTES_MAX):
            self.offset += len(rest)
            if rest.endswith(b"\n"):
                return


class Columns:
    """The columns of a file.

    Args:
        names: the first record.

    Raises:
        CommandFailed: the names are missing, too many or ambiguous.
    """

    def __init__(self, names: list[str]) -> None:
        if not names or len(names) > COLUMNS_MAX:
            raise usage(f"The first line must name 1 to {COLUMNS_MAX} columns.")
        self._columns = [_column(name) for name in names]
        known = [name for name, _ in self._columns]
        twice = sorted({name for name in known if known.count(name) > 1})
        if not all(name.strip() for name in known) or twice:
            said = f"the column {twice[0]!r} appears twice" if twice else "a column has no name"
            raise usage(f"In the first line {said}.")
        if not set(IDENTIFIERS) & set(known):
            raise usage("The first line must have a column external_id or email.")

    def contact(self, cells: list[str]) -> bytes:
        """JSON text of the contact in a record.

        Raises:
            ValueError: names the column and the problem.
        """
        if len(cells) > len(self._columns):
            message = f"has {len(cells)} cells, but the first line has {len(self._columns)} columns"
            raise ValueError(message)
        members: list[str] = []
        properties: list[str] = []
        for (name, kind), cell in zip(self._columns, cells, strict=False):
            text = cell if kind == "string" else cell.strip()
            if not text:
                continue
            try:
                pair = f"{json.dumps(name)}:{_TYPES[kind](text)}"
            except ValueError as error:
                message = f"{name}: {error}"
                raise ValueError(message) from None
            (members if name in IDENTIFIERS else properties).append(pair)
        if properties:
            members.append(f'"properties":{{{",".join(properties)}}}')
        return f"{{{','.join(members)}}}".encode()


def _column(text: str) -> tuple[str, str]:
    """`(name, type)` of a column. A suffix that is not a word belongs to the name.

    Raises:
        CommandFailed: the type is unknown, or the name is probably a mistake.
    """
    name, colon, kind = text.rpartition(":")
    if not colon or not (_WORD.fullmatch(kind) or kind.strip() in _TYPES):
        name, kind = text, "string"
    meant = name.strip()
    if meant in IDENTIFIERS and text != meant:
        raise usage(f"In the first line write {meant} instead of {text!r}, without spaces or type.")
    if kind not in _TYPES:
        raise usage(
            f"The column {name!r} has the unknown type {kind!r}; known: {', '.join(_TYPES)}. A "
            f"name that contains a colon needs a type, too: {text}:string"
        )
    return name, kind


def read_records(file: IO[bytes], *, number: int, offset: int) -> Iterator[Line]:
    """Records after line `number`, which ends at `offset`; reads the file's header first.

    Raises:
        CommandFailed: the first line is no header.
    """
    file.seek(0)
    source = _Source(file)
    first = next(iter(source), "")
    delimiter = next((each for each in _DELIMITERS if each in first), ",")
    names = next(csv.reader([first], delimiter=delimiter), [])
    if source.problem:
        raise usage(f"The first line {source.problem}.")
    columns = Columns(names)
    if offset > source.offset:
        file.seek(offset)
        source.number, source.offset = number, offset
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    while True:
        begin, source.sent, source.problem = source.number + 1, b"", ""
        text, problem = b"", ""
        try:
            cells = next(reader, None)
            if cells is None:
                return
            if not any(cells) and not source.problem:
                continue
            text = columns.contact(cells)
        except (csv.Error, ValueError) as error:
            problem = str(error)
        problem = source.problem or problem
        sent = source.sent.rstrip(b"\r\n")
        yield Line(
            begin,
            sent if problem else text,
            source.offset,
            problem=problem,
            sent=sent,
            lines=source.number - begin + 1,
        )
