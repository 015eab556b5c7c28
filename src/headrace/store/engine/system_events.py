"""Events of the system, written in the transaction of the change that causes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from headrace.store.contract.processing import SystemEvent
from headrace.store.engine.transaction import Transaction


class SystemEvents(Protocol):
    """Writes system events. Each store has its own: they enter the queue of all events."""

    async def insert(self, tx: Transaction, events: Sequence[SystemEvent], now_us: int) -> None:
        """Insert the events and queue them for the workers."""
        ...
