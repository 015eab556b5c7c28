"""All parts of a store for push."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headrace.domain.access.sealing import KeyRing
from headrace.store.engine.numbers import RowNumbers
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Database
from headrace.store.messages.keys import StoredKeys
from headrace.store.push.apps import PushApps
from headrace.store.push.devices import Devices
from headrace.store.push.jobs import PushJobs
from headrace.store.push.materials import PushMaterials
from headrace.store.push.outbox import PushOutbox
from headrace.store.push.removal import PushRemoval
from headrace.store.push.reports import Reports
from headrace.store.push.sends import PushSends


class Push:
    """Everything about push in one store.

    Args:
        clock_us: the store's clock.
        secret_keys: seal the private keys of apps.
        lanes: lanes that this process may claim notifications in.
        is_alive: whether the process that an owner names still runs.
    """

    def __init__(
        self,
        database: Database,
        system_events: SystemEvents,
        numbers: RowNumbers,
        clock_us: Callable[[], int],
        secret_keys: KeyRing,
        *,
        lanes: Callable[[], Sequence[int]],
        is_alive: Callable[[str], bool],
    ) -> None:
        self.apps = PushApps(database, secret_keys)
        self.devices = Devices(database, system_events, numbers)
        self.reports = Reports(database, system_events)
        self.removal = PushRemoval(database)
        self.sends = PushSends(database)
        self.jobs = PushJobs(database)
        self.materials = PushMaterials(database, secret_keys)
        self.outbox = PushOutbox(
            database,
            system_events,
            StoredKeys(database),
            clock_us,
            lanes=lanes,
            is_alive=is_alive,
        )
