"""Work that waits after a restore until an operator has decided what becomes of it.

A backup contains deliveries, messages and runs as they were when it was taken. Those that were due
between then and the restore were most likely done, which the restored store cannot know. So it is
held: servers accept events, and workers do nothing until it is released.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from headrace.store.access.audit import write_audit
from headrace.store.contract.deliveries import StoreCause
from headrace.store.deliveries.claim_ends import Outcomes, add_dead_letters
from headrace.store.deliveries.unroutable import EXPIRE
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql
from headrace.store.engine.plans import BY_KEYS
from headrace.store.engine.transaction import Database, Transaction

#: Rows of `meta`: that work is held, and when a backup was taken.
HELD, BACKUP = "held", "backup"
#: Reason of messages and notifications that were not sent because of a restore.
RESTORED = "restored"
#: Counts stop here.
COUNTED_MAX = 100_000
#: Deliveries dead-lettered in one transaction.
DELIVERIES_STEP = 1000
_ERROR = "was due before the store was restored from a backup, so it may have been made already"

_GET = sql("SELECT value FROM meta WHERE name = $1")
PUT = sql(
    "INSERT INTO meta (name, value) VALUES ($1, $2) "
    "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
_REMOVE = sql("DELETE FROM meta WHERE name = $1")

_WAITING_MESSAGES = "state IN ('queued', 'deferred', 'sending', 'unknown')"
_DUE = "(due_us <= $1 OR lease_until_us > 0)"
_OPEN_NOTIFICATIONS = "state IN ('queued', 'deferred', 'sending')"
COUNTS = {
    "events": (
        sql("SELECT count(*) FROM (SELECT 1 FROM event_queue LIMIT $1) AS k"),
        sql("SELECT count(*) FROM (SELECT 1 FROM event_retries LIMIT $1) AS k"),
        sql("SELECT count(*) FROM (SELECT 1 FROM automation_inbox LIMIT $1) AS k"),
    ),
    "deliveries": (
        sql(
            "SELECT count(*) FROM (SELECT 1 FROM deliveries "
            "WHERE state IN (0, 2) AND due_us <= $2 LIMIT $1) AS k"
        ),
        sql("SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE state = 1 LIMIT $1) AS k"),
    ),
    "mails": (
        sql(
            "SELECT count(*) FROM (SELECT 1 FROM messages WHERE channel = 'mail' "
            f"AND {_WAITING_MESSAGES} AND (due_us <= $2 OR lease_until_us > 0) LIMIT $1) AS k"
        ),
    ),
    "pushes": (
        sql(
            "SELECT count(*) FROM (SELECT 1 FROM messages WHERE channel = 'push' "
            f"AND {_WAITING_MESSAGES} AND (due_us <= $2 OR lease_until_us > 0) LIMIT $1) AS k"
        ),
        sql(
            "SELECT count(*) FROM (SELECT 1 FROM push_notifications WHERE message_id IS NULL "
            f"AND {_OPEN_NOTIFICATIONS} AND (due_us <= $2 OR lease_until_us > 0) LIMIT $1) AS k"
        ),
    ),
    "runs": (
        sql(
            "SELECT count(*) FROM (SELECT 1 FROM automation_runs WHERE due_us <= $2 LIMIT $1) AS k"
        ),
    ),
    "jobs": (
        sql(
            "SELECT count(*) FROM (SELECT 1 FROM send_jobs "
            "WHERE status IN ('scheduled', 'running') AND due_us <= $2 LIMIT $1) AS k"
        ),
        sql(
            "SELECT count(*) FROM (SELECT 1 FROM push_jobs "
            "WHERE status IN ('scheduled', 'running') AND due_us <= $2 LIMIT $1) AS k"
        ),
        sql("SELECT count(*) FROM (SELECT 1 FROM replays WHERE status = 'running' LIMIT $1) AS k"),
    ),
}

_UNCLAIM = sql(
    "UPDATE deliveries SET state = 2, owner = NULL, lease_until_us = 0, due_us = $1 WHERE state = 1"
)
_DUE_DELIVERIES = sql(
    "SELECT lane, number FROM deliveries WHERE state IN (0, 2) AND due_us <= $1 LIMIT $2"
)
# Without a time to retry: it waits for a person.
_MAILS = sql(
    f"UPDATE messages SET state = 'unknown', reason = '{RESTORED}', rule = NULL, due_us = NULL, "
    f"owner = NULL, lease_until_us = 0 WHERE channel = 'mail' AND {_WAITING_MESSAGES} AND {_DUE}"
)
_PUSHES = sql(
    f"UPDATE messages SET state = 'expired', reason = '{RESTORED}', rule = NULL, due_us = NULL, "
    "finished_us = $2, owner = NULL, lease_until_us = 0 "
    f"WHERE channel = 'push' AND {_WAITING_MESSAGES} AND {_DUE}"
)
_NOTIFICATIONS = sql(
    f"UPDATE push_notifications SET state = 'expired', reason = '{RESTORED}', due_us = NULL, "
    "finished_us = $2, owner = NULL, lease_until_us = 0 "
    f"WHERE {_OPEN_NOTIFICATIONS} AND ({_DUE} OR message_id IN "
    f"(SELECT id FROM messages WHERE channel = 'push' AND reason = '{RESTORED}'))"
)
# Held automations say what becomes of their overdue runs when they are resumed.
_RUNS = sql(
    "UPDATE automations SET overdue = 'skip_sends', overdue_before_us = $1 "
    "WHERE status IN ('active', 'paused') AND coalesce(pause_mode, '') <> 'hold'"
)
_JOBS = (
    sql(
        "UPDATE send_jobs SET status = 'paused', updated_us = $2 "
        "WHERE status IN ('scheduled', 'running') AND due_us <= $1"
    ),
    sql(
        "UPDATE push_jobs SET status = 'stopped', updated_us = $2 "
        "WHERE status IN ('scheduled', 'running') AND due_us <= $1"
    ),
)
_REPLAYS = sql("UPDATE replays SET status = 'stopped', updated_us = $1 WHERE status = 'running'")


class Overdue(StrEnum):
    """What becomes of work that was due before the hold began."""

    #: It is done, perhaps for the second time.
    RUN = "run"
    #: It is kept for a person to decide, and not done.
    SKIP = "skip"


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """Why workers do nothing; times in microseconds."""

    #: What was due before is in doubt.
    held_us: int
    #: When the backup was taken; None: unknown.
    backup_us: int | None = None


class HeldCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Work that was due before the hold began; counts stop at `COUNTED_MAX`."""

    #: Accepted and not processed, those of automations included.
    events: int
    deliveries: int
    mails: int
    pushes: int
    runs: int
    #: Sends to audiences, and replays.
    jobs: int


class HeldWork:
    """Holds the work of a store, and releases it.

    Args:
        outcomes: names new dead letters.
    """

    def __init__(self, database: Database, outcomes: Outcomes) -> None:
        self._database = database
        self._outcomes = outcomes

    async def get(self) -> Hold | None:
        """The hold, None when work is not held."""
        found = await self._database.read(lambda tx: tx.value(_GET, HELD))
        return None if found is None else msgspec.json.decode(found, type=Hold)

    async def hold(self, now_us: int, *, actor: str) -> Hold:
        """Hold the work from now on; one that is held stays as it is.

        Workers read it when they start, so none may run.
        """

        async def work(tx: Transaction) -> Hold:
            found = await tx.value(_GET, HELD)
            if found is not None:
                return msgspec.json.decode(found, type=Hold)
            made = Hold(held_us=now_us)
            await tx.run(PUT, HELD, encoded(made))
            await write_audit(tx, now_us, actor, None, "work.held", {})
            return made

        return await self._database.write(work)

    async def counts(self, hold: Hold) -> HeldCounts:
        """What was due before the hold began."""

        async def read(tx: Transaction) -> HeldCounts:
            found = {}
            for name, statements in COUNTS.items():
                total = 0
                for statement in statements:
                    bounds = (COUNTED_MAX, hold.held_us)[: 2 if "$2" in statement.postgres else 1]
                    total += await tx.value(statement, *bounds)
                found[name] = min(total, COUNTED_MAX)
            return HeldCounts(**found)

        return await self._database.read(read, snapshot=True)

    async def release(
        self, overdue: Overdue, counts: HeldCounts, now_us: int, *, actor: str
    ) -> bool:
        """Let workers go on; False when work is not held.

        With `skip`, what was due before the hold began is not done: mail becomes `unknown`,
        pushes expire, deliveries become dead letters with the cause `restored`, runs go on without
        the sends that they reach late, and jobs stop. An interruption leaves the hold.

        Args:
            counts: for the audit.
        """
        hold = await self.get()
        if hold is None:
            return False
        if overdue is Overdue.SKIP:
            before_us = hold.held_us
            await self._database.write(lambda tx: self._skip(tx, before_us, now_us))
            while await self._database.write(lambda tx: self._dead_letter(tx, before_us, now_us)):
                pass

        async def work(tx: Transaction) -> None:
            await tx.run(_REMOVE, HELD)
            detail = {"overdue": overdue.value, **msgspec.structs.asdict(counts)}
            await write_audit(tx, now_us, actor, None, "work.released", detail)

        await self._database.write(work)
        return True

    async def _skip(self, tx: Transaction, before_us: int, now_us: int) -> None:
        await tx.run(_RUNS, before_us)
        for statement in _JOBS:
            await tx.run(statement, before_us, now_us)
        await tx.run(_REPLAYS, now_us)
        await tx.run(_MAILS, before_us)
        await tx.run(_PUSHES, before_us, now_us)
        await tx.run(_NOTIFICATIONS, before_us, now_us)
        await tx.run(_UNCLAIM, before_us)

    async def _dead_letter(self, tx: Transaction, before_us: int, now_us: int) -> int:
        """Dead-letter some deliveries; returns how many."""
        await tx.run(BY_KEYS)
        due: Sequence[tuple[int, int]] = [
            (lane, number)
            for lane, number in await tx.rows(_DUE_DELIVERIES, before_us, DELIVERIES_STEP)
        ]
        rows = await tx.rows(EXPIRE, *columns_of(sorted(due), 2), now_us, _ERROR)
        dead = [(lane, number, StoreCause.RESTORED.value) for lane, number, _ in rows]
        await add_dead_letters(tx, self._outcomes, sorted(dead), now_us)
        return len(due)


def encoded(hold: Hold) -> str:
    """The value of its row in `meta`."""
    return msgspec.json.encode(hold).decode()
