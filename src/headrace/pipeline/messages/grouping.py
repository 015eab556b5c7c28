"""Groups writes of several tasks into one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Grouped(Generic[Item, Result]):
    """Items that arrive during a transaction wait for the next. On the event loop only.

    The number of tasks bounds how many wait: each waits for its own result.

    Args:
        write: writes a group; results by the key of the item.
        key: what names an item in the results.
        most: items of one transaction.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Awaitable[Mapping[str, Result]]],
        key: Callable[[Item], str],
        most: int = 64,
    ) -> None:
        self._write = write
        self._key = key
        self._most = most
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Result:
        """Write one item; its result once the transaction is committed.

        Raises:
            StoreError: as the write raises it; to all of the group.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            try:
                results = await self._write([item for item, _ in group])
            except asyncio.CancelledError:
                for _, future in group:
                    future.cancel()
                raise
            except Exception as error:  # noqa: BLE001 - raised to the callers
                for _, future in group:
                    if not future.done():
                        future.set_exception(error)
            else:
                for item, future in group:
                    if not future.done():
                        future.set_result(results[self._key(item)])
