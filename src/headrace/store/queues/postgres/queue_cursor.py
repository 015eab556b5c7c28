"""What a worker knows of the line, so that a claim need not look at what is done already.

Rows that are done stay in the index until no snapshot can see them; while somebody holds a snapshot
for minutes, a claim that began at the head of the line would walk over all of them. So it begins
where the last one ended. What was stored before may not have been visible then, because its
transaction was under way. If a claim began behind it, later events of the same identity would be
processed first. So it never begins behind what a transaction that is still under way may have
queued, as long as that can be answered as stored, and now and then it begins further back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import msgspec

from headrace.store.queues.postgres.committer import COMMIT_SECONDS_MAX

#: A claim looks at least so far back: the clocks of processes differ, and replays take their place
#: by those.
LATE_US = 2_000_000
#: Time between looks at which transactions are under way.
SETTLE_SECONDS = 0.5
#: A transaction that takes the time has its number at the latest so long after.
NUMBERED_US = 500_000
#: An event whose commit takes longer is not answered as stored, so nothing waits for it. This is
#: how far a foreign transaction that stays open can make every claim look back.
COMMIT_US_MAX = round(COMMIT_SECONDS_MAX * 1_000_000) + LATE_US
#: No transaction of ours lasts longer.
LATE_US_MAX = 120_000_000
#: Time between looks that go back so far, and at least so many times of what one takes.
FAR_LOOK_SECONDS = 10.0
#: Time between looks for further projects while the known ones have a backlog.
LOOK_AROUND_SECONDS = 0.1
#: A look that took longer is not repeated before so many times of that have passed.
COSTLY_SECONDS = 0.02
PAUSE_TIMES = 10
#: A project that had nothing for so long is not asked any more in every claim; looking around tells
#: when it has something again.
QUIET_SECONDS = 5.0
#: After so long it is forgotten.
FORGET_SECONDS = 60.0
#: Projects that are known at a time.
PROJECTS_MAX = 1024

#: Lower ends (project and time, both exclusive) and upper ends (project, exclusive) of parts of the
#: line, one list each.
Ranges = tuple[list[int], list[int], list[int]]
_END = 2**63 - 1
_PROJECT_END = 2**31


class _Known(msgspec.Struct):
    #: `queued_us` before which nothing is left.
    bound_us: int
    #: When it last had something.
    seen_s: float


class QueueCursor:
    """The known projects of one worker, and from when on each has something."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self.monotonic_s = monotonic_s
        self._known: dict[int, _Known] = {}
        self._look_around_at = 0.0
        self._costly_until = 0.0
        self._far_look_at = 0.0
        self._settle_at = 0.0
        #: What was queued before this is visible, or its transaction was undone.
        self._settled_us = 0
        #: The same, once no transaction below `_open_below` is under way.
        self._settling_us = 0
        self._open_below = 0
        #: The project that was served last.
        self.turn = 0

    def forget(self) -> None:
        """Know nothing: other lanes are ours."""
        self._known.clear()
        self._look_around_at = self._costly_until = 0.0

    def save(self) -> dict[int, tuple[int, float]]:
        """What is known, before a transaction that may be undone."""
        return {project: (known.bound_us, known.seen_s) for project, known in self._known.items()}

    def restore(self, saved: dict[int, tuple[int, float]]) -> None:
        """Know what was known before a transaction that was undone."""
        self._known = {project: _Known(*values) for project, values in saved.items()}
        self._look_around_at = 0.0

    def begin(self, now_us: int) -> None:
        """Begin a look; now and then as far back as something may have come late."""
        now = self.monotonic_s()
        if now < self._far_look_at:
            return
        self._far_look_at = now + FAR_LOOK_SECONDS
        for known in self._known.values():
            known.bound_us = min(known.bound_us, now_us - LATE_US_MAX)

    def settle_due(self) -> bool:
        """Whether to look at which transactions are under way."""
        return self.monotonic_s() >= self._settle_at

    def settle(self, now_us: int, oldest: int, following: int) -> None:
        """Note which transactions are under way.

        Those of the look before have ended once the oldest of this one has a higher number.

        Args:
            now_us: clock of the database, not after the rest was read.
            oldest: number of the oldest transaction under way, `following` if there is none.
            following: number that the next transaction will have.
        """
        self._settle_at = self.monotonic_s() + SETTLE_SECONDS
        if oldest >= self._open_below:
            self._settled_us = self._settling_us
            self._settling_us, self._open_below = now_us - NUMBERED_US, following

    def took(self, seconds: float) -> None:
        """How long a look took: a costly one is not repeated at once."""
        pause = self.monotonic_s() + PAUSE_TIMES * seconds
        self._far_look_at = max(self._far_look_at, pause)
        if seconds > COSTLY_SECONDS:
            self._costly_until = pause

    def look_around_due(self) -> bool:
        """Whether it is time to look for other projects, although the known ones have work."""
        return self.monotonic_s() >= max(self._look_around_at, self._costly_until)

    def may_look_around(self) -> bool:
        """Whether others may be looked for, when the known ones have nothing."""
        return self.monotonic_s() >= self._costly_until

    def looked_around(self) -> None:
        """Every project that has something is known now."""
        now = self.monotonic_s()
        self._look_around_at = now + LOOK_AROUND_SECONDS
        old = [p for p, known in self._known.items() if known.seen_s < now - FORGET_SECONDS]
        for project_id in old:
            del self._known[project_id]

    def add(self, projects: Iterable[int]) -> None:
        """Projects that have something."""
        now = self.monotonic_s()
        for project_id in projects:
            known = self._known.get(project_id)
            if known is not None:
                known.seen_s = now
            elif len(self._known) < PROJECTS_MAX:
                self._known[project_id] = _Known(0, now)

    def ranges(self, *, all_known: bool) -> Ranges:
        """Parts of the line in which a claim has not looked.

        Args:
            all_known: whether to include what follows in the lines of projects that a claim asks.
        """
        known = sorted(self._known)
        asked = set() if all_known else set(self.in_turn())
        starts = [_END if p in asked else self._known[p].bound_us - 1 for p in known]
        return [-1, *known], [_END, *starts], [*known, _PROJECT_END]

    def in_turn(self) -> list[int]:
        """Projects that a claim asks, from the one behind the last served on."""
        quiet_s = self.monotonic_s() - QUIET_SECONDS
        asked = sorted(p for p, known in self._known.items() if known.seen_s >= quiet_s)
        return [p for p in asked if p > self.turn] + [p for p in asked if p <= self.turn]

    def bound_us(self, project_id: int) -> int:
        """Where to begin in the line of a project."""
        known = self._known.get(project_id)
        return 0 if known is None else known.bound_us

    def looked(self, project_id: int, last_us: int | None, now_us: int) -> None:
        """Everything visible is ours, up to `last_us`; None: to the end of the line.

        Args:
            now_us: clock of the database before that look.
        """
        settled_us = max(min(self._settled_us, now_us - LATE_US), now_us - COMMIT_US_MAX)
        last_us = settled_us if last_us is None else min(last_us, settled_us)
        known = self._known[project_id]
        known.bound_us = max(known.bound_us, last_us)

    def nothing_due(self, now_us: int) -> None:
        """Nothing is visible in any line."""
        for project_id in self._known:
            self.looked(project_id, None, now_us)

    def left(self, project_id: int, queued_us: int) -> None:
        """One that was taken out of the line stands in it again."""
        known = self._known.get(project_id)
        if known is not None:
            known.bound_us = min(known.bound_us, queued_us)

    def served(self, project_id: int) -> None:
        """The project had something; the turn is at those behind it."""
        self.add([project_id])
        self.turn = project_id
