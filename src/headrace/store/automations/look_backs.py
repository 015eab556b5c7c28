"""Events that runs read when they begin to wait, because they may have come before."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from headrace.domain.automations.running.runs import Event
from headrace.store.automations.inputs import event_of
from headrace.store.engine.dialect import sql, to_sqlite
from headrace.store.engine.transaction import Transaction
from headrace.store.events.parts import from_parts, part_of
from headrace.store.events.stored_events import COLUMNS, stored_event

#: Events that one look-back reads at most.
LOOKED_BACK_MAX = 10_000

# For each id that leads to the contact, since an index orders the events of each separately.
LOOK_BACK = sql(
    f"SELECT {COLUMNS} FROM event_states o "
    "JOIN stored_events e ON e.lane = o.lane AND e.sequence = o.sequence "
    "WHERE o.project_id = $1 AND o.contact_id = $2 AND o.contact_id IS NOT NULL "
    "AND o.sequence > $3 AND o.status = 3 AND e.event = ANY($4::text[]) "
    "ORDER BY o.sequence LIMIT $5",
    # An event has a part once it is processed.
    sqlite=to_sqlite(
        f"SELECT {COLUMNS} FROM {from_parts('stored_events', 'e')} "
        f"WHERE p.part >= {part_of('$3')} AND e.project_id = $1 AND e.resolved_contact_id = $2 "
        "AND e.resolved_contact_id IS NOT NULL "
        "AND e.sequence > $3 AND e.status = 3 AND e.event = ANY($4::text[]) "
        "ORDER BY p.part, e.sequence LIMIT $5"
    ),
)
# The same for many contacts, each since a sequence of its own, in any order.
LOOK_BACKS = sql(
    f"SELECT {COLUMNS} FROM unnest($2::text[], $3::bigint[]) AS k (contact_id, since) "
    "JOIN event_states o ON o.project_id = $1 AND o.contact_id = k.contact_id "
    "AND o.contact_id IS NOT NULL AND o.sequence > k.since AND o.status = 3 "
    "JOIN stored_events e ON e.lane = o.lane AND e.sequence = o.sequence "
    "WHERE e.event = ANY($4::text[]) LIMIT $5",
    sqlite=to_sqlite(
        f"SELECT {COLUMNS} FROM unnest($2::text[], $3::bigint[]) AS k (contact_id, since) "
        f"CROSS JOIN {from_parts('stored_events', 'e')} "
        f"WHERE p.part >= {part_of('k.since')} AND e.project_id = $1 "
        "AND e.resolved_contact_id = k.contact_id AND e.resolved_contact_id IS NOT NULL "
        "AND e.sequence > k.since AND e.status = 3 AND e.event = ANY($4::text[]) LIMIT $5"
    ),
)


class LookBack(msgspec.Struct, frozen=True):
    """What a run will probably read: events of these names after `since`."""

    project_id: int
    contact_ids: tuple[str, ...]
    names: frozenset[str]
    since: int


class _Known(msgspec.Struct, frozen=True):
    names: frozenset[str]
    since: int
    events: list[Event]

    def answers(self, names: frozenset[str], since: int) -> bool:
        return names <= self.names and since >= self.since


class LookBacks:
    """Processed events of contacts, as one transaction has read them.

    An event that is processed later enters the inbox, and is applied to the run from there. So what
    was read early in a transaction is enough at its end.
    """

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._known: dict[tuple[int, str], _Known] = {}

    async def read(self, wanted: Iterable[LookBack]) -> None:
        """Read events of many contacts with one statement for each project, for `find`."""
        by_project: dict[int, list[LookBack]] = {}
        for each in wanted:
            by_project.setdefault(each.project_id, []).append(each)
        for project_id, some in by_project.items():
            await self._read(project_id, some)

    async def _read(self, project_id: int, wanted: list[LookBack]) -> None:
        names = frozenset[str]().union(*(each.names for each in wanted))
        since: dict[str, int] = {}
        for each in wanted:
            for contact_id in each.contact_ids:
                since[contact_id] = min(each.since, since.get(contact_id, each.since))
        values = (list(since), list(since.values()), sorted(names), LOOKED_BACK_MAX)
        rows = await self._tx.rows(LOOK_BACKS, project_id, *values)
        # There may be more, so each contact is read alone when needed.
        if len(rows) == LOOKED_BACK_MAX:
            return
        for contact_id, after in since.items():
            self._known[project_id, contact_id] = _Known(names, after, [])
        for stored in map(stored_event, rows):
            known = self._known[project_id, stored.resolved_contact_id or ""]
            known.events.append(event_of(stored))

    async def find(
        self, project_id: int, contact_ids: Iterable[str], names: frozenset[str], since: int
    ) -> tuple[Event, ...]:
        """Processed events of a contact with these names, received after `since`, in order."""
        found: list[Event] = []
        for each in contact_ids:
            known = self._known.get((project_id, each))
            if known is not None and known.answers(names, since):
                events = known.events
                found += [one for one in events if one.name in names and one.sequence > since]
            else:
                values = (project_id, each, since, sorted(names), LOOKED_BACK_MAX)
                rows = await self._tx.rows(LOOK_BACK, *values)
                found += [event_of(stored_event(row)) for row in rows]
        found.sort(key=lambda event: event.sequence)
        return tuple(found[:LOOKED_BACK_MAX])
