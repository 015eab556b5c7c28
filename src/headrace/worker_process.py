"""The worker: processes and delivers accepted events, in a process of its own.

Separate from the server because handlers are foreign code and network calls cost CPU: neither may
share an interpreter with ingest (docs/decisions/0003-worker-process.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from pathlib import Path

import structlog

from headrace.config import Settings
from headrace.delivery.contract import Transport
from headrace.delivery.handlers import registered
from headrace.delivery.handlers.isolation import IsolatingHandlers
from headrace.delivery.handlers.loading import load_handlers
from headrace.delivery.handlers.transport import HandlerTransport
from headrace.delivery.mail.contract import MailRelay, OutgoingMail
from headrace.delivery.mail.relay import open_relay
from headrace.delivery.mail.relay_url import RelayKind
from headrace.delivery.mail.smtp import RelayLimits
from headrace.delivery.push.contract import PushTransport
from headrace.delivery.webhook.addresses import parse_networks
from headrace.delivery.webhook.calls import WebhookCalls
from headrace.observability.events import WORKER_HELD, WORKER_STARTED, WORKER_STOPPED
from headrace.pipeline.automations.runner import AutomationRunner
from headrace.pipeline.contacts.eraser import Eraser
from headrace.pipeline.delivering.deliverer import Deliverer, DelivererStores, Transports
from headrace.pipeline.delivering.replayer import Replayer
from headrace.pipeline.loop import BackgroundLoop, Loop, LoopOptions
from headrace.pipeline.messages.audience_sends import PUSH_LEADERSHIP, AudienceSends
from headrace.pipeline.messages.bounce_mailbox import BounceMailbox
from headrace.pipeline.messages.composer import Composer, MailSettings
from headrace.pipeline.messages.feedback_settled import FeedbackSettled
from headrace.pipeline.messages.hits import HitsSettled
from headrace.pipeline.messages.mail_services import (
    mail_intake,
    mailbox_of,
    provider_headers,
    relay_of,
)
from headrace.pipeline.messages.sender import Sender, SenderStores
from headrace.pipeline.processing.contact_merger import ContactMerger
from headrace.pipeline.processing.processor import Processor
from headrace.pipeline.processing.rules_cache import RulesCache
from headrace.pipeline.push.openings import Openings
from headrace.pipeline.push.push_services import web_push_transport
from headrace.pipeline.push.sender import PushSender, PushStores
from headrace.pipeline.upkeep.alert_watch import WorkerPresence
from headrace.pipeline.upkeep.deleted_lists import DeletedListCleaner
from headrace.pipeline.upkeep.history_pruner import HistoryPruner
from headrace.pipeline.upkeep.maintenance import Maintenance
from headrace.pipeline.upkeep.retention import EventRetention, RetentionOptions
from headrace.process_names import own_name
from headrace.store.contract.deliveries import LoadedHandler
from headrace.store.contract.errors import StoreError
from headrace.store.store import Store
from headrace.stores import store_url

#: From SIGTERM to the end of the process.
STOP_SECONDS_MAX = 10.0
#: Of those, for attempts in progress and for releasing claims.
GIVE_BACK_SECONDS_MAX = 5.0

#: How often the worker's state is checked for changes.
STATE_SECONDS = 0.5
#: Notices of arrivals from other processes; after an error the worker only polls for a while.
LISTENING = LoopOptions(name="arrivals", pause_s=5.0)
#: How often a worker asks whether held work is released.
HELD_SECONDS = 1.0
HELD = "work is held after a restore, until: headrace release"
#: Handlers that are named in the state.
STUCK_NAMED_MAX = 3

_log = structlog.get_logger()


class WorkerProcess:
    """Runs the loops of one worker until `ended` is set."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.ended = asyncio.Event()
        self.failed = False
        self._settings = settings
        self._store = store
        self._nudged = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._transports: list[Transport | MailRelay | PushTransport] = []
        self._handlers: HandlerTransport | None = None
        self._held = False

    async def wait_released(self) -> bool:
        """Wait while work is held; False when the process is to end.

        Raises:
            StoreError: the store cannot be read.
        """
        while await self._store.held_work.get() is not None:
            if not self._held:
                _log.warning(WORKER_HELD, advice="headrace release")
            self._held = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait(), HELD_SECONDS)
            if self.ended.is_set():
                return False
        self._held = False
        return True

    async def start(self) -> None:
        """Start every loop.

        Raises:
            StoreError: the store cannot be read.
            HandlersNotLoadedError: a module of handlers cannot be used.
            ValueError: the networks that webhooks may call are not networks.
        """
        store, rng = self._store, random.SystemRandom()
        rules = RulesCache(store.projects, store.processing, store.automations.definitions)
        await rules.refresh()
        self.processor = Processor(
            store.processing,
            rules,
            owner=own_name(),
            nudged=self._nudged,
            clock_us=store.clock_us,
            rng=rng,
        )
        replayer = Replayer(
            store.replays, store.processing, owner=own_name(), clock_us=store.clock_us
        )
        self.deliverer = await self._make_deliverer(rules, rng)
        self.processor.on_deliveries = self.deliverer.wake
        removals = DeletedListCleaner(
            store.audiences,
            store.topics,
            store.processing,
            owner=own_name(),
            clock_us=store.clock_us,
        )
        eraser = Eraser(store.erasures, store.processing, owner=own_name(), clock_us=store.clock_us)
        self.sender = await self._make_sender(rng)
        audience_sends = AudienceSends(
            store.messages.jobs, store.processing, owner=own_name(), clock_us=store.clock_us
        )
        audience_sends.on_made = self.sender.wake
        runner = AutomationRunner(
            store.automations.work, store.processing, owner=own_name(), clock_us=store.clock_us
        )

        def wake_senders() -> None:
            self.sender.wake()
            self.push_sender.wake()

        runner.on_worked = wake_senders
        self.processor.on_inbox = runner.wake
        hits = HitsSettled(store.messages.engagements, store.clock_us)
        feedback = FeedbackSettled(store.messages.notifications, store.clock_us)
        push_audiences = AudienceSends(
            store.push.jobs,
            store.processing,
            owner=own_name(),
            clock_us=store.clock_us,
            leadership=PUSH_LEADERSHIP,
        )
        openings = Openings(store.push.reports, store.clock_us)
        self.push_sender = self._make_push_sender(rng)
        push_audiences.on_made = self.push_sender.wake
        self._begin(self.sender, audience_sends, hits, runner, feedback)
        mailbox = mailbox_of(self._settings)
        if mailbox is not None:
            intake = await mail_intake(self._settings, store)
            self._begin(
                BounceMailbox(
                    mailbox, intake, store.processing, owner=own_name(), clock_us=store.clock_us
                )
            )
        self._begin(self.push_sender, push_audiences, openings)
        merger = ContactMerger(store.contacts, store.merges, store.clock_us)
        self.processor.on_merges = merger.add
        self._begin(rules, merger, self.processor, self.deliverer, replayer, removals, eraser)
        self._begin(Loop(self._listen, LISTENING))
        options = RetentionOptions(
            owner=own_name(),
            acquire_leadership=store.processing.acquire_leadership,
            clock_us=store.clock_us,
        )
        self._begin(Maintenance(store), EventRetention(store.retention, store.projects, options))
        prunes = (
            store.rollups.prune,
            store.catalog.prune,
            store.replays.prune,
            store.operators.prune_audit,
            store.messages.removal.prune,
            store.messages.notifications.prune,
            store.messages.receivers.prune,
            store.automations.removal.prune,
            store.alerts.prune,
            store.messages.engagements.prune,
            store.push.removal.prune,
            store.push.sends.prune,
        )
        self._begin(WorkerPresence(store, owner=own_name()))
        self._begin(HistoryPruner(prunes, store.clock_us))
        _log.info(WORKER_STARTED, store=store_url(self._settings.store).shown)

    async def _make_deliverer(self, rules: RulesCache, rng: random.Random) -> Deliverer:
        settings, store = self._settings, self._store
        modules = [name.strip() for name in settings.handlers.split(",") if name.strip()]
        registry = load_handlers(modules, Path.cwd()) if modules else registered
        loaded = [LoadedHandler(handler.name, handler.patterns) for handler in registry]
        webhooks = WebhookCalls(parse_networks(settings.webhook_allow_networks), store.secret_keys)
        in_worker = HandlerTransport(registry)
        handlers = IsolatingHandlers(in_worker, modules, Path.cwd())
        self._transports += [webhooks, handlers, in_worker]
        self._handlers = in_worker
        deliverer = Deliverer(
            DelivererStores(
                queue=store.deliveries,
                subscribers=store.subscribers,
                counts=store.delivery_counts,
            ),
            Transports(webhooks=webhooks, handlers=handlers, loaded=loaded),
            owner=own_name(),
            policies_of=rules.policies_of,
            clock_us=store.clock_us,
            rng=rng,
        )
        # Before processing begins, so that no event is fanned out without the handlers.
        await deliverer.announce()
        await rules.refresh()
        return deliverer

    async def _make_sender(self, rng: random.Random) -> Sender:
        settings, messages = self._settings, self._store.messages
        url = relay_of(settings)

        async def keep(mail: OutgoingMail) -> None:
            await messages.captured.keep(mail.message_id, mail.content, self._store.clock_us())

        limits = RelayLimits(connections_max=settings.mail_connections_max)
        relay = open_relay(url, keep, limits, client_name=socket.gethostname() or "localhost")
        self._transports.append(relay)
        mail_settings = MailSettings(
            public_url=settings.public_url.rstrip("/") or settings.url,
            bounce_domain=settings.mail_bounce_domain or None,
            provider_headers=provider_headers(settings),
        )
        return Sender(
            SenderStores(outbox=messages.outbox, materials=messages.materials),
            Composer(await messages.keys.get(), messages.links, mail_settings),
            relay,
            owner=own_name(),
            needs_domain=url.kind is not RelayKind.CAPTURE,
            clock_us=self._store.clock_us,
            rng=rng,
        )

    def _make_push_sender(self, rng: random.Random) -> PushSender:
        push = self._store.push
        transport = web_push_transport(self._settings)
        self._transports.append(transport)
        return PushSender(
            PushStores(outbox=push.outbox, materials=push.materials),
            transport,
            owner=own_name(),
            clock_us=self._store.clock_us,
            rng=rng,
        )

    def _begin(self, *loops: BackgroundLoop) -> None:
        for loop in loops:
            task = asyncio.create_task(loop.run(), name=type(loop).__name__)
            task.add_done_callback(self._loop_ended)
            self._tasks.append(task)

    def _loop_ended(self, task: asyncio.Task[None]) -> None:
        # Loops retry after errors, so an ended loop is a bug: a new process is better than a worker
        # with missing loops.
        if not task.cancelled() and not self.ended.is_set():
            self.failed = True
            _log.error(WORKER_STOPPED, loop=task.get_name(), error=repr(task.exception()))
            self.ended.set()

    def problem(self) -> str:
        """Why the worker does not work, in one line; empty when it does."""
        if self._handlers is None:
            return HELD if self._held else ""
        stuck = self._handlers.stuck()
        if not stuck:
            return ""
        more = len(stuck) - STUCK_NAMED_MAX
        named = ", ".join(stuck[:STUCK_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
        return f"handlers do not return from their calls: {named}"

    async def _listen(self) -> None:
        await self._store.listen(self._nudged.set)

    async def watch_parent(self, descriptor: int) -> None:
        """Wake up when the server signals through a socket, and end when it closes."""
        reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=descriptor))
        reporting = asyncio.create_task(self._report_to_parent(writer))
        try:
            while await reader.read(4096):
                self._nudged.set()
        except ConnectionError:
            # The server was killed with unread data.
            pass
        finally:
            reporting.cancel()
            self.ended.set()

    async def _report_to_parent(self, writer: asyncio.StreamWriter) -> None:
        """Report the worker's state to the server when it changes."""
        # The server cannot know otherwise that its worker has started.
        reported = None
        while True:
            problem = self.problem()
            # Before its start has ended, nothing is known but that work is held.
            is_known = self._handlers is not None or self._held
            if is_known and problem != reported:
                writer.write(f"{problem}\n".encode())
                reported = problem
            await asyncio.sleep(STATE_SECONDS)

    async def stop(self) -> None:
        """End the loops, release claims, close the store.

        Claims that cannot be released in time are taken over by another worker when the lease runs
        out.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GIVE_BACK_SECONDS_MAX):
                await self._give_back()
        for transport in self._transports:
            await transport.close()
        await self._store.close()
        _log.info(WORKER_STOPPED)

    async def _give_back(self) -> None:
        if self._held:
            # Nothing was started.
            return
        try:
            if self._tasks:
                stops = (self.deliverer.stop(), self.sender.stop(), self.push_sender.stop())
                for error in await asyncio.gather(*stops, return_exceptions=True):
                    if isinstance(error, BaseException) and not isinstance(error, StoreError):
                        raise error
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(StoreError):
            await self.processor.stop()
