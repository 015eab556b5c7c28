"""SQL of the queue of deliveries: claiming, renewing, giving back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from headrace.domain.deliveries.pace import Pace
from headrace.domain.events.event import StoredEvent
from headrace.domain.ids import lane_of_id
from headrace.store.contract.deliveries import (
    ClaimedDelivery,
    ClaimRequest,
    SubscriberKind,
    SubscriberQueue,
)
from headrace.store.contract.processing import LEASE_US
from headrace.store.deliveries.endings import ClaimedRow
from headrace.store.deliveries.subscriber_rows import (
    TARGET_COLUMNS,
    due_within,
    pace_of,
    set_breakers,
    set_paces,
    target_of,
)
from headrace.store.engine.columns import columns_of
from headrace.store.engine.postgres.database import Connection
from headrace.store.engine.postgres.transaction import PostgresTransaction
from headrace.store.events.stored_events import COLUMNS, stored_event
from headrace.store.queues.postgres.due_index import Key, QueueKey

_QUEUES = (
    "SELECT id, kind, enabled AND paused_us IS NULL, breaker, resume_per_second, resume_from_us "
    "FROM subscribers WHERE id = ANY($1::text[])"
)
_SUBSCRIBERS = (
    f"SELECT id, breaker, resume_per_second, resume_from_us, {TARGET_COLUMNS} "
    "FROM subscribers WHERE id = ANY($1::text[]) AND enabled AND paused_us IS NULL"
)
_NAMED = "FROM unnest($1::smallint[], $2::bigint[]) AS k (lane, number)"
# Rows are found by their key: `state + 0` keeps the planner from the partial indexes of waiting and
# held rows, which keep dead rows for as long as a snapshot is open.
#
# If two workers both believe they hold a lane, the second waits for the first and then finds the
# row in a different state.
CLAIM = f"""
UPDATE deliveries AS d
SET state = 1, attempt = d.attempt + 1, claims = d.claims + 1, owner = $3, lease_until_us = $4
{_NAMED}
WHERE d.lane = k.lane AND d.number = k.number AND d.state + 0 IN (0, 2) AND d.due_us <= $5
RETURNING d.lane, d.number, d.id, d.project_id, d.subscriber_id, d.attempt, d.claims, d.crashes,
    d.sequence
"""
_HELD = "FROM unnest($1::smallint[], $2::bigint[], $3::integer[]) AS k (lane, number, claim)"
_OURS = "d.lane = k.lane AND d.number = k.number AND d.claims = k.claim AND d.owner = $4"
RENEW = (
    f"UPDATE deliveries AS d SET lease_until_us = $5 {_HELD} "
    f"WHERE {_OURS} AND d.state + 0 = 1 RETURNING d.number"
)
# A delivery that was never attempted is pending again.
_AS_BEFORE = (
    "state = CASE WHEN attempt > 1 THEN 2 ELSE 0 END, attempt = attempt - 1, owner = NULL, "
    "lease_until_us = 0"
)
GIVE_BACK = (
    f"UPDATE deliveries AS d SET {_AS_BEFORE}, due_us = $5 {_HELD} "
    f"WHERE {_OURS} AND d.state + 0 = 1 RETURNING d.number"
)
# At the end of a worker: in all lanes it claimed in, including those it no longer holds.
_GIVE_BACK_ALL = (
    f"UPDATE deliveries SET {_AS_BEFORE}, due_us = $2 "
    "WHERE state = 1 AND owner = $1 RETURNING number"
)

EVENTS = (
    "SELECT e.lane, "
    f"{COLUMNS} FROM unnest($1::smallint[], $2::bigint[]) AS k (lane, sequence) "
    "JOIN stored_events e ON e.lane = k.lane AND e.sequence = k.sequence"
)

#: A request and the deliveries to claim for it.
ClaimCandidates = tuple[ClaimRequest, list[Key]]


class SubscriberChangedError(Exception):
    """Another worker changed breakers or paces; `args[0]` holds the ids of their subscribers."""


class Claims(msgspec.Struct, frozen=True):
    """The result of a claim."""

    rows: list[ClaimedRow]
    #: By lane and sequence; events that still exist.
    events: dict[tuple[int, int], StoredEvent]
    #: Requests whose subscriber has changed since its queue was read.
    skipped: list[ClaimCandidates]


async def queues_of(
    connection: Connection,
    found: Sequence[tuple[QueueKey, int]],
    handlers: Collection[str],
    now_us: int,
) -> tuple[list[SubscriberQueue], list[QueueKey]]:
    """Split `found` into queues to serve and those whose subscriber is deleted."""
    if not found:
        return [], []
    ids = sorted({name for (name, _), _ in found})
    rows = await connection.fetch(_QUEUES, ids)
    subscribers = {name: rest for name, *rest in rows}
    queues, removed = [], []
    for (name, project_id), due in found:
        if name not in subscribers:
            removed.append((name, project_id))
            continue
        kind, served, breaker, *pace = subscribers[name]
        count = due_within(pace_of(*pace), due, now_us)
        if count and served and (kind == SubscriberKind.WEBHOOK or name in handlers):
            queues.append(SubscriberQueue(name, project_id, SubscriberKind(kind), breaker, count))
    return queues, removed


async def claim(
    connection: Connection, owner: str, candidates: Sequence[ClaimCandidates], now_us: int
) -> Claims:
    """Claim in the order of `candidates`.

    Raises:
        SubscriberChangedError: the transaction must not be committed.
    """
    wanted = sorted({request.subscriber_id for request, _ in candidates})
    found = {name: rest for name, *rest in await connection.fetch(_SUBSCRIBERS, wanted)}
    valid, skipped = _split_changed(candidates, {name: held[0] for name, held in found.items()})
    paces = {name: pace_of(*held[1:3]) for name, held in found.items()}
    valid, later = _within_paces(valid, paces, now_us)
    keys = [(key.lane, key.number) for _, keys in valid for key in keys]
    values = columns_of(sorted(keys), 2)
    rows = await connection.fetch(CLAIM, *values, owner, now_us + LEASE_US, now_us)
    claimed: dict[tuple[int, int], Any] = {(row[0], row[1]): row for row in rows}
    await _change_breakers(connection, [w for w, keys in valid if _any_of(claimed, keys)])
    await _use_paces(connection, paces, Counter(row[4] for row in rows), now_us)
    made = [
        ClaimedRow(*[*claimed[key], target_of(found[claimed[key][4]][3:], now_us)])
        for key in keys
        if key in claimed
    ]
    events = sorted({(row.lane, row.sequence) for row in made})
    return Claims(made, await _events_of(connection, events), skipped + later)


async def _events_of(
    connection: Connection, keys: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], StoredEvent]:
    if not keys:
        return {}
    rows = await connection.fetch(EVENTS, *columns_of(keys, 2))
    events = ((row[0], stored_event(row[1:])) for row in rows)
    return {(lane, event.sequence): event for lane, event in events}


def _split_changed(
    candidates: Sequence[ClaimCandidates], breakers: dict[str, str | None]
) -> tuple[list[ClaimCandidates], list[ClaimCandidates]]:
    """Split off requests whose subscriber was changed, disabled or deleted."""
    valid: list[ClaimCandidates] = []
    skipped: list[ClaimCandidates] = []
    probed: set[str] = set()
    for request, keys in candidates:
        name, change = request.subscriber_id, request.breaker
        holds = name in breakers and breakers[name] == change.before and name not in probed
        (valid if holds else skipped).append((request, keys))
        if holds and change.before != change.after:
            probed.add(name)
    return valid, skipped


def _within_paces(
    candidates: Sequence[ClaimCandidates], paces: dict[str, Pace | None], now_us: int
) -> tuple[list[ClaimCandidates], list[ClaimCandidates]]:
    """Split off what a pace does not allow yet."""
    within: list[ClaimCandidates] = []
    later: list[ClaimCandidates] = []
    for request, keys in candidates:
        count = due_within(paces[request.subscriber_id], len(keys), now_us)
        within.append((request, keys[:count]))
        if count < len(keys):
            later.append((request, keys[count:]))
    return within, later


def _any_of(claimed: dict[tuple[int, int], Any], keys: Sequence[Key]) -> bool:
    return any((key.lane, key.number) in claimed for key in keys)


async def _change_breakers(connection: Connection, requests: Sequence[ClaimRequest]) -> None:
    changes = [request.breaker for request in requests]
    lost = await set_breakers(PostgresTransaction(connection), changes)
    if lost:
        raise SubscriberChangedError(lost)


async def _use_paces(
    connection: Connection,
    paces: dict[str, Pace | None],
    counts: Mapping[str, int],
    now_us: int,
) -> None:
    changes = [
        (name, pace.from_us, pace.after(counts[name], now_us).from_us)
        for name, pace in paces.items()
        if pace is not None and counts[name]
    ]
    lost = await set_paces(PostgresTransaction(connection), changes)
    if lost:
        raise SubscriberChangedError(lost)


async def renew(
    connection: Connection, owner: str, claims: Sequence[ClaimedDelivery], now_us: int
) -> frozenset[int]:
    """See `Deliveries.renew`."""
    return await _run_fenced(connection, RENEW, owner, claims, now_us + LEASE_US)


async def give_back(
    connection: Connection,
    owner: str,
    claims: Sequence[ClaimedDelivery] | None,
    now_us: int,
) -> int:
    """See `Deliveries.release`."""
    if claims is None:
        return len(await connection.fetch(_GIVE_BACK_ALL, owner, now_us))
    return len(await _run_fenced(connection, GIVE_BACK, owner, claims, now_us))


async def _run_fenced(
    connection: Connection,
    statement: str,
    owner: str,
    claims: Sequence[ClaimedDelivery],
    time_us: int,
) -> frozenset[int]:
    """Run a fenced statement for all claims; returns the numbers of those that it changed."""
    names = sorted((lane_of_id(one.event.id), one.number, one.claim) for one in claims)
    rows = await connection.fetch(statement, *columns_of(names, 3), owner, time_us)
    return frozenset(number for (number,) in rows)
