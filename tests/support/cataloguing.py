"""Events that a real worker loop adds to the catalog."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import msgspec

from headrace.domain.catalog.personal_data import kinds_of
from headrace.domain.events.event import NewEvent
from headrace.pipeline.processing.processor import Processor
from headrace.pipeline.processing.rules_cache import RulesCache
from headrace.store.contract.catalog import CatalogEntry, CatalogPath
from tests.support.events import new_event
from tests.support.session import StoreSession

T = TypeVar("T")

EVENT = "order.completed"


class Cataloguing:
    """A store, and a worker that processes what the test accepts."""

    def __init__(self, session: StoreSession) -> None:
        self.session = session
        store = session.store
        self.rules = RulesCache(store.projects, store.processing)
        self.processor = Processor(
            store.processing,
            self.rules,
            owner="cataloguing",
            nudged=asyncio.Event(),
            clock_us=store.clock_us,
            rng=random.Random(1),
        )

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.session.run(work)

    def accept(self, *payloads: Any, **fields: Any) -> list[NewEvent]:
        """Accept events with these payloads; strings are used as they are."""
        events = [
            new_event(
                payload=p if isinstance(p, str) else msgspec.json.encode(p).decode(), **fields
            )
            for p in payloads
        ]
        assert self.session.accept(*events) == [None] * len(events)
        return events

    def process(self) -> None:
        """Process all waiting events."""
        self.run(self._process())

    async def _process(self) -> None:
        await self.rules.refresh()
        assert await self.processor._is_leader()
        while await self.processor.run_once():
            pass

    def sent(self, *payloads: Any, **fields: Any) -> list[NewEvent]:
        """Accept and process events, in one batch if they fit."""
        events = self.accept(*payloads, **fields)
        self.process()
        return events

    def entry(self, event: str = EVENT, project_id: int = 1) -> CatalogEntry:
        found = self.run(self.session.store.catalog.entry(project_id, event))
        assert found is not None
        return found

    def paths(self, event: str = EVENT) -> dict[str, CatalogPath]:
        return {path.path: path for path in self.entry(event).paths}

    def personal(self, event: str = EVENT) -> dict[str, list[str]]:
        """Path -> kinds of personal data, where there are any."""
        kinds = {path.path: kinds_of(path.looks) for path in self.entry(event).paths}
        return {path: found for path, found in kinds.items() if found}

    def everything(self) -> str:
        """Text of all rows of the catalog."""
        tables = ("catalog_names", "catalog_paths", "catalog_drift", "catalog_hours")
        rows: list[Sequence[Any]] = []
        for table in tables:
            rows += self.session.place.run_sql(f"SELECT * FROM {table}")
        return repr(rows)
