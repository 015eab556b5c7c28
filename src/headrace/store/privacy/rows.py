"""Rows of erasures, the identifiers of a person, and matching of mentions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from headrace.domain.errors import ECHO_CHARACTERS_MAX, as_written, echo
from headrace.domain.events.identity import IdentityType
from headrace.domain.events.placeholders import Placeholders
from headrace.domain.ids import SYSTEM_COUNTER
from headrace.store.contract.erasures import Erasure, ErasureStatus, Report

COLUMNS = (
    "number, id, project_id, contact_id, status, counts, actor, created_us, finished_us, dry_run, "
    "report"
)
#: Characters of an echoed identifier that must match to count as a mention.
_ECHOED = ECHO_CHARACTERS_MAX - 3
#: Shorter ones also occur in names that have nothing to do with a person.
CHARACTERS_MIN = 4


def is_system(sequence: int) -> bool:
    """Whether the sequence is that of a system event."""
    return bool(sequence & SYSTEM_COUNTER)


class Identified(Protocol):
    """An event with every identifier of a person."""

    @property
    def sequence(self) -> int: ...
    @property
    def project_id(self) -> int: ...
    @property
    def contact_id(self) -> str | None: ...
    @property
    def external_id(self) -> str | None: ...
    @property
    def email(self) -> str | None: ...


class StoredIdentity(msgspec.Struct, frozen=True, gc=False):
    """The identifiers of a stored event."""

    sequence: int
    project_id: int
    contact_id: str | None
    external_id: str | None
    email: str | None


class Shared(msgspec.Struct, frozen=True):
    """A period in which another contact had the person's data, by a merge that was undone."""

    contact_id: str
    from_us: int
    #: Inclusive: the undoing itself still mentions the data.
    to_us: int


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """The identifiers of a person, and the progress of the search; removed at the end."""

    project_id: int
    #: Of the contact and of those that were merged into it.
    contact_ids: tuple[str, ...]
    external_ids: tuple[str, ...]
    #: Normalized.
    emails: tuple[str, ...]
    #: Addresses as given, where that differs.
    written: tuple[str, ...] = ()
    #: Sequences of the last events to erase: of customer events, which are numbered when they are
    #: accepted, and of system events, which have the upper half of a millisecond.
    last: int = 0
    last_system: int = 0
    #: `(kind, value)` that led to the person earlier, learned from its events. They do not find
    #: events: another person may have them now.
    learned: tuple[tuple[str, str], ...] = ()
    shared: tuple[Shared, ...] = ()
    #: Path of the catalog -> removed events that had it; by event name.
    paths: dict[str, dict[str, int]] = {}
    #: A dry run scans the person's events twice: for `learned`, then to count.
    counting: bool = False
    #: Last of the person's events that a dry run has examined.
    looked_to: int = -1
    #: Whether a dry run has counted the messages to the person.
    messages_counted: bool = False
    #: Names of events whose example is of the person, as counted by a dry run.
    examples: tuple[str, ...] = ()
    #: Event up to which mentions were searched, and where the search ends.
    searched_to: int = -1
    search_end: int = 0

    @property
    def bounds(self) -> tuple[int, int, int]:
        """Highest sequence of all, of customer events, of system events."""
        return max(self.last, self.last_system), self.last, self.last_system

    def means(self, event: Identified, resolved_contact_id: str | None = None) -> bool:
        """Whether an event is to be erased.

        Args:
            resolved_contact_id: the contact it was resolved to, if it has been processed.
        """
        return (
            event.sequence <= (self.last_system if is_system(event.sequence) else self.last)
            and event.project_id == self.project_id
            and (
                event.contact_id in self.contact_ids
                or resolved_contact_id in self.contact_ids
                or event.external_id in self.external_ids
                or event.email in self.emails
            )
        )

    @property
    def values(self) -> list[str]:
        """Identifiers that may occur elsewhere; without those that Headrace assigned."""
        learned = (value for _, value in self.learned)
        return [*self.external_ids, *self.emails, *self.written, *learned]

    @property
    def names(self) -> list[str]:
        """Names of the person that may occur elsewhere."""
        return [*self.values, *self.contact_ids]


def subject_of(
    project_id: int,
    contact_ids: Sequence[str],
    identifiers: Iterable[tuple[str, str]],
    written: Iterable[str | None],
    placeholders: Placeholders,
) -> Subject:
    """The subject of an erasure. Placeholders are left out: they identify more than one person.

    Args:
        identifiers: `(kind, value)`, including aliases.
    """
    known = [
        (kind, value)
        for kind, value in identifiers
        if kind != "contact_id" and not placeholders(IdentityType(kind), value)
    ]
    return Subject(
        project_id=project_id,
        contact_ids=tuple(contact_ids),
        external_ids=tuple(value for kind, value in known if kind == "external_id"),
        emails=tuple(value for kind, value in known if kind == "email"),
        written=tuple(
            text for text in written if text and not placeholders(IdentityType.EMAIL, text)
        ),
    )


class Mentions:
    """Finds texts that name a person, in full or as echoed in messages.

    Args:
        quoted: whether only a whole string of a JSON text counts.
    """

    def __init__(self, names: Iterable[str], *, quoted: bool = False) -> None:
        forms: set[str] = set()
        for name in names:
            forms |= {name, msgspec.json.encode(name).decode()[1:-1], echo(name)[:_ECHOED]}
            forms.add(as_written(name)[:_ECHOED])
        wanted = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
        # Longer words that only begin or end like it are another name.
        around = ('"', '"') if quoted else (r"(?<!\w)", r"(?!\w)")
        self._pattern = re.compile(f"{around[0]}(?:{wanted}){around[1]}", re.IGNORECASE)
        self._nobody = not wanted

    def __call__(self, *texts: str | None) -> bool:
        """Whether one of the texts names the person."""
        if self._nobody:
            return False
        return any(text and self._pattern.search(text) for text in texts)


def erasure(row: Sequence[Any]) -> Erasure:
    """The erasure of a row of `COLUMNS`."""
    number, erasure_id, project_id, contact_id, status, counts, actor, *rest = row
    created_us, finished_us, dry_run, report = rest
    return Erasure(
        number=number,
        id=erasure_id,
        project_id=project_id,
        contact_id=contact_id,
        status=ErasureStatus(status),
        counts=msgspec.json.decode(counts, type=dict[str, int]),
        actor=actor,
        created_us=created_us,
        finished_us=finished_us,
        dry_run=bool(dry_run),
        report=read_report(report),
    )


def added(counts: dict[str, int], more: dict[str, int]) -> dict[str, int]:
    """Both counts added, by place; places with zero are left out."""
    names = sorted({*counts, *more})
    both = {name: counts.get(name, 0) + more.get(name, 0) for name in names}
    return {name: count for name, count in both.items() if count}


def read_report(text: str) -> Report:
    """Read a stored report."""
    return msgspec.json.decode(text, type=Report)


def json_text(value: Report | dict[str, int]) -> str:
    """A report or counts as JSON text."""
    return msgspec.json.encode(value).decode()


def subject_text(subject: Subject) -> str:
    """A subject as text."""
    return msgspec.json.encode(subject).decode()


def read_subject(text: str) -> Subject:
    """Read a stored subject."""
    return msgspec.json.decode(text, type=Subject)


class Places(msgspec.Struct, frozen=True):
    """Rows that name a person, by their keys."""

    rejections: list[int]
    audit: list[int]
    #: Name of event and path.
    paths: list[tuple[str, str]]
    #: Name of event and number.
    drift: list[tuple[str, int]]
    #: Names of events.
    examples: list[str]

    def counts(self) -> dict[str, int]:
        """Rows by place."""
        return {
            "rejections": len(self.rejections),
            "audit": len(self.audit),
            "catalog_paths": len(self.paths) + len(self.drift),
            "catalog_examples": len(self.examples),
        }


def places_naming(subject: Subject, rows: Mapping[str, Sequence[Sequence[Any]]]) -> Places:
    """Which rows name the person, of those that `erased_mentions` reads."""
    named = Mentions(subject.names)
    values = subject.values
    # Audit entries with only an id stay: an id alone does not name a person.
    quoted = Mentions(values, quoted=True)
    # A short one is ambiguous.
    said = Mentions(value for value in values if len(value) >= CHARACTERS_MIN)
    return Places(
        rejections=[row[0] for row in rows["rejections"] if named(*row[1:])],
        audit=[row[0] for row in rows["audit"] if quoted(row[1])],
        paths=sorted({(row[0], row[1]) for row in rows["paths"] if said(row[1])}),
        drift=sorted({(row[0], row[1]) for row in rows["drift"] if said(row[2])}),
        examples=sorted({row[0] for row in rows["examples"] if said(row[1])}),
    )
