"""Writes of contacts that lost a race for the same contact: rolled back and retried.

This happens only on PostgreSQL; SQLite serializes writes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from headrace.store.contract.errors import StoreBusyError

T = TypeVar("T")

#: Attempts at one transaction. Each loser reads at its next attempt what the winner wrote, so only
#: constant contention exhausts them.
TRIES_MAX = 20
_PAUSE_SECONDS = 0.005
_rng = random.SystemRandom()


class ContactRaceError(Exception):
    """Another writer has changed the contact since it was read; roll this attempt back."""


async def write_contacts(transaction: Callable[[], Awaitable[T]]) -> T:
    """Run a transaction that reads contacts and writes by what it found, until it wins the race.

    Raises:
        StoreBusyError: it lost the race every time.
    """
    for attempt in range(TRIES_MAX):
        try:
            return await transaction()
        except ContactRaceError:
            await asyncio.sleep(_rng.uniform(0, attempt * _PAUSE_SECONDS))
    raise StoreBusyError("Too many write the same contacts at once.")
