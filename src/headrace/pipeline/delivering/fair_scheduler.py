"""Which waiting deliveries go next: projects take turns, and in each of them its subscribers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

#: Limit of idle subscribers that are remembered; past it, the oldest is forgotten.
REMEMBERED_MAX = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class FairnessLimits:
    """How many deliveries may be in flight at a time."""

    total: int = 128
    #: Of those, reserved for subscribers with none in flight: slow ones cannot take them all.
    reserved: int = 32
    #: One subscriber's share begins with this many, and grows by one with each success...
    share_first: int = 2
    #: ...up to this.
    share_max: int = 8


class Candidate(msgspec.Struct, frozen=True):
    """Due deliveries of one subscriber and project."""

    subscriber_id: str
    project_id: int
    due: int
    #: Whether only one may go, to probe whether the subscriber has recovered.
    probe: bool


class _Share:
    __slots__ = ("in_flight", "served", "width")

    def __init__(self, width: int) -> None:
        self.width = width
        self.in_flight = 0
        #: When it was last served, as a sequence; small: long ago.
        self.served = 0


class FairScheduler:
    """Tracks deliveries in flight, and assigns free slots."""

    def __init__(self, limits: FairnessLimits) -> None:
        self._limits = limits
        self._shares: dict[str, _Share] = {}
        self._projects: dict[int, int] = {}
        self._projects_served: dict[int, int] = {}
        self._clock = 0
        self.in_flight = 0

    @property
    def free(self) -> int:
        """How many more deliveries may start now."""
        return self._limits.total - self.in_flight

    def began(self, subscriber_id: str, project_id: int) -> None:
        """Count a delivery as in flight."""
        self._clock += 1
        share = self._share(subscriber_id)
        share.in_flight += 1
        share.served = self._clock
        self._projects[project_id] = self._projects.get(project_id, 0) + 1
        self._projects_served.pop(project_id, None)
        self._projects_served[project_id] = self._clock
        if len(self._projects_served) > REMEMBERED_MAX:
            del self._projects_served[next(iter(self._projects_served))]
        self.in_flight += 1

    def ended(self, subscriber_id: str, project_id: int) -> None:
        """Count a delivery as ended, with any outcome."""
        self._share(subscriber_id).in_flight -= 1
        self._projects[project_id] -= 1
        if not self._projects[project_id]:
            del self._projects[project_id]
        self.in_flight -= 1

    def succeeded(self, subscriber_id: str) -> None:
        """The subscriber accepted one: its share grows."""
        share = self._share(subscriber_id)
        share.width = min(share.width + 1, self._limits.share_max)

    def failed(self, subscriber_id: str) -> None:
        """The subscriber fails: one at a time, until it accepts one."""
        self._share(subscriber_id).width = 1

    def _share(self, subscriber_id: str) -> _Share:
        share = self._shares.get(subscriber_id)
        if share is None:
            if len(self._shares) >= REMEMBERED_MAX:
                self._forget_one()
            share = self._shares[subscriber_id] = _Share(self._limits.share_first)
        return share

    def _forget_one(self) -> None:
        idle = next((name for name, share in self._shares.items() if not share.in_flight), None)
        if idle is not None:
            del self._shares[idle]

    def assign(self, candidates: Sequence[Candidate]) -> list[tuple[Candidate, int]]:
        """Assign the free slots, one by one.

        Each goes to the project with the fewest deliveries in flight, and in it to the subscriber
        with the fewest; among equals, to the least recently served.

        Returns:
            Candidates that get slots, in the order of their first one, with how many.
        """
        round_ = _Round(self, candidates)
        for free in range(self.free, 0, -1):
            if not round_.one(only_idle=free <= self._limits.reserved):
                break
        return round_.result()

    def in_flight_of(self, subscriber_id: str) -> tuple[int, int, int]:
        """Of a subscriber: how many are in flight, how many may be, and when it was served."""
        share = self._shares.get(subscriber_id)
        if share is None:
            return 0, self._limits.share_first, 0
        return share.in_flight, share.width, share.served

    def in_flight_of_project(self, project_id: int) -> tuple[int, int]:
        """Of a project: how many are in flight, and when it was served."""
        return self._projects.get(project_id, 0), self._projects_served.get(project_id, 0)


class _Round:
    """One round of assigning: an assigned slot counts as in flight at once."""

    def __init__(self, scheduler: FairScheduler, candidates: Sequence[Candidate]) -> None:
        self._given: dict[Candidate, int] = {}
        self._queues: dict[int, list[Candidate]] = {}
        for candidate in candidates:
            self._queues.setdefault(candidate.project_id, []).append(candidate)
        self._projects = {one: scheduler.in_flight_of_project(one) for one in self._queues}
        subscribers = (candidate.subscriber_id for candidate in candidates)
        self._shares = {one: scheduler.in_flight_of(one) for one in subscribers}

    def one(self, *, only_idle: bool) -> bool:
        """Assign one slot; False when no candidate can use it."""
        for project in sorted(self._queues, key=self._projects.__getitem__):
            queues = [
                queue for queue in self._queues[project] if self._may(queue, only_idle=only_idle)
            ]
            if queues:
                self._give(min(queues, key=self._rank))
                return True
        return False

    def _may(self, queue: Candidate, *, only_idle: bool) -> bool:
        in_flight, width, _ = self._shares[queue.subscriber_id]
        if queue.probe or only_idle:
            width = 1
        return in_flight < width and self._given.get(queue, 0) < queue.due

    def _rank(self, queue: Candidate) -> tuple[int, int]:
        in_flight, _, served = self._shares[queue.subscriber_id]
        return in_flight, served

    def _give(self, queue: Candidate) -> None:
        self._given[queue] = self._given.get(queue, 0) + 1
        in_flight, width, served = self._shares[queue.subscriber_id]
        self._shares[queue.subscriber_id] = (in_flight + 1, width, served)
        in_flight, served = self._projects[queue.project_id]
        self._projects[queue.project_id] = (in_flight + 1, served)

    def result(self) -> list[tuple[Candidate, int]]:
        return list(self._given.items())
