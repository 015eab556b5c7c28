"""Leadership of named tasks, held by one process at a time through leases."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from headrace.process_names import is_alive
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction

_OWNER = sql("SELECT owner FROM leader_leases WHERE name = $1")
# The row stays when leadership is released: its epoch must not restart.
_TAKE = sql(
    "INSERT INTO leader_leases AS d (name, owner, epoch, lease_until_us) VALUES ($1, $2, 1, $3) "
    "ON CONFLICT (name) DO UPDATE SET owner = $2, lease_until_us = $3, "
    "epoch = d.epoch + CASE WHEN d.owner = $2 THEN 0 ELSE 1 END "
    "WHERE d.owner = ANY($5::text[]) OR d.lease_until_us <= $4 RETURNING epoch"
)
_GIVE_BACK = sql("UPDATE leader_leases SET owner = '', lease_until_us = 0 WHERE owner = $1")

#: Returns the time, inside a transaction.
ReadClock = Callable[[Transaction], Awaitable[int]]


class Leadership:
    """See `headrace.store.contract.processing.ProcessingStore.acquire_leadership`.

    Args:
        read_clock: the clock of the leases.
        is_alive: whether the process that an owner names still runs. A dead owner's leadership is
            taken over at once instead of at the end of its lease.
    """

    def __init__(self, read_clock: ReadClock, is_alive: Callable[[str], bool] = is_alive) -> None:
        self._read_clock = read_clock
        self._is_alive = is_alive

    async def take(self, tx: Transaction, name: str, owner: str, lease_us: int) -> int | None:
        """Take or renew leadership; its epoch, None while another owner's lease runs."""
        now_us = await self._read_clock(tx)
        holder = await tx.value(_OWNER, name)
        may_lose = [owner] if holder is None or self._is_alive(holder) else [owner, holder]
        epoch = await tx.value(_TAKE, name, owner, now_us + lease_us, now_us, may_lose)
        return None if epoch is None else int(epoch)


async def release_leadership(tx: Transaction, owner: str) -> None:
    """Release every leadership of `owner`."""
    await tx.run(_GIVE_BACK, owner)
