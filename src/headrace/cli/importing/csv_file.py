"""Contacts in CSV: each record becomes a body of `POST /contacts`.

The first record names the columns. `external_id` and `email` are identifiers; every other column is
a property, of the type after the colon in its name: `plan`, `seats:number`, `vip:boolean`,
`since:date`, `tags:list`. An empty cell leaves the field unchanged. Blanks are part of names and
texts (RFC 4180): an external_id is kept exactly. What spreadsheets and other products write is
read as well: any line ends, `sep=;`, commas at the ends of lines, `Email` for `email`.
"""

from __future__ import annotations

import csv
import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import IO

import msgspec

from headrace.cli.importing.lines import LINE_BYTES_MAX, Line
from headrace.cli.shared.failure import usage

IDENTIFIERS = ("external_id", "email")
#: Separates the items of a list in one cell.
LIST_SEPARATOR = ";"
#: Names of columns that a message lists.
_NAMES_SHOWN_MAX = 20
COLUMNS_MAX = 300
#: The most frequent one in the header is used; of several the first.
_DELIMITERS = (",", ";", "\t")
#: Lines and bytes of one record; a longer one has a quote that is not closed.
RECORD_LINES_MAX = 1000
RECORD_BYTES_MAX = LINE_BYTES_MAX
_CHUNK = 64 * 1024
_LINE_END = re.compile(rb"\r\n|\n|\r")
_SEPARATOR = re.compile(r'"?sep=([,;\t|])"?[\r\n]*', re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"?')
#: Names of the identifiers in exports of other products, without case and punctuation.
_ALIASES = {"email": "email", "emailaddress": "email", "externalid": "external_id"}
_LINE_BREAK = re.compile(r"\s*[\r\n]+\s*")
_PUNCTUATION = re.compile(r"[\W_]+")
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


class _TooLongError(csv.Error):
    """A record spans more than a record can; mostly a quote that is never closed."""


class _Read(msgspec.Struct, frozen=True):
    """A line of the file."""

    #: As much of it as is kept.
    raw: bytes
    length: int
    problem: str


class _Source:
    """Lines of the file as text, counted, to know where each record ends.

    A line ends with LF, CR LF or a lone CR, as some spreadsheets write.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._buffer = b""
        self._again: deque[_Read] = deque()
        self._record: list[_Read] = []
        self.number = 0
        self.offset = 0

    def __iter__(self) -> Iterator[str]:
        while (line := self._next()) is not None:
            self.number += 1
            self.offset += line.length
            self._record.append(line)
            too_large = sum(len(each.raw) for each in self._record) > RECORD_BYTES_MAX
            if len(self._record) > RECORD_LINES_MAX or (too_large and len(self._record) > 1):
                message = "has a quote that is not closed"
                raise _TooLongError(message)
            if line.problem:
                yield "\n"
                continue
            yield line.raw.decode("utf-8-sig" if self.number == 1 else "utf-8")

    def begin(self) -> None:
        """Begin a record."""
        self._record.clear()

    def give_back(self) -> None:
        """Take only the first line of the record; the others are read again."""
        for line in reversed(self._record[1:]):
            self._again.appendleft(line)
            self.number -= 1
            self.offset -= line.length
        del self._record[1:]

    def put_back(self) -> None:
        """Read the whole record again."""
        self.give_back()
        for line in self._record:
            self._again.appendleft(line)
            self.number -= 1
            self.offset -= line.length
        self._record.clear()

    def move(self, number: int, offset: int) -> None:
        """Continue after a line that ends at `offset`."""
        self._file.seek(offset)
        self._buffer = b""
        self._again.clear()
        self.number, self.offset = number, offset

    @property
    def sent(self) -> bytes:
        """The record as it is in the file."""
        return b"".join(each.raw for each in self._record)

    @property
    def problem(self) -> str:
        """Why a line of the record cannot be read; empty when all can."""
        return next((each.problem for each in self._record if each.problem), "")

    @property
    def lines(self) -> int:
        """Number of lines of the record."""
        return len(self._record)

    def _next(self) -> _Read | None:
        if self._again:
            return self._again.popleft()
        raw = self._take()
        if not raw:
            return None
        length, problem = len(raw), ""
        if len(raw) >= LINE_BYTES_MAX and not raw.endswith((b"\n", b"\r")):
            problem = f"is longer than {LINE_BYTES_MAX} bytes"
            while rest := self._take():
                length += len(rest)
                if rest.endswith((b"\n", b"\r")):
                    break
        else:
            try:
                raw.decode()
            except UnicodeDecodeError:
                problem = "is not UTF-8"
        return _Read(raw, length, problem)

    def _take(self) -> bytes:
        """The next line with its end, or the next `LINE_BYTES_MAX` bytes of it."""
        searched = end = 0
        while True:
            found = _LINE_END.search(self._buffer, searched)
            # A CR at the end may be the first half of CR LF.
            if found and (found.end() < len(self._buffer) or found[0] != b"\r"):
                end = found.end()
                break
            if len(self._buffer) >= LINE_BYTES_MAX:
                end = LINE_BYTES_MAX
                break
            searched = max(0, len(self._buffer) - 1)
            more = self._file.read(_CHUNK)
            if not more:
                end = found.end() if found else len(self._buffer)
                break
            self._buffer += more
        line, self._buffer = self._buffer[:end], self._buffer[end:]
        return line


class Columns:
    """The columns of a file.

    Args:
        names: the first record; empty names at its end are left out.
        renamed: of `names`, those that stand for another column; an empty one is left out.

    Raises:
        CommandFailed: the names are missing, too many or ambiguous.
    """

    def __init__(self, names: list[str], renamed: Mapping[str, str] | None = None) -> None:
        # As wide as the header, and one delimiter more at the end.
        self._cells_max = len(names) + 1
        while names and not names[-1].strip():
            names = names[:-1]
        # A line break in a heading only makes it fit its column.
        names = [_LINE_BREAK.sub(" ", name) for name in names]
        names = _renamed(names, renamed or {})
        if not names or len(names) > COLUMNS_MAX:
            raise usage(f"The first line must name 1 to {COLUMNS_MAX} columns.")
        self._columns = [_column(name) if name else ("", "") for name in names]
        known = [name for (name, _), text in zip(self._columns, names, strict=True) if text]
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
        extra = cells[len(self._columns) :]
        if len(cells) > self._cells_max or any(cell.strip() for cell in extra):
            message = f"has {len(cells)} cells, but the first line has {len(self._columns)} columns"
            raise ValueError(message)
        members: list[str] = []
        properties: list[str] = []
        for (name, kind), cell in zip(self._columns, cells, strict=False):
            text = cell if kind == "string" else cell.strip()
            if not text or not kind:
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


def _renamed(names: list[str], renamed: Mapping[str, str]) -> list[str]:
    """The names with those of `--map` replaced, and empty where one is left out.

    Raises:
        CommandFailed: the header has no such name, or has a column without one.
    """
    missing = sorted(renamed.keys() - set(names))
    if missing:
        has = ", ".join(f'"{name}"' for name in names[:_NAMES_SHOWN_MAX])
        more = f" and {len(names) - _NAMES_SHOWN_MAX} more" if len(names) > _NAMES_SHOWN_MAX else ""
        raise usage(f'--map: the first line has no column "{missing[0]}"; it has {has}{more}.')
    if not all(name.strip() for name in names):
        raise usage("In the first line a column has no name.")
    return [renamed.get(name, name) for name in names]


def _column(text: str) -> tuple[str, str]:
    """`(name, type)` of a column. A suffix that is not a word belongs to the name.

    Raises:
        CommandFailed: the type is unknown, or the name is probably a mistake.
    """
    name, colon, kind = text.rpartition(":")
    if not colon or not (_WORD.fullmatch(kind) or kind.strip() in _TYPES):
        name, kind = text, "string"
    alias = _ALIASES.get(_PUNCTUATION.sub("", text.casefold()))
    if alias is not None and text.strip() == text and alias != text:
        return alias, "string"
    meant = name.strip()
    if meant in IDENTIFIERS and text != meant:
        raise usage(f"In the first line write {meant} instead of {text!r}, without spaces or type.")
    if kind not in _TYPES:
        raise usage(
            f"The column {name!r} has the unknown type {kind!r}; known: {', '.join(_TYPES)}. A "
            f"name that contains a colon needs a type, too: {text}:string"
        )
    return name, kind


def read_records(
    file: IO[bytes], *, number: int, offset: int, renamed: Mapping[str, str] | None = None
) -> Iterator[Line]:
    """Records after line `number`, which ends at `offset`; reads the file's header first.

    A record that cannot be read costs its first line only: a quote that is not closed would
    swallow the lines after it.

    Args:
        renamed: names in the header and the columns that they stand for.

    Raises:
        CommandFailed: the first line is no header.
    """
    file.seek(0)
    source = _Source(file)
    columns, delimiter = _header(source, renamed or {})
    if offset > source.offset:
        source.move(number, offset)
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    while True:
        begin = source.number + 1
        source.begin()
        text, problem = b"", ""
        try:
            cells = next(reader, None)
            if cells is None:
                return
            if not any(cells) and not source.problem:
                continue
            text = columns.contact(cells)
        except csv.Error as error:
            several = source.lines > 1
            source.give_back()
            problem = "has a quote that is not closed" if several else str(error)
            reader = csv.reader(source, delimiter=delimiter, strict=True)
        except ValueError as error:
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


def _header(source: _Source, renamed: Mapping[str, str]) -> tuple[Columns, str]:
    """The columns and the delimiter."""
    first = next(iter(source), "")
    # Excel reads and writes it to name the delimiter.
    named = _SEPARATOR.fullmatch(first)
    if named:
        delimiter = named[1]
        source.begin()
    else:
        bare = _QUOTED.sub("", first)
        delimiter = max(_DELIMITERS, key=bare.count)
        source.put_back()
    try:
        names = next(csv.reader(source, delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        raise usage(f"The first line {error}.") from None
    if source.problem:
        raise usage(f"The first line {source.problem}.")
    return Columns(names, renamed), delimiter
