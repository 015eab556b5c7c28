"""Idempotency keys of events in the commit queue, where several committers run."""

from __future__ import annotations

from headrace.store.contract.commits import Pending
from headrace.store.contract.errors import StoreError

#: An event, its size, and when it was put in, as the commit queue keeps it.
Waiting = tuple[Pending, int, float]


class UnsettledKeys:
    """Holds a repeat back while another committer has the first event with its key.

    Of two events with one key the first is the one that is stored, also when they are about
    different identities and so belong to different committers. Holds no more than the events that
    are in the commit queue. On the event loop only.
    """

    def __init__(self) -> None:
        #: Hash of the key -> committer of the events with it, and the sequence of the last one.
        self._committers: dict[bytes, tuple[int, int]] = {}
        #: Hash of the key -> events of other committers, in order of receipt.
        self._held: dict[bytes, list[Waiting]] = {}

    def holds(self, waiting: Waiting, committer: int) -> bool:
        """Whether an event has to wait; do not queue it then: `settled` returns it.

        Args:
            committer: whose the event is.
        """
        event = waiting[0].event
        key = event.idempotency_hash
        if key is None:
            return False
        first = self._committers.get(key)
        if first is not None and first[0] != committer:
            self._held.setdefault(key, []).append(waiting)
            return True
        self._committers[key] = committer, event.sequence
        return False

    def settled(self, batch: list[Pending]) -> tuple[list[Waiting], list[Waiting]]:
        """What was held because of these events.

        Returns:
            `(repeats, failed)`: repeats of an event that is stored, now to be queued; and repeats
            of one that is not. The latter have the same outcome: stored instead, they would come
            after later events of their identity.
        """
        repeats: list[Waiting] = []
        failed: list[Waiting] = []
        for pending in batch:
            key = pending.event.idempotency_hash
            if key is None:
                continue
            first = self._committers.get(key)
            if first is not None and first[1] == pending.event.sequence:
                del self._committers[key]
            held = self._held.pop(key, None)
            if held is None:
                continue
            if not isinstance(pending.outcome, StoreError):
                repeats += held
                continue
            for waiting in held:
                waiting[0].outcome = pending.outcome
            failed += held
        return repeats, failed

    def take_back(self, put_before: float) -> list[Waiting]:
        """Release and return what was held since before a time."""
        late: list[Waiting] = []
        for key, held in list(self._held.items()):
            late += [waiting for waiting in held if waiting[2] <= put_before]
            kept = [waiting for waiting in held if waiting[2] > put_before]
            if kept:
                self._held[key] = kept
            else:
                del self._held[key]
        return late

    def since(self) -> list[float]:
        """When each event that is held was put in."""
        return [waiting[2] for held in self._held.values() for waiting in held]
