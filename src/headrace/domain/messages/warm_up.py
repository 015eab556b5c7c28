"""Warm-up of a sending domain: a daily limit that doubles each day, in UTC.

Receivers distrust a domain that suddenly sends much. Marketing mail beyond the limit waits for the
next day. Transactional mail is counted and never waits.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import msgspec

DAILY_START_DEFAULT = 50
DAILY_START_MAX = 1_000_000
DAYS_DEFAULT = 14
DAYS_MAX = 60
_MICROSECONDS = 1_000_000


class WarmUp(msgspec.Struct, frozen=True, kw_only=True):
    """The plan of a domain and its count. Days are dates in UTC: `2026-06-08`."""

    #: The limit of the first day.
    daily_start: int = DAILY_START_DEFAULT
    #: Days after which there is no limit.
    days: int = DAYS_DEFAULT
    started_on: str
    #: The day that is counted.
    day: str
    #: Messages handed over for the first time on that day.
    sent: int = 0

    def on(self, today: str) -> WarmUp:
        """The plan on a day. A clock that went back does not begin an earlier day again."""
        if today <= self.day:
            return self
        return msgspec.structs.replace(self, day=today, sent=0)

    def counted(self) -> WarmUp:
        """The plan after one more message."""
        return msgspec.structs.replace(self, sent=self.sent + 1)

    @property
    def number(self) -> int:
        """Number of the day, from 1."""
        passed = date.fromisoformat(self.day) - date.fromisoformat(self.started_on)
        return max(passed.days, 0) + 1

    @property
    def ceiling(self) -> int | None:
        """The limit of the day; None once the plan is over."""
        if self.number > self.days:
            return None
        return self.daily_start << (self.number - 1)

    @property
    def is_reached(self) -> bool:
        """Whether further marketing mail waits."""
        return self.ceiling is not None and self.sent >= self.ceiling

    @property
    def next_day_us(self) -> int:
        """When the next day begins, in microseconds since 1970."""
        following = date.fromisoformat(self.day) + timedelta(days=1)
        return round(datetime.combine(following, time(), UTC).timestamp()) * _MICROSECONDS


class WarmUpChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a plan; None leaves a value as it is, or sets the default of a new plan."""

    enabled: bool = True
    daily_start: int | None = None
    days: int | None = None

    def applied(self, held: WarmUp | None, today: str) -> WarmUp | None:
        """The plan afterwards; None: there is none. A plan that runs keeps its first day."""
        if not self.enabled:
            return None
        plan = WarmUp(started_on=today, day=today) if held is None else held.on(today)
        return msgspec.structs.replace(
            plan,
            daily_start=plan.daily_start if self.daily_start is None else self.daily_start,
            days=plan.days if self.days is None else self.days,
        )
