"""Chooses the index of a list of events, and what is filtered row by row.

A list scans one index in the order of its pages, newest first. All other filters are tested row by
row, up to a limit: then the page ends with a cursor to continue. Events that are in no index yet
(`store/events/parts.py`) are tested row by row as well.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.domain.deliveries.subscriptions import is_prefix
from headrace.domain.events.event import DeliveryStatus, Source, Status
from headrace.domain.ids import first_sequence_at
from headrace.store.contract.events import EventFilter
from headrace.store.engine.dialect import Statement, sql, to_sqlite
from headrace.store.events.parts import UNINDEXED_MAX, from_parts, part_of, unindexed
from headrace.store.events.stored_events import DELIVERY_STATUS, SHOWN_COLUMNS

#: Rows that one page may examine before it returns what it found and a cursor to continue.
ROWS_EXAMINED_MAX = 20_000
#: How far the time inside a sequence may differ from the recorded time of receipt, after a clock
#: that stepped back or between two servers.
_CLOCK_SLACK_US = 60_000_000
#: Most selective first; the first one with a filter leads.
_BY_INDEX = ("external_id", "email", "status", "source", "event")

#: Rows of a project's queue, counted until they are known to be too many to examine.
QUEUE_LENGTH = sql(
    "SELECT count(*) FROM (SELECT 1 FROM event_queue WHERE project_id = $1 "
    f"LIMIT {ROWS_EXAMINED_MAX + 1}) n"
)


class _Walk(msgspec.Struct, frozen=True):
    """Tables of a list, and the one that is scanned in the order of its sequence."""

    walked: str
    tables: str
    #: Where SQLite needs another text.
    sqlite_tables: str
    #: Tables of the rows alone; None when all of them can be examined.
    alone: tuple[str, str] | None
    #: Whether it goes from part to part on SQLite.
    has_parts: bool
    #: Whether it misses events that no worker has processed, on SQLite.
    has_rest: bool


_EVENTS = _Walk(
    walked="e",
    tables="stored_events e",
    sqlite_tables=from_parts("stored_events", "e"),
    alone=("events e", from_parts("events", "e")),
    has_parts=True,
    has_rest=True,
)
#: Led by the states of the events.
_OF_OUTCOMES = "event_states o JOIN stored_events e ON e.lane = o.lane AND e.sequence = o.sequence"
_OUTCOMES = _Walk(
    walked="o",
    tables=_OF_OUTCOMES,
    sqlite_tables=from_parts("event_states", "o")
    + " CROSS JOIN stored_events e ON e.sequence = o.sequence",
    alone=("event_states o", from_parts("event_states", "o")),
    has_parts=True,
    # What has not been processed has neither contact nor failure.
    has_rest=False,
)
#: Led by the head of the queue: claimed events are there, and the whole of a short queue.
#: PostgreSQL's is in the order of the database's clock, SQLite's in that of its key.
_QUEUE = _Walk(
    walked="q",
    tables="(SELECT lane, sequence, project_id FROM event_queue WHERE project_id = $1 "
    f"ORDER BY queued_us, sequence LIMIT {ROWS_EXAMINED_MAX}) q "
    "JOIN stored_events e ON e.lane = q.lane AND e.sequence = q.sequence",
    sqlite_tables="event_queue q CROSS JOIN stored_events e ON e.sequence = q.sequence "
    "AND q.sequence <= (SELECT max(sequence) FROM (SELECT sequence FROM event_queue "
    f"WHERE project_id = $1 ORDER BY sequence LIMIT {ROWS_EXAMINED_MAX}))",
    alone=None,
    has_parts=False,
    has_rest=False,
)
#: Led by the deliveries that failed for good.
_FAILURES = _Walk(
    walked="f",
    tables="deliveries f JOIN stored_events e ON e.lane = f.lane AND e.sequence = f.sequence",
    sqlite_tables="deliveries f CROSS JOIN stored_events e ON e.sequence = f.sequence",
    alone=("deliveries f", "deliveries f"),
    has_parts=False,
    # What has not been processed has no deliveries.
    has_rest=False,
)
#: Of several failed deliveries of an event, the first one leads to it.
_FIRST_FAILURE = (
    "NOT EXISTS (SELECT 1 FROM deliveries o WHERE o.lane = f.lane AND o.sequence = f.sequence "
    "AND o.state = 4 AND o.number < f.number)"
)
_FAILED = (DeliveryStatus.FAILED, DeliveryStatus.PARTLY_FAILED)


class ListQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A list, newest first."""

    walk: _Walk
    #: Conditions on the scanned table, served by one index in that order.
    leading: list[str]
    #: Tested row by row.
    others: list[str]
    #: Those of `leading` come first.
    values: list[Any]
    leading_values: int
    #: Bounds of the page: sequences at or above the first, and below the second.
    first: int | None
    before: int | None
    #: Whether events that no worker has processed can be among them, and not in what is scanned.
    has_rest: bool

    def page(self, limit: int, floor: int | None) -> Statement:
        """The statement of a page; `floor` is the last sequence it may examine."""
        tests = [*self.leading, *self._bounds(), *self.others]
        if floor is not None:
            tests.append(f"{self.walk.walked}.sequence >= {floor:d}")
        return self._statement(
            SHOWN_COLUMNS, (self.walk.tables, self.walk.sqlite_tables), tests, f"LIMIT {limit:d}"
        )

    def floor(self) -> Statement | None:
        """A statement for where a page must stop; None when it can scan to the end.

        Takes the first `leading_values` of `values`.
        """
        if not self.others or self.walk.alone is None:
            return None
        tests = [*self.leading, *self._bounds()]
        return self._statement(
            f"{self.walk.walked}.sequence",
            self.walk.alone,
            tests,
            f"LIMIT 1 OFFSET {ROWS_EXAMINED_MAX}",
        )

    def rest(self, limit: int, floor: int | None) -> Statement | None:
        """The statement for what is in no index yet; None when there can be nothing."""
        if not self.has_rest:
            return None
        tests = [each for each in self.leading[1:] if " IS NOT NULL" not in each]
        tests += [*self._bounds("q"), *self.others]
        if floor is not None:
            tests.append(f"q.sequence >= {floor:d}")
        conditions = "".join(f"AND {each} " for each in tests)
        return unindexed(SHOWN_COLUMNS, conditions, f"DESC LIMIT {limit:d}")

    def rest_floor(self) -> Statement | None:
        """As `floor`, for `rest`."""
        if not self.has_rest or (not self.others and len(self.leading) == 1):
            return None
        conditions = "".join(f"AND {each} " for each in self._bounds("q"))
        return unindexed("q.sequence", conditions, f"DESC LIMIT 1 OFFSET {UNINDEXED_MAX}")

    def _bounds(self, walked: str = "") -> list[str]:
        walked = walked or self.walk.walked
        found = [] if self.before is None else [f"{walked}.sequence < {self.before:d}"]
        return found if self.first is None else [*found, f"{walked}.sequence >= {self.first:d}"]

    def _statement(
        self, columns: str, tables: tuple[str, str], tests: list[str], limit: str
    ) -> Statement:
        text = "SELECT {columns} FROM {tables} WHERE {tests} ORDER BY {order} {limit}"
        order = f"{self.walk.walked}.sequence DESC"
        postgres = text.format(
            columns=columns, tables=tables[0], tests=" AND ".join(tests), order=order, limit=limit
        )
        if self.walk.has_parts:
            order = f"p.part DESC, {order}"
            if self.before is not None:
                tests = [*tests, f"p.part <= {part_of(str(self.before))}"]
            if self.first is not None:
                tests = [*tests, f"p.part >= {part_of(str(self.first))}"]
        sqlite = text.format(
            columns=columns, tables=tables[1], tests=" AND ".join(tests), order=order, limit=limit
        )
        return sql(postgres, sqlite=to_sqlite(sqlite))


def asks_for_queue(wanted: EventFilter) -> bool:
    """Whether a list may be led by the queue: then `list_query` must know how long that is."""
    return wanted.status == Status.ACCEPTED and _leading(_filters(wanted), short_queue=True) == (
        "status"
    )


def list_query(
    project_id: int, wanted: EventFilter, before: int | None, *, short_queue: bool = False
) -> ListQuery:
    """Plan a list without a contact, and without statistics, which SQLite does not gather.

    `(… = …) IS TRUE` is `=` for filters only: no index serves it, so the index whose order the page
    needs is scanned.

    Args:
        short_queue: whether all of the project's queue can be examined.
    """
    filters = _filters(wanted)
    lead = _leading(filters, short_queue=short_queue)
    walk = _walk(lead, wanted)
    # Without another filter the project leads: a small one is not slowed down by a large one.
    leading = {}
    if lead is not None and walk not in (_QUEUE, _FAILURES):
        leading = {lead: filters.pop(lead)}
    return _query(project_id, wanted, before, walk, leading, filters)


def contact_queries(
    project_id: int, wanted: EventFilter, before: int | None, contact_id: str
) -> list[ListQuery]:
    """Plan a list of the events of one contact: those resolved to it, and those sent with its id.

    Most events are in both. Those sent with its id may still be waiting, or the id is unknown.
    """
    leading = {"contact_id": contact_id}
    return [
        _query(project_id, wanted, before, walk, leading, _filters(wanted))
        for walk in (_OUTCOMES, _EVENTS)
    ]


def _query(
    project_id: int,
    wanted: EventFilter,
    before: int | None,
    walk: _Walk,
    lead: dict[str, Any],
    filters: dict[str, Any],
) -> ListQuery:
    leading, values = [f"{walk.walked}.project_id = $1"], [project_id]
    for name, value in lead.items():
        values.append(value)
        column = f"{walk.walked}.{name}"
        leading += [f"{column} = ${len(values)}", *_partial_index_condition(column, name)]
    leading_values = len(values)
    others = []
    if walk is _FAILURES:
        leading.append("f.state = 4")
        others.append(_FIRST_FAILURE)
    if wanted.delivery_status is not None:
        others.append(f"{DELIVERY_STATUS} = {wanted.delivery_status:d}")
    for name, value in filters.items():
        if name == "event" and is_prefix(value):
            prefix = value.removesuffix("*")
            values.append(prefix)
            others.append(f"(substr(e.event, 1, {len(prefix):d}) = ${len(values)}) IS TRUE")
            continue
        values.append(value)
        others.append(f"(e.{name} = ${len(values)}) IS TRUE")
    others += _range("occurred_us", wanted.occurred_after_us, wanted.occurred_before_us)
    others += _range("received_us", wanted.received_after_us, wanted.received_before_us)
    first, before = _sequence_bounds(wanted, before)
    return ListQuery(
        walk=walk,
        leading=leading,
        others=others,
        values=values,
        leading_values=leading_values,
        first=first,
        before=before,
        has_rest=walk.has_rest
        and wanted.status in (None, Status.ACCEPTED, Status.PROCESSING)
        and wanted.delivery_status in (None, DeliveryStatus.NONE),
    )


def _filters(wanted: EventFilter) -> dict[str, Any]:
    found = {name: getattr(wanted, name) for name in _BY_INDEX}
    return {name: value for name, value in found.items() if value is not None}


def _leading(filters: dict[str, Any], *, short_queue: bool) -> str | None:
    return next((name for name in filters if _indexed(name, filters[name], short_queue)), None)


def _indexed(name: str, value: Any, short_queue: bool) -> bool:  # noqa: FBT001 - a fact, no switch
    """Whether the rows with that value are found without examining all others."""
    if name == "status":
        in_queue = value == Status.PROCESSING or (value == Status.ACCEPTED and short_queue)
        return in_queue or value in (Status.RETRYING, Status.DEAD_LETTERED)
    if name == "event":
        return not is_prefix(value)
    return name != "source" or bool(value != Source.API)


def _walk(lead: str | None, wanted: EventFilter) -> _Walk:
    if lead in (None, "source", "event") and wanted.delivery_status in _FAILED:
        return _FAILURES
    if lead != "status":
        return _EVENTS
    return _QUEUE if wanted.status in (Status.ACCEPTED, Status.PROCESSING) else _OUTCOMES


def _partial_index_condition(column: str, name: str) -> list[str]:
    # A partial index is used only where the query implies its condition, whatever the parameters.
    if name == "status":
        return [f"{column} <> {Status.PROCESSED:d}"]
    if name == "source":
        return [f"{column} <> {Source.API:d}"]
    return [f"{column} IS NOT NULL"] if name in {"external_id", "email", "contact_id"} else []


def _range(column: str, after_us: int | None, before_us: int | None) -> list[str]:
    low = [f"(e.{column} >= {after_us:d}) IS TRUE"] if after_us is not None else []
    return low + ([f"(e.{column} < {before_us:d}) IS TRUE"] if before_us is not None else [])


def _sequence_bounds(wanted: EventFilter, before: int | None) -> tuple[int | None, int | None]:
    ends = [] if before is None else [before]
    if wanted.received_before_us is not None:
        ends.append(first_sequence_at(wanted.received_before_us + _CLOCK_SLACK_US))
    first = None
    if wanted.received_after_us is not None:
        first = first_sequence_at(wanted.received_after_us - _CLOCK_SLACK_US)
    return first, min(ends, default=None)
