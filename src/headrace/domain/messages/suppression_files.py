"""Suppression lists as CSV files: those of other products, and our own.

Columns are found by their names, in any order: SendGrid, Mailgun, Postmark, Amazon SES, Mailchimp
and others write different ones. A file without header has the address in its first column and the
reason in the second. A bad line is named and the other lines count.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from headrace.domain.email import normalize_email
from headrace.domain.errors import echo
from headrace.domain.messages.kinds import SuppressionReason, SuppressionScope
from headrace.domain.messages.smtp_replies import shown_text
from headrace.domain.timestamps import to_text

#: Lines of a file; quoted line ends count as well.
LINES_MAX = 1_000_000
COLUMNS_MAX = 300
#: Bad lines that are named; more are counted.
PROBLEMS_MAX = 100
NOTE_CHARACTERS_MAX = 200
#: Columns of our own files.
EXPORT_COLUMNS = ("email", "reason", "scope", "note", "evidence", "created_by", "created_at")

_DELIMITERS = (",", ";", "\t")
_ADDRESS = ("email", "emailaddress", "address", "recipient", "recipientemail", "mail", "subscriber")
#: Columns that may say the kind of an entry, the most specific first.
_KIND = ("suppressionreason", "reason", "type", "bouncetype", "event", "category", "list")
_TEXT = ("evidence", "error", "reason", "diagnosticcode", "description", "unsubreason")
_CODE = ("status", "code", "bouncecode", "errorcode")
_CREATED = (
    *(
        "createdat",
        "created",
        "cleantime",
        "unsubtime",
        "lastupdatetime",
        "lastupdate",
        "bouncedat",
    ),
    *("createdate", "date", "timestamp", "time", "suppressedat", "addedat", "since"),
)
_BOUNCE, _COMPLAINT, _UNSUBSCRIBE, _MANUAL, _SOFT = (
    "bounce",
    "complaint",
    "unsubscribe",
    "manual",
    "",
)
_KINDS = {
    **dict.fromkeys(
        (
            *("hardbounce", "bounce", "bounced", "hard", "permanent", "cleaned", "clean"),
            *("invalid", "invalidemail", "bademailaddress", "suppressbounce"),
        ),
        _BOUNCE,
    ),
    **dict.fromkeys(
        (
            *("complaint", "complained", "spam", "spamcomplaint", "spamreport", "spamnotification"),
            *("abuse", "reportedspam", "reportedasspam", "markedasspam"),
        ),
        _COMPLAINT,
    ),
    **dict.fromkeys(
        (
            *("unsubscribe", "unsubscribed", "unsub", "optout", "groupunsubscribe"),
            "globalunsubscribe",
        ),
        _UNSUBSCRIBE,
    ),
    **dict.fromkeys(("manual", "manualsuppression", "admin"), _MANUAL),
    **dict.fromkeys(("softbounce", "soft", "transient", "temporary", "deferred"), _SOFT),
}
#: Columns that only files of one kind have: the name of the file says the kind, not its lines.
_FILE_KINDS = (
    ("cleantime", _BOUNCE),
    ("unsubtime", _UNSUBSCRIBE),
    ("error", _BOUNCE),
    ("tags", _UNSUBSCRIBE),
    ("ip", _COMPLAINT),
)
_SPELLED = re.compile(r"[^a-z0-9]+")
_STATUS = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b")
_BASIC = re.compile(r"\s*([245])\d\d\b")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """An address of a file."""

    line: int
    #: Normalized.
    email: str
    reason: SuppressionReason
    scope: SuppressionScope
    note: str = ""
    evidence: str = ""
    #: Microseconds since 1970; None: the file does not say.
    since_us: int | None = None


class BadLine(msgspec.Struct, frozen=True):
    """A line that is not imported, and why. `line` counts from 1."""

    line: int
    message: str


class ImportRules(msgspec.Struct, frozen=True, kw_only=True):
    """What counts where a file does not say it."""

    reason: SuppressionReason = SuppressionReason.MANUAL
    #: Of entries that are no hard bounces; None: that of the file's kind.
    scope: SuppressionScope | None = None
    #: The project's policy.
    complaint_scope: SuppressionScope = SuppressionScope.MARKETING


def decode_file(data: bytes) -> str:
    """The text of a file: UTF-8, with or without byte order mark, or UTF-16 with one.

    Raises:
        ValueError: with a sentence for the caller.
    """
    try:
        return data.decode(encoding_of(data))
    except UnicodeDecodeError:
        raise ValueError("must be text in UTF-8; save the file as CSV UTF-8") from None


def encoding_of(start: bytes) -> str:
    """The encoding of a file by its first two bytes."""
    return "utf-16" if start[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"


def read_suppressions(lines: Iterable[str], rules: ImportRules) -> Iterator[Listed | BadLine]:
    """Read the lines of a file; yields one result for each line that is not empty.

    Args:
        lines: with their line ends, as a text file opened with `newline=""` yields them.
    """
    source = _Source(lines)
    first = next((line for line in source if line.strip()), "")
    columns: dict[str, int] | None = None
    for number, cells in _records(source, first):
        if not any(cell.strip() for cell in cells):
            continue
        if isinstance(cells, _Broken):
            yield BadLine(number, cells[0])
            continue
        if columns is None:
            columns = _columns(cells)
            if columns is None:
                yield BadLine(number, "no column with addresses was found: name one of them email")
                return
            if not _has_address(cells):
                continue
        yield _entry(number, _Record(columns, cells), rules)
    if source.is_cut:
        yield BadLine(LINES_MAX + 1, f"a file has at most {LINES_MAX} lines: split it")


_NOT_CSV = "is not CSV: a quote is not closed, or text follows a closing quote"


class _Broken(list[str]):
    """The message about a line that is no CSV."""


class _Source(Iterator[str]):
    """Lines up to the limit, the first without byte order mark."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self.count = 0
        #: Whether lines after the limit were left out.
        self.is_cut = False

    def __next__(self) -> str:
        line = next(self._lines)
        if self.count >= LINES_MAX:
            self.is_cut = True
            raise StopIteration
        self.count += 1
        return line.removeprefix("\ufeff") if self.count == 1 else line


def _records(source: _Source, first: str) -> Iterator[tuple[int, Sequence[str]]]:
    """Records with the number of their last line."""
    delimiter = max(_DELIMITERS, key=first.count)

    def lines() -> Iterator[str]:
        yield first
        yield from source

    # Empty lines before the header.
    skipped = max(source.count - 1, 0)
    # Lenient, text after a closing quote would become part of the address.
    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield skipped + reader.line_num, _Broken([_NOT_CSV])
            continue
        yield skipped + reader.line_num, cells


def _spelled(name: str) -> str:
    return _SPELLED.sub("", name.lower())


def _has_address(cells: Sequence[str]) -> bool:
    return any("@" in cell for cell in cells)


def _columns(cells: Sequence[str]) -> dict[str, int] | None:
    """Places of columns by name; those of a file without header by order."""
    if _has_address(cells):
        place = next(index for index, cell in enumerate(cells) if "@" in cell)
        return {"email": place, "type": place + 1}
    found: dict[str, int] = {}
    for index, name in enumerate(cells[:COLUMNS_MAX]):
        found.setdefault(_spelled(name), index)
    return found if any(name in found for name in _ADDRESS) else None


class _Record:
    """The cells of a line by the names of their columns."""

    def __init__(self, columns: Mapping[str, int], cells: Sequence[str]) -> None:
        self.columns = columns
        self._cells = cells

    def first(self, names: Sequence[str]) -> str:
        """The first cell of these columns that is not empty."""
        for name in names:
            place = self.columns.get(name)
            if place is not None and place < len(self._cells) and self._cells[place].strip():
                return self._cells[place].strip()
        return ""

    def each(self, names: Sequence[str]) -> Iterator[str]:
        """Cells of these columns that are not empty."""
        for name in names:
            if text := self.first((name,)):
                yield text


def _entry(line: int, record: _Record, rules: ImportRules) -> Listed | BadLine:
    address = record.first(_ADDRESS)
    try:
        email = normalize_email(address)
    except ValueError as error:
        return BadLine(line, f"the address '{echo(address)}' {error}" if address else "no address")
    kind, unsure = _kind(record)
    evidence = " ".join(dict.fromkeys(_evidence(record)))
    if kind == _SOFT or (kind == _BOUNCE and _is_temporary(evidence)):
        return BadLine(line, "is a temporary failure, which does not suppress an address")
    if kind == _BOUNCE and _is_about_sender(evidence):
        return BadLine(line, "is a rejection of the sender, which does not suppress an address")
    if unsure:
        kind = {
            SuppressionReason.HARD_BOUNCE: _BOUNCE,
            SuppressionReason.COMPLAINT: _COMPLAINT,
            SuppressionReason.MANUAL: _MANUAL,
        }[rules.reason]
    reason, scope = _meaning(kind, rules)
    written = record.first(("scope",)).lower()
    if reason is not SuppressionReason.HARD_BOUNCE and written in set(SuppressionScope):
        scope = SuppressionScope(written)
    elif kind == _MANUAL and rules.scope is None and record.first(("origin",)) == "Recipient":
        # The recipient unsubscribed from a stream of Postmark.
        scope = SuppressionScope.MARKETING
    note = record.first(("note", "unsubreasonother", "comment"))
    return Listed(
        line=line,
        email=email,
        reason=reason,
        scope=scope,
        note=_unescaped(shown_text(note))[:NOTE_CHARACTERS_MAX],
        evidence=_unescaped(shown_text(evidence)) if kind in {_BOUNCE, _COMPLAINT} else "",
        since_us=read_time(record.first(_CREATED)),
    )


def _kind(record: _Record) -> tuple[str, bool]:
    """The kind of an entry, and whether the file does not say it."""
    for text in record.each(_KIND):
        kind = _KINDS.get(_spelled(text))
        if kind is not None:
            return kind, False
    if record.first(("unsubreason",)).lower().startswith(("spam", "reported")):
        return _COMPLAINT, False
    for name, kind in _FILE_KINDS:
        if name in record.columns:
            return kind, False
    code = record.first(_CODE)
    if _STATUS.search(code) or _BASIC.match(code):
        return _BOUNCE, False
    return _MANUAL, True


def _evidence(record: _Record) -> Iterator[str]:
    yield from record.each(_CODE)
    for text in record.each(_TEXT):
        if _spelled(text) not in _KINDS:
            yield text


def _is_temporary(evidence: str) -> bool:
    status, basic = _STATUS.search(evidence), _BASIC.match(evidence)
    return (status[1] if status else basic[1] if basic else "5") != "5"


def _is_about_sender(evidence: str) -> bool:
    """Whether a response is about our authentication, reputation or policy (5.7.x)."""
    status = _STATUS.search(evidence)
    return status is not None and status[2] == "7"


def _meaning(kind: str, rules: ImportRules) -> tuple[SuppressionReason, SuppressionScope]:
    if kind == _BOUNCE:
        return SuppressionReason.HARD_BOUNCE, SuppressionScope.ALL
    if kind == _COMPLAINT:
        return SuppressionReason.COMPLAINT, rules.scope or rules.complaint_scope
    marketing = kind == _UNSUBSCRIBE
    default = SuppressionScope.MARKETING if marketing else SuppressionScope.ALL
    return SuppressionReason.MANUAL, rules.scope or default


def read_time(text: str) -> int | None:
    """Microseconds since 1970 of a time as products write it; None for what is no time.

    ISO 8601 (UTC without offset), RFC 5322, or seconds or milliseconds since 1970. Losing the date
    of an entry is better than losing the entry.
    """
    if text.isascii() and text.isdigit() and 9 <= len(text) <= 13:
        return int(text) * (1_000 if len(text) == 13 else 1_000_000)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, IndexError, TypeError):
            return None
    try:
        moment = moment.replace(tzinfo=moment.tzinfo or UTC)
        return max(0, int(moment.timestamp() * 1_000_000))
    except (ValueError, OverflowError, OSError):
        return None


def export_row(
    email: str, reason: str, scope: str, note: str, evidence: str, created_by: str, since_us: int
) -> tuple[str, ...]:
    """One line of our own files, as a spreadsheet may open it: no text is a formula."""
    texts = (_escaped(note), _escaped(evidence), _escaped(created_by))
    return (email, reason, scope, *texts, to_text(since_us))


def _escaped(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _unescaped(text: str) -> str:
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text
