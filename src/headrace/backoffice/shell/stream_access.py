"""Whether a person may still see the project during a long-lived response."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from headrace.backoffice.shell.request import PageRequest
from headrace.domain.access.sign_in import token_hash
from headrace.store.contract.errors import StoreError

#: Interval between session checks. Together with the look-up this stays well below the 5 s
#: within which the end of a session takes effect.
ASK_SECONDS = 1.5


class SessionFollower:
    """Keeps a request's session, role and unmasking in step with the store.

    A check does not extend the session: an idle one expires while a live page is open.
    """

    def __init__(
        self, visit: PageRequest, *, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._visit = visit
        self._monotonic_s = monotonic_s
        self._confirmed_s = monotonic_s()

    def confirmed(self) -> float | None:
        """When the store last confirmed that the person may see the project; see `Right`."""
        visit = self._visit
        who = visit.signed_in
        if who is None or who.role_in(visit.project.id) is None:
            return None
        alive = who.session.alive_at(visit.backoffice.clock_us())
        return self._confirmed_s if alive else None

    async def run(self) -> None:
        """Check until the session ends; on store errors the last confirmation ages."""
        visit = self._visit
        hashed = token_hash(visit.session_token)
        while visit.signed_in is not None:
            await asyncio.sleep(ASK_SECONDS)
            began_s = self._monotonic_s()
            try:
                found = await visit.store.sign_in.signed_in(hashed, visit.backoffice.clock_us())
            except StoreError:
                continue
            visit.renew(found)
            self._confirmed_s = began_s
