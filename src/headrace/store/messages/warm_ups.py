"""Warm-up plans of sending domains, and their counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from headrace.domain.messages.guardrails import Facts
from headrace.domain.messages.warm_up import WarmUp, WarmUpChange
from headrace.store.access.audit import write_audit
from headrace.store.contract.messages import Message
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Row, Transaction
from headrace.store.messages.receivers import day_of

_PLAN = "daily_start, days, started_on, day, sent"
GET = sql(f"SELECT {_PLAN} FROM warm_ups WHERE project_id = $1 AND domain = $2")
LOCK = sql(f"SELECT {_PLAN} FROM warm_ups WHERE project_id = $1 AND domain = $2 FOR UPDATE")
LIST = sql(f"SELECT domain, {_PLAN} FROM warm_ups WHERE project_id = $1")
_WRITE = sql(
    f"INSERT INTO warm_ups (project_id, domain, {_PLAN}) VALUES ($1, $2, $3, $4, $5, $6, $7) "
    "ON CONFLICT (project_id, domain) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _PLAN.split(", "))
)
_COUNT = sql("UPDATE warm_ups SET day = $3, sent = $4 WHERE project_id = $1 AND domain = $2")
_REMOVE = sql("DELETE FROM warm_ups WHERE project_id = $1 AND domain = $2")

#: Project and sending domain.
Key = tuple[int, str]


class WarmUps:
    """Plans of all projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, project_id: int, domain: str, now_us: int) -> WarmUp | None:
        """The plan of a domain as of today."""
        row = await self._database.read(lambda tx: tx.row(GET, project_id, domain))
        return None if row is None else _plan(row).on(day_of(now_us))

    async def of_project(self, project_id: int, now_us: int) -> dict[str, WarmUp]:
        """All plans of a project as of today, by the name of the domain."""
        rows = await self._database.read(lambda tx: tx.rows(LIST, project_id))
        return {row[0]: _plan(row[1:]).on(day_of(now_us)) for row in rows}


async def change_warm_up(
    tx: Transaction, project_id: int, domain: str, change: WarmUpChange, now_us: int, actor: str
) -> None:
    """Begin, change or end the plan of a domain; audited."""
    key = (project_id, domain)
    held = await _locked(tx, key)
    plan = change.applied(held, day_of(now_us))
    if plan is None:
        await tx.run(_REMOVE, *key)
    else:
        await tx.run(_WRITE, *key, *(getattr(plan, name) for name in _PLAN.split(", ")))
    detail = {
        "domain": domain,
        "daily_start": None if plan is None else plan.daily_start,
        "days": None if plan is None else plan.days,
    }
    await write_audit(tx, now_us, actor, project_id, "domain.warm_up", detail)


async def remove_warm_up(tx: Transaction, project_id: int, domain: str) -> None:
    """Remove the plan of a domain that is deleted."""
    await tx.run(_REMOVE, project_id, domain)


class WarmUpCounts:
    """Plans that the messages of one transaction are counted in.

    `hold` locks them until the transaction ends: of two workers, the second counts on what the
    first has counted. They are locked in one order and before anything else, to avoid deadlocks.
    """

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._plans: dict[Key, WarmUp] = {}
        self._changed: set[Key] = set()

    async def hold(self, messages: Iterable[Message], now_us: int) -> None:
        """Lock the plans of the domains that messages are sent from."""
        for key in sorted({key for one in messages if (key := _key_of(one)) is not None}):
            held = await _locked(self._tx, key)
            if held is not None:
                self._plans[key] = held.on(day_of(now_us))

    def added_to(self, facts: Facts, message: Message) -> Facts:
        """Facts with the plan that applies; a message counts once, so a retry has none."""
        return _with(facts, message, self._plans.get(_key_of(message) or (0, "")))

    def count(self, message: Message) -> None:
        """Count a message that is handed over for the first time."""
        key = _key_of(message)
        if key is not None and key in self._plans:
            self._plans[key] = self._plans[key].counted()
            self._changed.add(key)

    async def flush(self) -> None:
        """Write the counts."""
        for key in sorted(self._changed):
            plan = self._plans[key]
            await self._tx.run(_COUNT, *key, plan.day, plan.sent)
        self._changed.clear()


async def with_warm_up(tx: Transaction, facts: Facts, message: Message, now_us: int) -> Facts:
    """Facts with the plan that applies, to read."""
    key = _key_of(message)
    row = None if key is None else await tx.row(GET, *key)
    return facts if row is None else _with(facts, message, _plan(row).on(day_of(now_us)))


def is_first(message: Message) -> bool:
    """Whether a message was never handed over; an attempt may have failed before that."""
    return message.subject is None


def _with(facts: Facts, message: Message, plan: WarmUp | None) -> Facts:
    return replace(facts, warm_up=plan) if is_first(message) else facts


def _key_of(message: Message) -> Key | None:
    return None if message.domain is None else (message.project_id, message.domain)


async def _locked(tx: Transaction, key: Key) -> WarmUp | None:
    row = await tx.row(LOCK, *key)
    return None if row is None else _plan(row)


def _plan(row: Row | Sequence[object]) -> WarmUp:
    return WarmUp(**dict(zip(_PLAN.split(", "), row, strict=True)))
