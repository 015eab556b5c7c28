"""The catalog of event shapes: written as events are processed, read by people."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

#: Names of a project, paths of a name, drift entries of a name that are kept.
NAMES_MAX = 10_000
PATHS_MAX = 500
DRIFT_KEPT = 100
#: Hours for which counts are kept.
HOURS_KEPT = 400 * 24
#: A path is gone when it is missing from so many events in a row, after being in nearly all before.
GONE_AFTER = 20
GONE_SHARE = 0.99


class FirstShown(msgspec.Struct, frozen=True, gc=False):
    """The first event of a batch in which a path had a type."""

    type: int
    #: Index of the event among those inspected, from 0.
    index: int
    at_us: int
    event_id: bytes


class PathSeen(msgspec.Struct, gc=False):
    """A path in the events of one name in a batch."""

    path: str
    types: int
    looks: int
    #: Events that have it.
    present: int
    last_index: int
    last_us: int
    sequence: int
    #: In order of the events.
    firsts: list[FirstShown]


class NameSeen(msgspec.Struct):
    """The events of one name in a batch."""

    project_id: int
    event: str
    first_us: int
    last_us: int
    events: int = 0
    sources: int = 0
    #: (hour, source) -> events.
    hours: dict[tuple[int, int], int] = {}
    inspected: int = 0
    failures: int = 0
    personal: int = 0
    paths: list[PathSeen] = []
    paths_over: int = 0
    #: Payload from which an example can be made, and the id of its event.
    sample: str | None = None
    sample_id: bytes = b""


class DriftKind(StrEnum):
    """How the shape of a name's events has changed."""

    NEW_PATH = "new_path"
    PATH_GONE = "path_gone"
    NEW_TYPE = "new_type"


class Drift(msgspec.Struct, frozen=True):
    """A change of the shape of a name's events."""

    kind: DriftKind
    path: str
    #: Bits of the type that is new; 0 for other kinds.
    type: int
    at_us: int
    #: The event that showed it first; None when it is not known.
    event_id: bytes | None
    #: Events inspected before that one.
    before: int


class CatalogPath(msgspec.Struct, frozen=True):
    """A path with its statistics."""

    path: str
    types: int
    looks: int
    present: int
    first_us: int
    last_us: int
    gone_us: int | None


class CatalogName(msgspec.Struct, frozen=True):
    """An event name with its counts."""

    event: str
    first_us: int
    last_us: int
    events: int
    sources: int
    inspected: int
    personal: int
    paths: int
    paths_over: int
    drifts: int
    drift_us: int | None


class HourCount(msgspec.Struct, frozen=True):
    """Events of a name in an hour."""

    event: str
    #: Hours since 1970.
    hour: int
    source: int
    events: int


class CatalogEntry(msgspec.Struct, frozen=True):
    """All that is known of an event name."""

    name: CatalogName
    paths: Sequence[CatalogPath]
    #: Newest first.
    drift: Sequence[Drift]
    #: JSON text.
    example: str | None
    example_id: bytes | None


class CatalogFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which names to list; all that is set must match."""

    #: The beginning of the name.
    prefix: str = ""
    #: Number of a source that sent some of its events.
    source: int | None = None
    #: Bits of which at least one must be set.
    personal: int = 0


class CatalogTotals(msgspec.Struct, frozen=True):
    """Names of a project, and what its limits have left out."""

    names: int = 0
    names_over: int = 0
    failures: int = 0
