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
#: stepped back.
_CLOCK_SLACK_US = 60_000_000
#: Most selective first; the first one that is filtered by leads.
#: Whether somebody works on an event.
HELD = (
    "EXISTS (SELECT 1 FROM work w WHERE w.project_id = events.project_id "
    "AND w.sequence = events.sequence AND w.lease_until_us > 0)"
)
_BY_INDEX = ("external_id", "email", "contact_id", "status", "source", "event")


class ListQuery(msgspec.Struct, frozen=True):
    """Conditions of a list, for ORDER BY sequence DESC."""

    #: Served by one index in the order of sequence.
    leading: list[str]
    #: Looked at row by row.
    others: list[str]
    values: dict[str, Any]
    #: Names in `values` that `leading` uses.
    leading_names: frozenset[str]


def list_query(project_id: int, wanted: EventFilter, before: int | None) -> ListQuery:
    """Plan a list without the help of statistics, which nobody gathers.

    A unary plus keeps SQLite from using an index of that column.
    """
    filters = {name: getattr(wanted, name) for name in _BY_INDEX}
    filters = {name: value for name, value in filters.items() if value is not None}
    others = []
    if wanted.status in (Status.ACCEPTED, Status.PROCESSING):
        filters["status"] = Status.ACCEPTED.value
        others.append(HELD if wanted.status == Status.PROCESSING else f"NOT {HELD}")
    lead = next((name for name in filters if _indexed(name, filters[name])), None)
    # With nothing else to lead, the project does: a small one is not hidden behind a large one.
    leading = ["project_id = :project_id"]
    for name in filters:
        if name == lead:
            leading.append(f"{name} = :{name}")
            leading.extend(_partial_index_condition(name))
        else:
            others.append(f"+{name} = :{name}")
    others += _range("+occurred_us", wanted.occurred_after_us, wanted.occurred_before_us)
    others += _range("+received_us", wanted.received_after_us, wanted.received_before_us)
    leading += _sequence_bounds(wanted, before)
    names = frozenset(("project_id", lead) if lead else ("project_id",))
    return ListQuery(leading, others, {"project_id": project_id, **filters}, names)


def _indexed(name: str, value: Any) -> bool:
    """Whether the index of this column holds rows with that value."""
    if name == "status":
        return bool(value != Status.PROCESSED)
    return name != "source" or bool(value != Source.API)


def _partial_index_condition(name: str) -> list[str]:
    # SQLite uses a partial index only when the query repeats its condition.
    if name == "status":
        return [f"status <> {Status.PROCESSED:d}"]
    if name == "source":
        return [f"source <> {Source.API:d}"]
    return [f"{name} IS NOT NULL"] if name in {"external_id", "email", "contact_id"} else []


def _range(column: str, after_us: int | None, before_us: int | None) -> list[str]:
    low = [f"{column} >= {after_us:d}"] if after_us is not None else []
    return low + ([f"{column} < {before_us:d}"] if before_us is not None else [])


def _sequence_bounds(wanted: EventFilter, before: int | None) -> list[str]:
    ends = [] if before is None else [before]
    if wanted.received_before_us is not None:
        ends.append(first_sequence_at(wanted.received_before_us + _CLOCK_SLACK_US))
    bounds = [f"sequence < {min(ends):d}"] if ends else []
    if wanted.received_after_us is not None:
        first = first_sequence_at(wanted.received_after_us - _CLOCK_SLACK_US)
        bounds.append(f"sequence >= {first:d}")
    return bounds
