"""A whole store, as the pipeline and the edges see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from headrace.domain.access.sealing import KeyRing
from headrace.domain.ids import EventIdGenerator
from headrace.store.access.members import Members
from headrace.store.access.operators import Operators
from headrace.store.access.projects import Projects
from headrace.store.access.rejections import Rejections
from headrace.store.access.sign_in import SignIn
from headrace.store.automations.store_parts import AutomationParts
from headrace.store.catalog.catalog import Catalog
from headrace.store.contacts.contacts import Contacts
from headrace.store.contacts.groups.audiences import Audiences
from headrace.store.contacts.groups.topics import Topics
from headrace.store.contacts.merging.merges import Merges
from headrace.store.contract.commits import CommitSource, CommitStats
from headrace.store.contract.errors import StoreFailedError
from headrace.store.contract.events import ArrivalStore
from headrace.store.contract.health import StoreHealth
from headrace.store.contract.processing import ProcessingStore
from headrace.store.deliveries.dead_letters import DeadLetters
from headrace.store.deliveries.deliveries import Deliveries
from headrace.store.deliveries.delivery_counts import DeliveryCounts
from headrace.store.deliveries.held_work import HeldWork
from headrace.store.deliveries.replays import Replays
from headrace.store.deliveries.subscribers import Subscribers
from headrace.store.engine.transaction import Database
from headrace.store.events.events import Events
from headrace.store.events.trace import Trace
from headrace.store.messages.messages import Messages
from headrace.store.privacy.erasures import Erasures
from headrace.store.privacy.person_export import PersonExports
from headrace.store.push.push import Push
from headrace.store.upkeep.alerts import Alerts
from headrace.store.upkeep.retention import StoreRetention
from headrace.store.upkeep.rollups import Rollups


class Store(Protocol):
    """A whole store."""

    @property
    def database(self) -> Database: ...

    @property
    def secret_keys(self) -> KeyRing:
        """The keys that seal secrets in this store."""
        ...

    @property
    def events(self) -> Events: ...

    @property
    def arrivals(self) -> ArrivalStore | None:
        """None where no other process accepts events."""
        ...

    @property
    def projects(self) -> Projects: ...

    @property
    def rejections(self) -> Rejections: ...

    @property
    def processing(self) -> ProcessingStore: ...

    @property
    def subscribers(self) -> Subscribers: ...

    @property
    def deliveries(self) -> Deliveries: ...

    @property
    def delivery_counts(self) -> DeliveryCounts: ...

    @property
    def dead_letters(self) -> DeadLetters: ...

    @property
    def replays(self) -> Replays: ...

    @property
    def held_work(self) -> HeldWork: ...

    @property
    def trace(self) -> Trace: ...

    @property
    def contacts(self) -> Contacts: ...

    @property
    def topics(self) -> Topics: ...

    @property
    def audiences(self) -> Audiences: ...

    @property
    def merges(self) -> Merges: ...

    @property
    def erasures(self) -> Erasures: ...

    @property
    def person_exports(self) -> PersonExports: ...

    @property
    def messages(self) -> Messages: ...

    @property
    def push(self) -> Push: ...

    @property
    def automations(self) -> AutomationParts: ...

    @property
    def operators(self) -> Operators: ...

    @property
    def sign_in(self) -> SignIn: ...

    @property
    def members(self) -> Members: ...

    @property
    def retention(self) -> StoreRetention: ...

    @property
    def catalog(self) -> Catalog: ...

    @property
    def alerts(self) -> Alerts: ...

    @property
    def rollups(self) -> Rollups: ...

    @property
    def commit_stats(self) -> CommitStats: ...

    @property
    def committers(self) -> int:
        """How many commits run at once; each takes its own share of the source."""
        ...

    def clock_us(self) -> int:
        """Microseconds since 1970 by the clock that all processes on this store share."""
        ...

    async def event_ids(self) -> EventIdGenerator:
        """The generator of ids for events that this process accepts; call once."""
        ...

    def start_committing(
        self, source: CommitSource, on_failed: Callable[[StoreFailedError], None]
    ) -> None:
        """Start committing what `source` provides.

        `on_failed` is called once, from any thread, when the store must stop.
        """
        ...

    def wake(self) -> None:
        """Notify the committer that its source has events. Cheap; safe from any thread."""
        ...

    async def listen(self, arrived: Callable[[], None]) -> None:
        """Call `arrived` when another process has stored events; never returns.

        Raises:
            StoreError: the connection was lost; listen again.
        """
        ...

    async def health(self) -> StoreHealth:
        """The store's own report."""
        ...

    async def secret(self, name: str) -> bytes:
        """32 random bytes of that name, made at first use and kept."""
        ...

    async def try_commit(self) -> None:
        """Make a trial commit that leaves nothing behind, where accepted events are written.

        Raises:
            StoreError: events cannot be stored now.
        """
        ...

    async def maintain(self) -> None:
        """Do the store's periodic upkeep; called every few seconds."""
        ...

    async def close(self) -> None:
        """Commit events that were taken, then close cleanly."""
        ...
