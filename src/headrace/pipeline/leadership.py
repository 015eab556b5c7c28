"""Leadership: for work that one process at a time may do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

#: Takes or renews a leadership: its name, the owner, the length of the lease in microseconds.
#: Returns its epoch, None while another owner's lease runs.
AcquireLeadership = Callable[[str, str, int], Awaitable[int | None]]


class Leadership:
    """A leadership that this process takes, keeps and may lose.

    Args:
        owner: name of this process, see `headrace.process_names`.
        lease_s: a process that does not renew for so long loses it.
        clock_us: microseconds of any clock.
        renew_s: how often the lease is renewed; a third of it by default.
    """

    def __init__(
        self,
        acquire: AcquireLeadership,
        name: str,
        *,
        owner: str,
        lease_s: float,
        clock_us: Callable[[], int],
        renew_s: float | None = None,
    ) -> None:
        self._acquire = acquire
        self._name = name
        self._owner = owner
        self._lease_us = int(lease_s * 1_000_000)
        self._renew_us = self._lease_us // 3 if renew_s is None else int(renew_s * 1_000_000)
        self._clock_us = clock_us
        self._epoch: int | None = None
        self._renew_at_us = 0

    async def epoch(self) -> int | None:
        """The epoch of this process as the leader, None while another one leads.

        The store is asked only when the lease is to be renewed.

        Raises:
            StoreError: the store cannot say.
        """
        now_us = self._clock_us()
        if self._epoch is None or now_us >= self._renew_at_us:
            self._epoch = await self._acquire(self._name, self._owner, self._lease_us)
            self._renew_at_us = now_us + self._renew_us
        return self._epoch

    async def is_held(self) -> bool:
        """Whether this process leads.

        Raises:
            StoreError: the store cannot say.
        """
        return await self.epoch() is not None

    def doubt(self) -> None:
        """Ask the store at the next call."""
        self._epoch = None
