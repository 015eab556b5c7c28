"""Whether a person may still see the project of an answer that goes on for long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from headrace.backoffice.shell.request import PageRequest
from headrace.domain.access.sign_in import token_hash
from headrace.store.contract.errors import StoreError

#: How often a session is asked for. With the time of the look-up this stays well below the 5 s
#: within which the end of a session must work.
ASK_SECONDS = 1.5


class SessionFollower:
    """Keeps a visit as the store has it: session, role, and whether personal data is shown.

    Looking is no use of the session: one that is left alone ends while a live page is open.
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
        """Ask until the session is over; while the store does not answer, the last answer ages."""
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
