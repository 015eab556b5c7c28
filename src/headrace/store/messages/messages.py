"""All parts of a store for messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headrace.domain.access.sealing import KeyRing
from headrace.store.engine.numbers import RowNumbers
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Database
from headrace.store.messages.content.captured import Captured
from headrace.store.messages.content.domain_checks import DomainChecks
from headrace.store.messages.content.domains import Domains
from headrace.store.messages.content.links import Links
from headrace.store.messages.content.templates import Templates
from headrace.store.messages.feedback.engagement import Engagements
from headrace.store.messages.feedback.notifications import Notifications
from headrace.store.messages.feedback.unsubscribes import Unsubscribes
from headrace.store.messages.keys import StoredKeys
from headrace.store.messages.receivers import Receivers
from headrace.store.messages.removal import Removal
from headrace.store.messages.sending.emails import Emails
from headrace.store.messages.sending.job_preview import JobPreview
from headrace.store.messages.sending.jobs import SendJobs
from headrace.store.messages.sending.materials import Materials
from headrace.store.messages.sending.message_lists import MessageLists
from headrace.store.messages.sending.message_search import MessageSearch
from headrace.store.messages.sending.outbox import Outbox
from headrace.store.messages.suppressions import Suppressions
from headrace.store.messages.warm_ups import WarmUps


class Messages:
    """Everything about messages in one store.

    Args:
        clock_us: the store's clock.
        secret_keys: seal the private keys of domains.
        lanes: lanes that this process may claim messages in.
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
        self.keys = StoredKeys(database)
        self.domains = Domains(database, secret_keys)
        self.domain_checks = DomainChecks(database)
        self.templates = Templates(database)
        self.suppressions = Suppressions(database, self.keys)
        self.emails = Emails(database, system_events, numbers)
        self.jobs = SendJobs(database)
        self.previews = JobPreview(database, self.keys)
        self.links = Links(database)
        self.captured = Captured(database)
        self.materials = Materials(database, secret_keys)
        self.receivers = Receivers(database)
        self.warm_ups = WarmUps(database)
        self.removal = Removal(database)
        self.notifications = Notifications(database, system_events, self.keys)
        self.lists = MessageLists(database, system_events, self.keys)
        self.search = MessageSearch(database)
        self.engagements = Engagements(database, system_events)
        self.unsubscribes = Unsubscribes(database, system_events)
        self.outbox = Outbox(
            database, system_events, self.keys, clock_us, lanes=lanes, is_alive=is_alive
        )
