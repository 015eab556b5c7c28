"""What a worker knows of the line, so that a claim need not look at what is done already.

Rows that are done stay in the index until no snapshot can see them; while somebody holds a snapshot
for minutes, a claim that began at the head of the line would walk over all of them. So it begins
where the last one ended. What was stored shortly before may not have been visible then, because
its transaction was under way: so far the line is looked at again. What took longer than that is
found by a full look, now and then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

#: A transaction that stores events is over so long after it took the time, nearly always.
LATE_US = 2_000_000
#: Time between full looks, and at least so many times of what one takes.
FULL_LOOK_SECONDS = 10.0
FULL_LOOK_TIMES = 20
#: Time between looks for further projects while the known ones have a backlog.
LOOK_AROUND_SECONDS = 0.1
#: A project that had nothing for so long is not asked any more; looking around finds it again.
IDLE_SECONDS = 5.0
#: Projects that are known at a time.
PROJECTS_KNOWN_MAX = 1024


class WorkLine:
    """The known projects of one worker, and from when on each has something."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        #: Project -> `queued_us` before which nothing is left.
        self._bounds: dict[int, int] = {}
        #: Project -> when it last had something.
        self._seen_s: dict[int, float] = {}
        self._look_around_at = 0.0
        self._full_look_at = 0.0
        #: The project that was served last.
        self.turn = 0

    def forget(self) -> None:
        """Know nothing: other lanes are ours, or claims have come back."""
        self._bounds.clear()
        self._seen_s.clear()
        self._look_around_at = self._full_look_at = 0.0

    def begin(self) -> bool:
        """Begin a look; whether it is a full one, which trusts nothing that is known."""
        now = self._monotonic_s()
        if now < self._full_look_at:
            return False
        self._bounds = dict.fromkeys(self._bounds, 0)
        self._look_around_at = now
        self._full_look_at = now + FULL_LOOK_SECONDS
        return True

    def full_look_took(self, seconds: float) -> None:
        """Put the next one off when this one was costly."""
        self._full_look_at = max(
            self._full_look_at, self._monotonic_s() + FULL_LOOK_TIMES * seconds
        )

    def must_look_around(self) -> bool:
        """Whether it is time to look for projects that are not known."""
        return self._monotonic_s() >= self._look_around_at

    def looked_around(self, *, everywhere: bool) -> None:
        """Whether no project with work is unknown now."""
        now = self._monotonic_s()
        self._look_around_at = now + LOOK_AROUND_SECONDS if everywhere else now
        for project_id, seen_s in list(self._seen_s.items()):
            if seen_s < now - IDLE_SECONDS:
                del self._seen_s[project_id], self._bounds[project_id]

    def add(self, projects: Iterable[int]) -> None:
        """Projects that have something."""
        now = self._monotonic_s()
        for project_id in projects:
            if len(self._bounds) < PROJECTS_KNOWN_MAX:
                self._bounds.setdefault(project_id, 0)
                self._seen_s[project_id] = now

    def gaps(self) -> tuple[list[int], list[int]]:
        """Ranges of project numbers in which none is known, as the numbers that bound each."""
        known = sorted(self._bounds)
        return [-1, *known], [*known, 2**31]

    def in_turn(self) -> list[int]:
        """Known projects, from the one behind the last served on."""
        known = sorted(self._bounds)
        return [p for p in known if p > self.turn] + [p for p in known if p <= self.turn]

    def bound_us(self, project_id: int) -> int:
        """Where to begin in the line of a project."""
        return self._bounds.get(project_id, 0)

    def looked(self, project_id: int, last_us: int | None, now_us: int) -> None:
        """Everything visible is ours, up to `last_us`; None: to the end of the line.

        Args:
            now_us: clock of the database before that look.
        """
        settled_us = now_us - LATE_US
        if last_us is not None:
            settled_us = min(settled_us, last_us)
        self._bounds[project_id] = max(self._bounds.get(project_id, 0), settled_us)

    def left(self, project_id: int, queued_us: int) -> None:
        """One that the look found stays in line after all."""
        self._bounds[project_id] = min(self._bounds[project_id], queued_us)

    def served(self, project_id: int) -> None:
        """The project had something; the turn is at those behind it."""
        self._seen_s[project_id] = self._monotonic_s()
        self.turn = project_id
