"""Which index serves a list of events, and what is only looked at on the way."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.domain.events import Source, Status
from headrace.domain.ids import first_sequence_at
from headrace.store.contract import EventFilter

#: Rows one page may look at before it answers with what it found and a cursor to go on.
ROWS_EXAMINED_MAX = 20_000
#: How far the time inside a sequence may be from the recorded time of receipt, after a clock that
#: stepped back or between two servers.
_CLOCK_SLACK_US = 60_000_000
#: Most selective first; the first one that is filtered by leads.
_BY_INDEX = ("external_id", "email", "contact_id", "status", "source", "event")

#: What became of an event, beside the event.
OUTCOME = (
    " LEFT JOIN outcomes o ON o.lane = e.lane AND o.sequence = e.sequence"
    " LEFT JOIN work w ON w.lane = e.lane AND w.sequence = e.sequence"
)
_NOT_YET = f"coalesce(o.status, {Status.ACCEPTED:d}) = {Status.ACCEPTED:d}"
#: Status as it is shown: an accepted event whose work somebody holds is being processed.
STATUS = (
    f"CASE WHEN {_NOT_YET} AND w.owner IS NOT NULL THEN {Status.PROCESSING:d} "
    f"ELSE coalesce(o.status, {Status.ACCEPTED:d}) END"
)

_EVENTS = "events e" + OUTCOME
#: Led by what became of the events.
_OUTCOMES = (
    "outcomes o JOIN events e ON e.lane = o.lane AND e.sequence = o.sequence"
    " LEFT JOIN work w ON w.lane = o.lane AND w.sequence = o.sequence"
)
#: Led by the head of the line: what workers hold is there, and a short line is there as a whole.
_LINE = (
    "(SELECT lane, sequence, project_id, owner FROM work WHERE project_id = $1 "  # noqa: S608
    f"ORDER BY queued_us, sequence LIMIT {ROWS_EXAMINED_MAX}) w"
    " JOIN events e ON e.lane = w.lane AND e.sequence = w.sequence"
    " LEFT JOIN outcomes o ON o.lane = e.lane AND o.sequence = e.sequence"
)
#: Rows of the line of a project, counted until it is clear that they are too many to look at.
LINE_LENGTH = (
    "SELECT count(*) FROM (SELECT 1 FROM work WHERE project_id = $1 "  # noqa: S608
    f"LIMIT {ROWS_EXAMINED_MAX + 1}) w"
)
_TABLES = {"e": _EVENTS, "o": _OUTCOMES, "w": _LINE}


class ListQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A list, newest first."""

    #: Tables; `e` are the events.
    tables: str
    #: Table whose rows are walked in the order of their sequence.
    walked: str
    #: Conditions on that table, served by one index in that order.
    leading: list[str]
    #: Looked at row by row.
    others: list[str]
    values: list[Any]

    def text(self, columns: str, limit: int, floor: int | None) -> str:
        """The statement of a page; `floor` is the last sequence it may look at."""
        tests = [*self.leading, *self.others]
        if floor is not None:
            tests.append(f"{self.walked}.sequence >= {floor:d}")
        return (
            f"SELECT {columns} FROM {self.tables} WHERE {' AND '.join(tests)} "  # noqa: S608
            f"ORDER BY {self.walked}.sequence DESC LIMIT {limit:d}"
        )

    def floor_text(self) -> str | None:
        """A statement for where a page must stop to look; None when it can look to the end."""
        if not self.others or self.walked == "w":
            return None
        table = {"e": "events", "o": "outcomes"}[self.walked]
        return (
            f"SELECT {self.walked}.sequence FROM {table} {self.walked} "  # noqa: S608
            f"WHERE {' AND '.join(self.leading)} "
            f"ORDER BY {self.walked}.sequence DESC LIMIT 1 OFFSET {ROWS_EXAMINED_MAX}"
        )


def list_query(
    project_id: int, wanted: EventFilter, before: int | None, *, short_line: bool = False
) -> ListQuery:
    """Plan a list.

    `IS NOT DISTINCT FROM` is `=` for what is only looked at: no index serves it, so the planner
    walks the one index whose order the page needs. Values of `leading` come first.

    Args:
        short_line: whether everything in the line of the project can be looked at.
    """
    filters = {name: getattr(wanted, name) for name in _BY_INDEX}
    filters = {name: value for name, value in filters.items() if value is not None}
    lead = next((name for name in filters if _indexed(name, filters[name], short_line)), None)
    walked = _walked(lead, wanted)
    # With nothing else to lead, the project does: a small one is not hidden behind a large one.
    leading, values = [f"{walked}.project_id = $1"], [project_id]
    others = []
    if lead is not None and walked != "w":
        values.append(filters.pop(lead))
        leading += [f"{walked}.{lead} = $2", *_partial_index_condition(walked, lead)]
    for name, value in filters.items():
        values.append(value)
        column = f"({STATUS})" if name == "status" else f"e.{name}"
        others.append(f"{column} IS NOT DISTINCT FROM ${len(values)}")
    others += _range("e.occurred_us", wanted.occurred_after_us, wanted.occurred_before_us)
    others += _range("e.received_us", wanted.received_after_us, wanted.received_before_us)
    leading += _sequence_bounds(walked, wanted, before)
    return ListQuery(
        tables=_TABLES[walked], walked=walked, leading=leading, others=others, values=values
    )


def _indexed(name: str, value: Any, short_line: bool) -> bool:  # noqa: FBT001 - a fact, no switch
    """Whether the rows with that value are found without looking at all others."""
    if name == "status":
        in_line = value == Status.PROCESSING or (value == Status.ACCEPTED and short_line)
        return in_line or value in (Status.RETRYING, Status.DEAD_LETTERED)
    return name != "source" or bool(value != Source.API)


def _walked(lead: str | None, wanted: EventFilter) -> str:
    if lead != "status":
        return "e"
    return "w" if wanted.status in (Status.ACCEPTED, Status.PROCESSING) else "o"


def _partial_index_condition(walked: str, name: str) -> list[str]:
    # A partial index is used only where the query implies its condition, whatever the parameters.
    if name == "status":
        return [f"{walked}.status <> {Status.PROCESSED:d}"]
    return [f"{walked}.source <> {Source.API:d}"] if name == "source" else []


def _range(column: str, after_us: int | None, before_us: int | None) -> list[str]:
    low = [f"{column} >= {after_us:d}"] if after_us is not None else []
    return low + ([f"{column} < {before_us:d}"] if before_us is not None else [])


def _sequence_bounds(walked: str, wanted: EventFilter, before: int | None) -> list[str]:
    ends = [] if before is None else [before]
    if wanted.received_before_us is not None:
        ends.append(first_sequence_at(wanted.received_before_us + _CLOCK_SLACK_US))
    bounds = [f"{walked}.sequence < {min(ends):d}"] if ends else []
    if wanted.received_after_us is not None:
        first = first_sequence_at(wanted.received_after_us - _CLOCK_SLACK_US)
        bounds.append(f"{walked}.sequence >= {first:d}")
    return bounds
