"""All parts of a store for automations."""

from __future__ import annotations

from collections.abc import Callable

from headrace.store.automations.automations import Automations
from headrace.store.automations.dead_letters import DeadLetterIds
from headrace.store.automations.explaining import Explanations
from headrace.store.automations.operations import RunOperations
from headrace.store.automations.pausing import Pausing
from headrace.store.automations.removal import RunRemoval
from headrace.store.automations.run_stats import RunStatistics
from headrace.store.automations.runs import Runs
from headrace.store.automations.version_changes import RunMigrations
from headrace.store.automations.work import AutomationWork
from headrace.store.engine.numbers import RowNumbers
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Database


class AutomationParts:
    """Everything about automations in one store.

    Args:
        clock_us: the store's clock.
    """

    def __init__(
        self,
        database: Database,
        system_events: SystemEvents,
        numbers: RowNumbers,
        clock_us: Callable[[], int],
        dead_letter_ids: DeadLetterIds,
    ) -> None:
        self.definitions = Automations(database)
        self.pausing = Pausing(database)
        self.runs = Runs(database)
        self.stats = RunStatistics(database)
        self.explanations = Explanations(database)
        self.removal = RunRemoval(database)
        self.work = AutomationWork(database, system_events, numbers, clock_us, dead_letter_ids)
        self.operations = RunOperations(database, self.work.advancer, clock_us)
        self.migrations = RunMigrations(database, self.work.advancer, clock_us)
