"""Named duties that one process at a time has, by leases of the database's clock."""

from __future__ import annotations

from collections.abc import Callable

from headrace.domain.processes import is_alive
from headrace.store.postgres.database import Connection
from headrace.store.postgres.lanes import AskClock, database_clock

# The row stays when a duty is given back: its epoch must not begin again.
_TAKE = (
    "INSERT INTO duties AS d (name, owner, epoch, lease_until_us) VALUES ($1, $2, 1, $3) "
    "ON CONFLICT (name) DO UPDATE SET owner = $2, lease_until_us = $3, "
    "epoch = d.epoch + CASE WHEN d.owner = $2 THEN 0 ELSE 1 END "
    "WHERE d.owner = ANY($5) OR d.lease_until_us <= $4 RETURNING d.epoch"
)
_GIVE_BACK = "UPDATE duties SET owner = '', lease_until_us = 0 WHERE owner = $1"


class Duties:
    """See `headrace.store.contract_processing.ProcessingStore.take_duty`."""

    def __init__(
        self,
        ask_clock: AskClock = database_clock,
        is_alive: Callable[[str], bool] = is_alive,
    ) -> None:
        self._ask_clock = ask_clock
        self._is_alive = is_alive

    async def take(
        self, connection: Connection, name: str, owner: str, lease_us: int
    ) -> int | None:
        """Take or renew a duty; its epoch, None while another owner's lease runs."""
        now_us = await self._ask_clock(connection)
        holder = await connection.fetchval("SELECT owner FROM duties WHERE name = $1", name)
        may_lose = [owner] if holder is None or self._is_alive(holder) else [owner, holder]
        until_us = now_us + lease_us
        epoch = await connection.fetchval(_TAKE, name, owner, until_us, now_us, may_lose)
        return None if epoch is None else int(epoch)


async def give_back_duties(connection: Connection, owner: str) -> None:
    """Let others have the duties of `owner` at once."""
    await connection.execute(_GIVE_BACK, owner)
