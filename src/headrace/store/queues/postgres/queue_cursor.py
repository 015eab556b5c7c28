"""What a worker knows of the queue, so that a claim need not scan rows that are done already.

Dead rows stay in the index until no snapshot can see them; while a snapshot is open for minutes, a
claim that began at the head of the queue would scan all of them. So it begins where the last one
ended. Events stored before may not have been visible then, because their transaction was in
progress. If a claim began behind them, later events of the same identity would be processed first.
So it never begins behind what a transaction in progress may have queued, as long as such an event
can still be answered as stored, and now and then it begins further back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import msgspec

from headrace.store.engine.numbers import BIGINT_MAX
from headrace.store.queues.postgres.committer import COMMIT_SECONDS_MAX

#: A claim looks at least so far back: the clocks of processes differ, and replays are queued by
#: them.
LATE_US = 2_000_000
#: Time between reads of the transactions in progress.
SETTLE_SECONDS = 0.5
#: A transaction that reads the time has its number at the latest so long after.
NUMBERED_US = 500_000
#: An event whose commit takes longer is not answered as stored, so nothing waits for it. A foreign
#: transaction that stays open makes every claim look back at most so far.
COMMIT_US_MAX = round(COMMIT_SECONDS_MAX * 1_000_000) + LATE_US
#: None of this program's transactions lasts longer.
LATE_US_MAX = 120_000_000
#: Time between scans that go back so far, and at least so many times the length of one.
FAR_SCAN_SECONDS = 10.0
#: Time between scans for further projects while the known ones have a backlog.
PROJECT_SCAN_SECONDS = 0.1
#: A scan that took longer is not repeated before so many times its length have passed.
COSTLY_SECONDS = 0.02
PAUSE_TIMES = 10
#: A project that had nothing for so long is no longer queried in every claim; a project scan finds
#: it when it has something again.
QUIET_SECONDS = 5.0
#: After so long it is dropped.
FORGET_SECONDS = 60.0
#: Projects that are known at a time.
PROJECTS_MAX = 1024

#: Lower ends (project and time, both exclusive) and upper ends (project, exclusive) of ranges of
#: the queue, one list each.
Ranges = tuple[list[int], list[int], list[int]]
_PROJECT_END = 2**31


class _Known(msgspec.Struct):
    #: `queued_us` before which nothing is left.
    bound_us: int
    #: When it last had events.
    seen_s: float


class QueueCursor:
    """The known projects of one worker, and the queue position from which each has events."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self.monotonic_s = monotonic_s
        self._known: dict[int, _Known] = {}
        self._project_scan_at = 0.0
        self._costly_until = 0.0
        self._far_scan_at = 0.0
        self._settle_at = 0.0
        #: Events queued before this are visible, or were rolled back.
        self._settled_us = 0
        #: The same, once no transaction below `_open_below` is in progress.
        self._settling_us = 0
        self._open_below = 0
        #: The project that was served last.
        self.turn = 0

    def forget(self) -> None:
        """Forget everything: the lanes have changed."""
        self._known.clear()
        self._project_scan_at = self._costly_until = 0.0

    def save(self) -> dict[int, tuple[int, float]]:
        """The state, before a transaction that may be rolled back."""
        return {project: (known.bound_us, known.seen_s) for project, known in self._known.items()}

    def restore(self, saved: dict[int, tuple[int, float]]) -> None:
        """Restore the state from before a transaction that was rolled back."""
        self._known = {project: _Known(*values) for project, values in saved.items()}
        self._project_scan_at = 0.0

    def begin(self, now_us: int) -> None:
        """Begin a scan; now and then as far back as late events may have been queued."""
        now = self.monotonic_s()
        if now < self._far_scan_at:
            return
        self._far_scan_at = now + FAR_SCAN_SECONDS
        for known in self._known.values():
            known.bound_us = min(known.bound_us, now_us - LATE_US_MAX)

    def settle_due(self) -> bool:
        """Whether to read the transactions in progress."""
        return self.monotonic_s() >= self._settle_at

    def settle(self, now_us: int, oldest: int, following: int) -> None:
        """Record the transactions in progress.

        Those of the read before have ended once the oldest of this one has a higher number.

        Args:
            now_us: clock of the database, not after the rest was read.
            oldest: number of the oldest transaction in progress, `following` if there is none.
            following: number that the next transaction will have.
        """
        self._settle_at = self.monotonic_s() + SETTLE_SECONDS
        if oldest >= self._open_below:
            self._settled_us = self._settling_us
            self._settling_us, self._open_below = now_us - NUMBERED_US, following

    def note_duration(self, seconds: float) -> None:
        """Record how long a scan took: a slow one is not repeated at once."""
        pause = self.monotonic_s() + PAUSE_TIMES * seconds
        self._far_scan_at = max(self._far_scan_at, pause)
        if seconds > COSTLY_SECONDS:
            self._costly_until = pause

    def project_scan_due(self) -> bool:
        """Whether it is time to scan for other projects, although the known ones have work."""
        return self.monotonic_s() >= max(self._project_scan_at, self._costly_until)

    def may_scan_projects(self) -> bool:
        """Whether to scan for other projects when the known ones have nothing."""
        return self.monotonic_s() >= self._costly_until

    def note_project_scan(self) -> None:
        """Record that every project that has events is known now."""
        now = self.monotonic_s()
        self._project_scan_at = now + PROJECT_SCAN_SECONDS
        old = [p for p, known in self._known.items() if known.seen_s < now - FORGET_SECONDS]
        for project_id in old:
            del self._known[project_id]

    def add(self, projects: Iterable[int]) -> None:
        """Add projects that have events."""
        now = self.monotonic_s()
        for project_id in projects:
            known = self._known.get(project_id)
            if known is not None:
                known.seen_s = now
            elif len(self._known) < PROJECTS_MAX:
                self._known[project_id] = _Known(0, now)

    def ranges(self, *, all_known: bool) -> Ranges:
        """Ranges of the queue that a claim has not scanned.

        Args:
            all_known: whether to include the rest of the queues of projects that a claim queries.
        """
        known = sorted(self._known)
        asked = set() if all_known else set(self.in_turn())
        starts = [BIGINT_MAX if p in asked else self._known[p].bound_us - 1 for p in known]
        return [-1, *known], [BIGINT_MAX, *starts], [*known, _PROJECT_END]

    def in_turn(self) -> list[int]:
        """Projects that a claim queries, starting after the one served last."""
        quiet_s = self.monotonic_s() - QUIET_SECONDS
        asked = sorted(p for p, known in self._known.items() if known.seen_s >= quiet_s)
        return [p for p in asked if p > self.turn] + [p for p in asked if p <= self.turn]

    def bound_us(self, project_id: int) -> int:
        """Where to begin in the queue of a project."""
        known = self._known.get(project_id)
        return 0 if known is None else known.bound_us

    def scanned(self, project_id: int, last_us: int | None, now_us: int) -> None:
        """Record that everything visible is claimed up to `last_us`; None: to the end of the queue.

        Args:
            now_us: clock of the database before that scan.
        """
        settled_us = max(min(self._settled_us, now_us - LATE_US), now_us - COMMIT_US_MAX)
        last_us = settled_us if last_us is None else min(last_us, settled_us)
        known = self._known[project_id]
        known.bound_us = max(known.bound_us, last_us)

    def nothing_due(self, now_us: int) -> None:
        """Record that nothing is visible in any queue."""
        for project_id in self._known:
            self.scanned(project_id, None, now_us)

    def requeue(self, project_id: int, queued_us: int) -> None:
        """Record that an event is in the queue again."""
        known = self._known.get(project_id)
        if known is not None:
            known.bound_us = min(known.bound_us, queued_us)

    def note_served(self, project_id: int) -> None:
        """Record that the project was served; those after it are next."""
        self.add([project_id])
        self.turn = project_id
