"""Alerts and their notices. One leader evaluates; the store keeps a second one from doubling."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.domain.ids import new_uuid, uuid_text
from headrace.domain.upkeep.alerts import (
    DETAIL_CHARACTERS_MAX,
    RULES,
    AlertKind,
    AlertState,
    Current,
    Edge,
    Level,
    Reading,
    step,
)
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import BIGINT_MAX
from headrace.store.engine.transaction import Database, Row, Transaction
from headrace.store.upkeep.alert_readings import read_alert_readings

#: Alerts that are pending or open at a time; no further one begins.
CURRENT_MAX = 1000
#: Ended alerts and their notices are kept for so long.
KEPT_US = 90 * 86_400_000_000

_COLUMNS = "number, id, project_id, kind, subject, state, since_us, detail, started_us, ended_us"
_SELECT = f"SELECT {_COLUMNS} FROM alerts"
CURRENT = sql(f"{_SELECT} WHERE state <> 'ended' ORDER BY project_id, kind, subject LIMIT $1")
LIST = sql(
    f"{_SELECT} WHERE project_id = ANY($1::integer[]) AND state <> 'pending' AND number < $2 "
    "ORDER BY number DESC LIMIT $3"
)
LIST_OPEN = sql(
    f"{_SELECT} WHERE project_id = ANY($1::integer[]) AND state = 'open' AND state <> 'ended' "
    "AND number < $2 ORDER BY number DESC LIMIT $3"
)
COUNT_OPEN = sql(
    "SELECT count(*) FROM alerts WHERE project_id = ANY($1::integer[]) AND state = 'open' "
    "AND state <> 'ended'"
)
BY_KIND = sql(
    "SELECT kind, count(*) FROM alerts WHERE state = 'open' AND state <> 'ended' GROUP BY kind"
)
_INSERT = sql(
    "INSERT INTO alerts (id, project_id, kind, subject, state, since_us, detail, started_us) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING number"
)
# The state is a condition: of two leaders only one changes it.
_UPDATE = sql(
    "UPDATE alerts SET state = $3, since_us = $4, detail = $5, started_us = $6, ended_us = $7 "
    "WHERE number = $1 AND state = $2"
)
_FORGET = sql("DELETE FROM alerts WHERE number = $1 AND state = 'pending'")
_NOTICE = sql(
    "INSERT INTO alert_notices (id, alert_number, edge, channel, due_us, at_us) "
    "VALUES ($1, $2, $3, $4, $5, $5)"
)
# In order: the end of an alert is not announced before its start.
DUE = sql(
    "SELECT n.number, n.id, n.edge, n.channel, n.attempt, n.at_us, "
    + ", ".join(f"a.{name}" for name in _COLUMNS.split(", "))
    + " FROM alert_notices n JOIN alerts a ON a.number = n.alert_number WHERE n.due_us <= $1 "
    "AND NOT EXISTS (SELECT 1 FROM alert_notices e WHERE e.alert_number = n.alert_number "
    "AND e.channel = n.channel AND e.number < n.number AND e.due_us IS NOT NULL) "
    "ORDER BY n.due_us LIMIT $2"
)
_DONE = sql(
    "UPDATE alert_notices SET due_us = NULL, done_us = $2, attempt = attempt + 1, error = '' "
    "WHERE number = $1"
)
_FAILED = sql(
    "UPDATE alert_notices SET due_us = $2, attempt = attempt + 1, error = $3 WHERE number = $1"
)
_NOTICES = sql(
    "SELECT edge, channel, attempt, due_us, done_us, error FROM alert_notices "
    "WHERE alert_number = $1 ORDER BY number LIMIT 20"
)
OLD = sql("SELECT number FROM alerts WHERE ended_us IS NOT NULL AND ended_us < $1 LIMIT $2")
_REMOVE_NOTICES = sql("DELETE FROM alert_notices WHERE alert_number = $1")
_REMOVE = sql("DELETE FROM alerts WHERE number = $1")


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert. Times are microseconds since 1970."""

    number: int
    id: str
    #: 0: the whole instance.
    project_id: int
    kind: AlertKind
    subject: str
    state: AlertState
    since_us: int | None
    detail: str
    #: None while it is pending.
    started_us: int | None
    ended_us: int | None

    @property
    def title(self) -> str:
        """What is wrong, in a few words."""
        return RULES[self.kind].title

    @property
    def fix(self) -> str:
        """What to do about it."""
        return RULES[self.kind].fix


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """A notice that is due."""

    number: int
    id: str
    edge: Edge
    #: `webhook` or `mail`.
    channel: str
    #: Attempts made.
    attempt: int
    at_us: int
    alert: Alert


class NoticeRecord(msgspec.Struct, frozen=True):
    """What became of a notice."""

    edge: str
    channel: str
    attempts: int
    #: None: it is not attempted again.
    due_us: int | None
    done_us: int | None
    error: str


class Alerts:
    """Alerts of all projects and of the instance."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def readings(self, now_us: int) -> Sequence[Reading]:
        """Readings of all that the store knows."""
        return await self._database.read(lambda tx: read_alert_readings(tx, now_us))

    async def apply(
        self, readings: Sequence[Reading], now_us: int, channels: Sequence[str]
    ) -> Sequence[tuple[Edge, Alert]]:
        """Start and end alerts, and queue a notice of each on every channel, in one transaction.

        Args:
            readings: of every subject; an alert about any other ends like one that is good.

        Returns:
            What started and ended.
        """
        by_key = {one.key: one for one in readings}
        held = await self._database.read(_current)
        if not held and not any(one.level is Level.BAD for one in readings):
            # Usually there is nothing to write: then the write lock of SQLite is not taken.
            return []

        async def work(tx: Transaction) -> list[tuple[Edge, Alert]]:
            current = {(one.project_id, one.kind.value, one.subject): one for one in held}
            edges: list[tuple[Edge, Alert]] = []
            room = CURRENT_MAX - len(current)
            for key in sorted(set(by_key) | set(current)):
                alert = current.get(key)
                reading = by_key.get(key)
                if alert is None and (reading is None or reading.level is not Level.BAD):
                    continue
                if alert is None:
                    room -= 1
                    if room < 0:
                        continue
                edge = await _step(tx, alert, reading, now_us)
                if edge is not None:
                    edges.append(edge)
                    for channel in channels:
                        values = (edge[1].number, edge[0].value, channel, now_us)
                        await tx.run(_NOTICE, uuid_text(new_uuid()), *values)
            return edges

        return await self._database.write(work)

    async def list(
        self, project_id: int, *, only_open: bool = False, before: int | None = None, limit: int
    ) -> Sequence[Alert]:
        """Alerts of a project and of the instance, newest first."""
        statement = LIST_OPEN if only_open else LIST
        values = ([0, project_id], BIGINT_MAX if before is None else before, limit)
        rows = await self._database.read(lambda tx: tx.rows(statement, *values))
        return [_alert(row) for row in rows]

    async def current(self) -> Sequence[Alert]:
        """Open alerts of all projects."""
        found = await self._database.read(_current)
        return [one for one in found if one.state is AlertState.OPEN]

    async def count_open(self, project_id: int) -> int:
        """How many alerts of a project and of the instance are open."""
        found = await self._database.read(lambda tx: tx.value(COUNT_OPEN, [0, project_id]))
        return int(found or 0)

    async def open_by_kind(self) -> dict[str, int]:
        """How many alerts are open, by kind."""
        rows = await self._database.read(lambda tx: tx.rows(BY_KIND))
        return {row[0]: int(row[1]) for row in rows}

    async def due_notices(self, now_us: int, limit: int) -> Sequence[Notice]:
        """Notices to send now, the oldest first."""
        rows = await self._database.read(lambda tx: tx.rows(DUE, now_us, limit))
        return [
            Notice(
                number=row[0],
                id=row[1],
                edge=Edge(row[2]),
                channel=row[3],
                attempt=row[4],
                at_us=row[5],
                alert=_alert(row[6:]),
            )
            for row in rows
        ]

    async def notice_done(self, notice: Notice, now_us: int) -> None:
        """Note that a notice was sent."""
        await self._database.write(lambda tx: tx.run(_DONE, notice.number, now_us))

    async def notice_failed(self, notice: Notice, retry_us: int | None, error: str) -> None:
        """Note a failed attempt; without a time of the retry it was the last one."""
        values = (notice.number, retry_us, error[:DETAIL_CHARACTERS_MAX])
        await self._database.write(lambda tx: tx.run(_FAILED, *values))

    async def notices(self, alert: Alert) -> Sequence[NoticeRecord]:
        """What became of the notices of an alert."""
        rows = await self._database.read(lambda tx: tx.rows(_NOTICES, alert.number))
        return [NoticeRecord(*row) for row in rows]

    async def prune(self, now_us: int, limit: int) -> int:
        """Remove alerts that ended long ago, up to `limit`; returns how many."""
        rows = await self._database.read(lambda tx: tx.rows(OLD, now_us - KEPT_US, limit))
        if not rows:
            return 0

        async def work(tx: Transaction) -> int:
            for (number,) in rows:
                await tx.run(_REMOVE_NOTICES, number)
                await tx.run(_REMOVE, number)
            return len(rows)

        return await self._database.write(work)


async def _current(tx: Transaction) -> list[Alert]:
    return [_alert(row) for row in await tx.rows(CURRENT, CURRENT_MAX)]


async def _step(
    tx: Transaction, alert: Alert | None, reading: Reading | None, now_us: int
) -> tuple[Edge, Alert] | None:
    """Write what follows from a reading; what started or ended by it."""
    level = Level.GOOD if reading is None else reading.level
    kind = alert.kind if alert is not None else _kind_of(reading)
    before = None if alert is None else Current(state=alert.state, since_us=alert.since_us)
    after, edge = step(before, level, now_us, RULES[kind])
    if alert is None:
        made = (
            None if reading is None or after is None else await _insert(tx, reading, after, now_us)
        )
        return None if made is None or edge is None else (edge, made)
    if after is None and edge is None:
        await tx.run(_FORGET, alert.number)
        return None
    changed = _changed(alert, reading, after, edge, now_us)
    if changed == alert:
        return None
    values = (changed.state.value, changed.since_us, changed.detail)
    times = (changed.started_us, changed.ended_us)
    written = await tx.run(_UPDATE, alert.number, alert.state.value, *values, *times)
    return (edge, changed) if edge is not None and written else None


def _kind_of(reading: Reading | None) -> AlertKind:
    assert reading is not None, "neither an alert nor a reading"
    return reading.kind


def _changed(
    alert: Alert, reading: Reading | None, after: Current | None, edge: Edge | None, now_us: int
) -> Alert:
    # The detail stays that of the last bad reading: it says why the alert is there.
    bad = reading is not None and reading.level is Level.BAD
    detail = reading.detail[:DETAIL_CHARACTERS_MAX] if bad and reading is not None else alert.detail
    return msgspec.structs.replace(
        alert,
        state=AlertState.ENDED if after is None else after.state,
        since_us=None if after is None else after.since_us,
        detail=detail,
        started_us=now_us if edge is Edge.STARTED else alert.started_us,
        ended_us=now_us if edge is Edge.ENDED else None,
    )


async def _insert(tx: Transaction, reading: Reading, after: Current, now_us: int) -> Alert | None:
    """The new alert; None when another leader made one."""
    started_us = now_us if after.state is AlertState.OPEN else None
    made_id, detail = uuid_text(new_uuid()), reading.detail[:DETAIL_CHARACTERS_MAX]
    values = (after.state.value, after.since_us, detail, started_us)
    number = await tx.value(
        _INSERT, made_id, reading.project_id, reading.kind.value, reading.subject, *values
    )
    if number is None:
        return None
    return Alert(
        number=number,
        id=made_id,
        project_id=reading.project_id,
        kind=reading.kind,
        subject=reading.subject,
        state=after.state,
        since_us=after.since_us,
        detail=detail,
        started_us=started_us,
        ended_us=None,
    )


def _alert(row: Row) -> Alert:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    values["kind"] = AlertKind(values["kind"])
    values["state"] = AlertState(values["state"])
    return Alert(**values)
