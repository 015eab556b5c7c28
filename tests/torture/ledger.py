"""Every event sent and every response received by the clients. It outlives the server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum, auto


class Verdict(Enum):
    """Meaning of a response for one event."""

    ACCEPTED = auto()
    DUPLICATE = auto()


@dataclass
class Entry:
    """One event by its idempotency key."""

    payload: str
    sent: int = 0
    #: `(verdict, id)` of every response that acknowledged the event.
    answers: list[tuple[Verdict, str]] = field(default_factory=list)


class Ledger:
    """Entries of all clients of one run."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.acknowledged = 0
        self.unanswered = 0
        #: Responses that no client may ever get, verbatim.
        self.surprises: list[str] = []
        self._waiter: tuple[int, asyncio.Event] | None = None

    def invoke(self, key: str, payload: str) -> None:
        """An event is about to be sent, possibly again."""
        entry = self.entries.setdefault(key, Entry(payload))
        assert entry.payload == payload
        entry.sent += 1

    def answered(self, key: str, verdict: Verdict, event_id: str) -> None:
        """The server acknowledged the event."""
        entry = self.entries[key]
        if not entry.answers:
            self.acknowledged += 1
        entry.answers.append((verdict, event_id))
        if self._waiter is not None and self.acknowledged >= self._waiter[0]:
            self._waiter[1].set()

    async def wait_acknowledged(self, more: int) -> None:
        """Wait until this many more events have been acknowledged."""
        reached = asyncio.Event()
        self._waiter = (self.acknowledged + more, reached)
        await reached.wait()
