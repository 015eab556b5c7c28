"""Push apps in memory: every request of a client names one."""

from __future__ import annotations

from collections.abc import Callable

from headrace.store.contract.push import PushApp
from headrace.store.push.apps import PushApps

#: A changed app is effective after this time; one that was unknown, too.
KEPT_US = 2_000_000
#: Past it, the one read first is forgotten.
APPS_KEPT_MAX = 10_000


class AppCache:
    """Apps of all projects, and ids that no app has."""

    def __init__(self, apps: PushApps, clock_us: Callable[[], int]) -> None:
        self._apps = apps
        self._clock_us = clock_us
        self._known: dict[str, tuple[int, PushApp | None]] = {}

    async def get(self, app_id: str) -> PushApp | None:
        """The app of an id."""
        now_us = self._clock_us()
        held = self._known.get(app_id)
        if held is not None and now_us - KEPT_US < held[0] <= now_us:
            return held[1]
        found = await self._apps.find(app_id)
        self._known.pop(app_id, None)
        if len(self._known) >= APPS_KEPT_MAX:
            del self._known[next(iter(self._known))]
        self._known[app_id] = (now_us, found)
        return found
