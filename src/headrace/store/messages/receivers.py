"""What receivers do with mail of a sending domain: daily figures, and breakers."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.domain.messages.kinds import MessageStatus
from headrace.domain.messages.receiver_breaker import Acceptance, ReceiverBreaker, Rejection, after
from headrace.domain.timestamps import to_text
from headrace.store.contract.messages import Message
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Row, Transaction

#: Days that figures are kept.
FIGURE_DAYS = 400
RECEIVERS_MAX = 50
BREAKERS_MAX = 200
_DAY_US = 86_400_000_000

_FIGURES = ("sent", "delivered", "bounced", "complained", "blocked")
_SUMS = ", ".join(f"sum({name})" for name in _FIGURES)
_COUNT = sql(
    f"INSERT INTO mail_figures (project_id, domain, day, receiver, {', '.join(_FIGURES)}) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) "
    "ON CONFLICT (project_id, domain, day, receiver) DO UPDATE SET "
    + ", ".join(f"{name} = mail_figures.{name} + excluded.{name}" for name in _FIGURES)
)
_SINCE = "FROM mail_figures WHERE project_id = $1 AND domain = $2 AND day >= $3"
BY_DAY = sql(f"SELECT day, {_SUMS} {_SINCE} GROUP BY day ORDER BY day DESC LIMIT {FIGURE_DAYS}")
BY_RECEIVER = sql(
    f"SELECT receiver, {_SUMS} {_SINCE} GROUP BY receiver "
    f"ORDER BY sum(sent) + sum(bounced) + sum(blocked) DESC, receiver LIMIT {RECEIVERS_MAX}"
)
BY_DOMAIN = sql(
    f"SELECT domain, {_SUMS} FROM mail_figures WHERE project_id = $1 AND day >= $2 "
    "GROUP BY domain ORDER BY domain LIMIT 100"
)
OLD_FIGURES = sql(
    "SELECT project_id, domain, day, receiver FROM mail_figures WHERE day < $1 LIMIT $2"
)
_REMOVE = sql(
    "DELETE FROM mail_figures WHERE project_id = $1 AND domain = $2 AND day = $3 AND receiver = $4"
)
_STATE = (
    "rejections, openings, opened_us, until_us, probe_id, "
    "message_id, code, status, diagnostic, at_us, reported, accepted"
)
_BREAKER = sql(
    f"SELECT {_STATE} FROM receiver_breakers "
    "WHERE project_id = $1 AND domain = $2 AND receiver = $3"
)
BREAKERS = sql(
    f"SELECT domain, receiver, {_STATE} FROM receiver_breakers "
    "WHERE project_id = $1 AND opened_us IS NOT NULL ORDER BY domain, receiver "
    f"LIMIT {BREAKERS_MAX}"
)
_WRITE = sql(
    f"INSERT INTO receiver_breakers (project_id, domain, receiver, {_STATE}) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) "
    "ON CONFLICT (project_id, domain, receiver) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _STATE.split(", "))
)
_CLOSE = sql(
    "DELETE FROM receiver_breakers WHERE project_id = $1 AND domain = $2 AND receiver = $3"
)
_PROBE = sql(
    "UPDATE receiver_breakers SET probe_id = $4, until_us = $5 "
    "WHERE project_id = $1 AND domain = $2 AND receiver = $3 AND until_us <= $6"
)

#: Project, sending domain, receiver.
Key = tuple[int, str, str]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Mail of a time; of one day, receiver or domain."""

    #: What the figures are of.
    name: str
    #: Accepted by the relay.
    sent: int = 0
    delivered: int = 0
    bounced: int = 0
    complained: int = 0
    #: Rejected because of the sender.
    blocked: int = 0

    @property
    def bounce_rate(self) -> float:
        """Share of bounces, from 0 to 1; 0 without mail."""
        return self.bounced / max(self.sent + self.bounced, 1)

    @property
    def complaint_rate(self) -> float:
        """Complaints by mail that was accepted."""
        return min(self.complained / max(self.sent, 1), 1.0)


class OpenBreaker(msgspec.Struct, frozen=True, kw_only=True):
    """A receiver to which mail of a sending domain waits."""

    domain: str
    receiver: str
    breaker: ReceiverBreaker


class Receivers:
    """Figures and breakers of all projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def by_day(self, project_id: int, domain: str, since_us: int) -> Sequence[Figures]:
        """Figures of the days (UTC) from a time on, newest first; days without mail are absent."""
        key = (project_id, domain, day_of(since_us))
        return _figures(await self._database.read(lambda tx: tx.rows(BY_DAY, *key)))

    async def by_receiver(self, project_id: int, domain: str, since_us: int) -> Sequence[Figures]:
        """The same by receiving domain, the `RECEIVERS_MAX` with most mail."""
        key = (project_id, domain, day_of(since_us))
        return _figures(await self._database.read(lambda tx: tx.rows(BY_RECEIVER, *key)))

    async def by_domain(self, project_id: int, since_us: int) -> Sequence[Figures]:
        """The same by sending domain."""
        key = (project_id, day_of(since_us))
        return _figures(await self._database.read(lambda tx: tx.rows(BY_DOMAIN, *key)))

    async def open_breakers(self, project_id: int) -> Sequence[OpenBreaker]:
        """Receivers that reject a sending domain of the project."""
        rows = await self._database.read(lambda tx: tx.rows(BREAKERS, project_id))
        return [
            OpenBreaker(domain=row[0], receiver=row[1], breaker=_breaker(row[2:])) for row in rows
        ]

    async def prune(self, now_us: int, limit: int) -> int:
        """Remove figures that are too old, up to `limit`; returns how many."""
        before = day_of(now_us - FIGURE_DAYS * _DAY_US)
        rows = await self._database.read(lambda tx: tx.rows(OLD_FIGURES, before, limit))
        if not rows:
            return 0

        async def work(tx: Transaction) -> int:
            for row in rows:
                await tx.run(_REMOVE, *row)
            return len(rows)

        return await self._database.write(work)


class Results:
    """Results of one transaction, written together and in one order by `flush`.

    Rows of two transactions are then never locked in different orders.
    """

    def __init__(self, tx: Transaction, now_us: int) -> None:
        self._tx = tx
        self._now_us = now_us
        self._figures: dict[tuple[int, str, str, str], list[int]] = {}
        self._answers: dict[Key, list[Rejection | Acceptance]] = {}

    def count(self, message: Message, state: MessageStatus) -> None:
        """Count a message that reached a state, on the day it was handed over."""
        name = _COUNTED.get(state)
        key = key_of_receiver(message)
        if name is None or key is None:
            return
        project_id, domain, receiver = key
        day = day_of(message.sent_us or self._now_us)
        counts = self._figures.setdefault((project_id, domain, day, receiver), [0] * len(_FIGURES))
        counts[_FIGURES.index(name)] += 1

    def answered(self, message: Message, answer: Rejection | Acceptance) -> None:
        """Note a rejection of the sender, or an accepted mail."""
        key = key_of_receiver(message)
        if key is not None:
            self._answers.setdefault(key, []).append(answer)

    async def flush(self) -> None:
        """Write all of it."""
        for key, answers in sorted(self._answers.items(), key=lambda pair: pair[0]):
            held = await read_breaker(self._tx, key)
            if held is not None or any(isinstance(one, Rejection) for one in answers):
                await _write_breaker(self._tx, key, after(held, answers, self._now_us))
        for figure, counts in sorted(self._figures.items()):
            await self._tx.run(_COUNT, *figure, *counts)
        self._answers, self._figures = {}, {}


_COUNTED = {
    MessageStatus.SENT: "sent",
    MessageStatus.DELIVERED: "delivered",
    MessageStatus.BOUNCED: "bounced",
    MessageStatus.COMPLAINED: "complained",
    MessageStatus.BLOCKED: "blocked",
}


async def count_result(
    tx: Transaction,
    message: Message,
    state: MessageStatus,
    now_us: int,
    answer: Rejection | Acceptance | None = None,
) -> None:
    """Count one message that reached a state, and note what the receiver says of the sender."""
    results = Results(tx, now_us)
    results.count(message, state)
    if answer is not None:
        results.answered(message, answer)
    await results.flush()


def key_of_receiver(message: Message) -> Key | None:
    """Project, sending domain and receiving domain; None without address or sender."""
    if message.address is None or message.domain is None:
        return None
    return message.project_id, message.domain, message.address.rpartition("@")[2]


async def read_breaker(tx: Transaction, key: Key) -> ReceiverBreaker | None:
    """The breaker of a receiver; None when it accepts mail."""
    row = await tx.row(_BREAKER, *key)
    return None if row is None else _breaker(row)


async def begin_probe(
    tx: Transaction, key: Key, message_id: str, until_us: int, now_us: int
) -> bool:
    """Let a message probe; False when another one does."""
    return await tx.run(_PROBE, *key, message_id, until_us, now_us) > 0


async def _write_breaker(tx: Transaction, key: Key, breaker: ReceiverBreaker | None) -> None:
    if breaker is None:
        await tx.run(_CLOSE, *key)
        return
    last = breaker.rejection
    await tx.run(
        _WRITE,
        *key,
        *(breaker.rejections, breaker.openings, breaker.opened_us, breaker.until_us),
        *(breaker.probe_id, last.message_id, last.code, last.status, last.diagnostic),
        *(breaker.at_us, breaker.reported, breaker.accepted),
    )


def _breaker(row: Row) -> ReceiverBreaker:
    rejections, openings, opened_us, until_us, probe_id, message_id, *more = row
    code, status, diagnostic, at_us, reported, accepted = more
    return ReceiverBreaker(
        rejections=rejections,
        openings=openings,
        opened_us=opened_us,
        until_us=until_us,
        probe_id=probe_id,
        rejection=Rejection(message_id=message_id, code=code, status=status, diagnostic=diagnostic),
        at_us=at_us,
        reported=reported,
        accepted=accepted,
    )


def _figures(rows: Sequence[Row]) -> list[Figures]:
    return [
        Figures(name=row[0], **dict(zip(_FIGURES, map(int, row[1:]), strict=True))) for row in rows
    ]


def day_of(at_us: int) -> str:
    """The day in UTC: `2026-06-08`."""
    return to_text(at_us)[:10]
