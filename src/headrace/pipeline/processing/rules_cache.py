"""Policies and subscribers as processing sees them, never older than a second or two."""

from __future__ import annotations

import msgspec

from headrace.domain.access.policies import Policies
from headrace.observability.events import RULES_REFRESH_FAILED, STORE_UNAVAILABLE
from headrace.pipeline.loop import Loop, LoopOptions
from headrace.pipeline.processing.plan import Rules
from headrace.store.access.projects import Projects
from headrace.store.automations.automations import Automations
from headrace.store.contract.errors import StoreError
from headrace.store.contract.processing import ProcessingStore

REFRESH_SECONDS = 1.0
#: The cached data stays in force when the store cannot be read or its rows cannot be decoded.
FAILURES = {
    StoreError: STORE_UNAVAILABLE,
    msgspec.MsgspecError: RULES_REFRESH_FAILED,
    ValueError: RULES_REFRESH_FAILED,
}


class RulesCache:
    """Holds the current `Rules`.

    Args:
        automations: None where none are run.
    """

    def __init__(
        self,
        projects: Projects,
        processing: ProcessingStore,
        automations: Automations | None = None,
    ) -> None:
        self._projects = projects
        self._automations = automations
        self._processing = processing
        self._versions = (-1, -1)
        self.rules = Rules({}, ())

    def policies_of(self, project_id: int) -> Policies:
        """Current policies of a project."""
        return self.rules.policies(project_id)

    @property
    def subscribers_version(self) -> int:
        """Version of the subscribers, and of the names of events, in `rules`."""
        return self._versions[1]

    async def refresh(self) -> None:
        """Read them again if anything changed.

        Raises:
            StoreError: the store cannot be read; the cached data stays in force.
        """
        if await self._projects.rules_versions() == self._versions:
            return
        subscribers_version, subscribers = await self._processing.subscriber_rules()
        access = await self._projects.access()
        # Read after the version, so they are at least as new.
        names = None if self._automations is None else await self._automations.event_names()
        self.rules = Rules(access.policies, subscribers, names)
        self._versions = (access.version, subscribers_version)

    async def run(self) -> None:
        """Refresh until cancelled."""
        options = LoopOptions(
            name="rules", pause_s=REFRESH_SECONDS, pause_first=True, failures=FAILURES
        )
        await Loop(self.refresh, options).run()
