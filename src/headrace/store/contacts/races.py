"""Writes of contacts that met a writer of the same contact: undone, and decided again.

It happens on PostgreSQL only; the writes of SQLite come one after the other.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from headrace.store.contract.events import StoreBusyError

T = TypeVar("T")

#: Tries of one transaction. Each loser finds at its next try what the winner wrote, so it takes
#: others without end to use them up.
TRIES_MAX = 20
_PAUSE_SECONDS = 0.005
_rng = random.SystemRandom()


class ContactRaceError(Exception):
    """Somebody else has written the contact since it was read; nothing of this try may stay."""


async def write_contacts(transaction: Callable[[], Awaitable[T]]) -> T:
    """Run a transaction that reads contacts and decides by what it found, until it meets nobody.

    Raises:
        StoreBusyError: others were quicker again and again.
    """
    for attempt in range(TRIES_MAX):
        try:
            return await transaction()
        except ContactRaceError:
            await asyncio.sleep(_rng.uniform(0, attempt * _PAUSE_SECONDS))
    raise StoreBusyError("Too many write the same contacts at once.")
