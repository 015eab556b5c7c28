"""Claims events and checks that claims still hold, inside a transaction.

Only the leader of `processing` claims, so events of one identity are processed in order of receipt
whatever their lane; the lane is stored for stores where several workers share the queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import apsw
from msgspec.structs import replace

from headrace.store.contract.processing import CLAIMED_CHARACTERS_MAX, Claimed

#: Due retries that one claim returns to the queue.
RETRIES_MAX = 64
#: Projects that share one claim.
PROJECTS_MAX = 64

_COLUMNS = (
    "e.sequence, e.id, e.project_id, e.lane, e.event, e.contact_id, e.external_id, e.email, "
    "e.email_original, e.occurred_us, e.received_us, e.source, w.attempt, w.crashes"
)
_CANDIDATES = (
    "SELECT sequence, crashes FROM event_queue WHERE project_id = ? AND lease_until_us = 0 "
    "ORDER BY sequence LIMIT ?"
)
# These are not processed: their payloads are not needed.
_HELD = (
    f"SELECT {_COLUMNS}, '', w.owner "
    # The hint keeps the scan on the small table.
    "FROM event_queue w CROSS JOIN events e ON e.sequence = w.sequence WHERE w.owner IS NOT "
    "NULL LIMIT ?"
)
_NEXT_PROJECT = (
    "SELECT project_id FROM event_queue WHERE project_id > ? ORDER BY project_id LIMIT 1"
)
_TAKE = (
    "UPDATE event_queue SET attempt = attempt + 1, lease_until_us = ?, owner = ? "
    "WHERE project_id = ? AND sequence BETWEEN ? AND ? AND lease_until_us = 0"
)
_TAKEN = (
    f"SELECT {_COLUMNS}, e.payload FROM event_queue w JOIN events e ON e.sequence = w.sequence "
    "WHERE w.project_id = ? AND w.sequence BETWEEN ? AND ? AND w.owner = ? ORDER BY w.sequence"
)


def anything_due(connection: apsw.Connection, now_us: int, after: int = 0) -> bool:
    """Whether a claim would find something; `after` as for `claim`."""
    for project_id in projects_with_work(connection, after):
        if connection.execute(_CANDIDATES, (project_id, 1)).fetchone():
            return True
    due = "SELECT 1 FROM event_retries WHERE due_us <= ? LIMIT 1"
    return connection.execute(due, (now_us,)).fetchone() is not None


def projects_with_work(connection: apsw.Connection, after: int = 0) -> list[int]:
    """Projects that have events waiting, each found by one seek in the primary key.

    They are listed from the one after `after`, wrapping around at the end.
    """
    found: list[int] = []
    last, turned = after, False
    while len(found) < PROJECTS_MAX:
        row: Any = connection.execute(_NEXT_PROJECT, (last,)).fetchone()
        if row is None and not turned:
            last, turned = 0, True
            continue
        if row is None or (turned and row[0] > after):
            break
        last = int(row[0])
        found.append(last)
    return found


def claim(
    connection: apsw.Connection,
    owner: str,
    limit: int,
    *,
    now_us: int,
    lease_us: int,
    after: int = 0,
) -> list[Claimed]:
    """Claim up to `limit` events, an equal share of each project that has some.

    An event that a worker crashed on is claimed alone, so that a second crash identifies it. A
    batch ends before such an event, which then begins the next one.

    Args:
        after: the project that was served last; those after it are next.
    """
    _requeue_retries(connection, now_us)
    projects = projects_with_work(connection, after)
    claimed: list[Claimed] = []
    room = CLAIMED_CHARACTERS_MAX
    for index, project_id in enumerate(projects):
        share = max(1, (limit - len(claimed)) // (len(projects) - index))
        rows: list[Any] = connection.execute(_CANDIDATES, (project_id, share)).fetchall()
        if not rows:
            continue
        suspect = rows[0][1] > 0
        if suspect and claimed:
            break
        wanted = [rows[0][0]] if suspect else _before_suspects(rows)
        taken = _take(connection, owner, project_id, wanted, now_us + lease_us, room)
        claimed += taken
        room -= sum(len(event.payload) for event in taken)
        if suspect or len(claimed) >= limit or room <= 0:
            break
    return claimed


def _before_suspects(rows: Sequence[tuple[int, int]]) -> list[int]:
    return [sequence for sequence, _ in takewhile(lambda row: row[1] == 0, rows)]


def _take(
    connection: apsw.Connection,
    owner: str,
    project_id: int,
    wanted: list[int],
    lease_until_us: int,
    room: int,
) -> list[Claimed]:
    """Claim `wanted` events, up to the one that fills the room for payloads."""
    first, last = wanted[0], wanted[-1]
    connection.execute(_TAKE, (lease_until_us, owner, project_id, first, last))
    fresh = set(wanted)
    taken: list[Claimed] = []
    rows: Any = connection.execute(_TAKEN, (project_id, first, last, owner))
    for row in rows:
        # Some of them may have been held by the owner before.
        if row[0] in fresh:
            taken.append(Claimed(*row))
            room -= len(row[-1])
            if room <= 0:
                break
    if len(taken) < len(wanted):
        _requeue(connection, project_id, wanted[len(taken) :])
    return taken


def _requeue(connection: apsw.Connection, project_id: int, sequences: Sequence[int]) -> None:
    """Return events to the queue, as if they had not been claimed."""
    connection.executemany(
        "UPDATE event_queue SET attempt = attempt - 1, lease_until_us = 0, owner = NULL "
        "WHERE project_id = ? AND sequence = ?",
        [(project_id, sequence) for sequence in sequences],
    )


def _requeue_retries(connection: apsw.Connection, now_us: int) -> None:
    due = connection.execute(
        "SELECT sequence FROM event_retries WHERE due_us <= ? ORDER BY due_us LIMIT ?",
        (now_us, RETRIES_MAX),
    ).fetchall()
    for row in due:
        connection.execute(
            "INSERT INTO event_queue (project_id, sequence, lane, due_us, attempt, crashes) "
            "SELECT project_id, sequence, lane, due_us, attempt, crashes FROM event_retries "
            "WHERE sequence = ?",
            row,
        )
        connection.execute("DELETE FROM event_retries WHERE sequence = ?", row)


def still_held(connection: apsw.Connection, owner: str, batch: Sequence[Claimed]) -> list[Claimed]:
    """Claims of the batch that still hold: same owner, same attempt."""
    held: dict[int, int] = {}
    for project_id, (first, last) in _spans(batch).items():
        rows: Any = connection.execute(
            "SELECT sequence, attempt FROM event_queue "
            "WHERE project_id = ? AND sequence BETWEEN ? AND ? AND owner = ?",
            (project_id, first, last, owner),
        )
        held.update(rows)
    return [claimed for claimed in batch if held.get(claimed.sequence) == claimed.attempt]


def drop(connection: apsw.Connection, owner: str, batch: Sequence[Claimed]) -> None:
    """Remove finished events from the queue; `batch` is what `still_held` returned."""
    for project_id, (first, last) in _spans(batch).items():
        count = sum(claimed.project_id == project_id for claimed in batch)
        held: Any = connection.execute(
            "SELECT count(*) FROM event_queue "
            "WHERE project_id = ? AND sequence BETWEEN ? AND ? AND owner = ?",
            (project_id, first, last, owner),
        ).fetchone()
        if held[0] == count:
            connection.execute(
                "DELETE FROM event_queue WHERE project_id = ? AND sequence BETWEEN ? AND ? AND "
                "owner = ?",
                (project_id, first, last, owner),
            )
            continue
        # Part of the claim is not in the batch: it failed and is handled separately.
        connection.executemany(
            "DELETE FROM event_queue WHERE project_id = ? AND sequence = ? AND owner = ?",
            [(project_id, c.sequence, owner) for c in batch if c.project_id == project_id],
        )


def _spans(batch: Sequence[Claimed]) -> dict[int, tuple[int, int]]:
    """Project -> first and last sequence."""
    spans: dict[int, tuple[int, int]] = {}
    for claimed in batch:
        first, last = spans.get(claimed.project_id, (claimed.sequence, claimed.sequence))
        spans[claimed.project_id] = min(first, claimed.sequence), max(last, claimed.sequence)
    return spans


def give_back(connection: apsw.Connection, owner: str) -> int:
    """Free every claim of an owner that stops, without counting the attempts."""
    connection.execute(
        "UPDATE event_queue SET attempt = attempt - 1, lease_until_us = 0, owner = NULL WHERE "
        "owner = ?",
        (owner,),
    )
    return connection.changes()


def take_back(
    connection: apsw.Connection, owner: str, limit: int
) -> tuple[list[Claimed], list[Claimed]]:
    """Free all claims: those of others count a crash each, the owner's own do not.

    Returns:
        `(others, own)`, together at most `limit`.
    """
    rows: list[Any] = connection.execute(_HELD, (limit,)).fetchall()
    others = [
        replace(held, crashes=held.crashes + 1)
        for held in (Claimed(*row[:-1]) for row in rows if row[-1] != owner)
    ]
    own = [
        replace(held, attempt=held.attempt - 1)
        for held in (Claimed(*row[:-1]) for row in rows if row[-1] == owner)
    ]
    connection.executemany(
        "UPDATE event_queue SET attempt = ?, crashes = ?, lease_until_us = 0, owner = NULL "
        "WHERE project_id = ? AND sequence = ?",
        [(c.attempt, c.crashes, c.project_id, c.sequence) for c in (*others, *own)],
    )
    return others, own
