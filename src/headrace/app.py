"""The composition root: puts the parts of a server together; headrace.stores picks its store."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
import structlog

from headrace.backoffice.application import build_backoffice
from headrace.backoffice.shell.addresses import client_address
from headrace.backoffice.shell.context import PREFIX as BACKOFFICE_PREFIX
from headrace.backoffice.shell.context import Backoffice
from headrace.backoffice.shell.passwords import Passwords
from headrace.backoffice.shell.setup import proxy_networks, public_origin
from headrace.config import Settings, compat_families
from headrace.delivery.mail.bounce_server import BounceServer
from headrace.delivery.mail.contract import MailRelay, OutgoingMail
from headrace.delivery.mail.relay import open_relay
from headrace.delivery.mail.smtp import RelayLimits
from headrace.delivery.webhook.addresses import parse_networks
from headrace.delivery.webhook.calls import WebhookCalls
from headrace.domain.events.event import StoredEvent
from headrace.http.application import build_application
from headrace.http.contacts.erasures import erasure_response
from headrace.http.events.responses import event_response
from headrace.http.openapi import ApiDocument
from headrace.http.routing.asgi import AsgiRunner
from headrace.http.routing.context import Services
from headrace.http.routing.cursor import Cursors
from headrace.http.routing.match import RouteTable
from headrace.http.routing.router import KeyOrigins, Router, RouterDeps
from headrace.http.routing.services import IngestServices
from headrace.http.server.listener import HttpServer
from headrace.http.server.rejection_recorder import RejectionRecorder
from headrace.http.table import TAGS, served_routes
from headrace.observability.events import (
    SERVER_STARTED,
    SERVER_STOPPED,
    SERVER_STOPPING,
    STORE_EXPOSED,
    STORE_FAILED,
)
from headrace.pipeline.access.key_uses import KeyUseLog
from headrace.pipeline.access.keys import AccessCache
from headrace.pipeline.access.operators import OperatorCache
from headrace.pipeline.delivering.webhooks import Webhooks
from headrace.pipeline.intake.accept import Acceptor
from headrace.pipeline.intake.commit_queue import CommitQueue
from headrace.pipeline.intake.commit_trials import CommitTrials
from headrace.pipeline.intake.disk_guard import DiskGuard
from headrace.pipeline.intake.rejections import RejectionLog
from headrace.pipeline.intake.rollups import AcceptRollups
from headrace.pipeline.loop import BackgroundLoop
from headrace.pipeline.messages.mail_services import (
    bounce_server,
    listener_of,
    mail_services,
    mailbox_of,
    relay_of,
)
from headrace.pipeline.push.clients import PushClients, client_limits
from headrace.pipeline.push.push_apps import PushAppSetup
from headrace.pipeline.push.push_services import push_sending_of
from headrace.pipeline.streams.follower import LiveFollower
from headrace.pipeline.streams.live import LiveFeed
from headrace.pipeline.streams.streams import Streams
from headrace.pipeline.supervisor import WorkerSupervisor
from headrace.pipeline.upkeep.alert_channels import alert_channels
from headrace.pipeline.upkeep.alert_watch import AlertWatch
from headrace.process_names import own_name
from headrace.store.contract.commits import Pending
from headrace.store.contract.erasures import Erasure
from headrace.store.contract.errors import StoreError, StoreFailedError
from headrace.store.store import Store
from headrace.stores import store_url

#: From SIGTERM to the end of the process.
STOP_SECONDS_MAX = 10.0
#: Of those, for draining connections and stopping the worker.
DRAIN_SECONDS_MAX = 6.0
#: Then for flushing counters; the rest is for the store.
FLUSH_SECONDS_MAX = 1.0

#: Settings of the server that a supervised worker gets.
WORKER_SETTINGS = (
    *("store", "postgres_connections_max", "postgres_statements_kept"),
    *("handlers", "webhook_allow_networks", "log_level", "log_format"),
    *("public_url", "mail_relay", "mail_connections_max", "mail_bounce_domain"),
    *("mail_bounce_imap", "mail_ses_topics", "mail_postmark_login"),
    *("push_hosts", "push_subject", "secret_key"),
)

_log = structlog.get_logger()


def worker_supervisor(settings: Settings) -> WorkerSupervisor:
    """Supervisor of a worker on the same store and with the same settings."""
    command = (sys.executable, "-m", "headrace", "worker", "--supervised")
    flags = {name: str(getattr(settings, name)) for name in WORKER_SETTINGS}
    if not settings.public_url:
        # Links in mail lead to the server's address.
        flags["public_url"] = f"http://{settings.host}:{settings.port}"
    environ = {
        name: value
        for name, value in os.environ.items()
        if name.removesuffix("_FILE") not in {f"HEADRACE_{key.upper()}" for key in flags}
    }
    environ |= {f"HEADRACE_{name.upper()}": value for name, value in flags.items()}
    return WorkerSupervisor(command, environ)


def event_text(event: StoredEvent) -> bytes:
    """JSON text of an event as the API shows it."""
    return msgspec.json.encode(event_response(event))


def erasure_text(erasure: Erasure) -> bytes:
    """JSON text of an erasure as the API shows it."""
    return msgspec.json.encode(erasure_response(erasure))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Parts:
    """The parts of a server."""

    queue: CommitQueue
    access: AccessCache
    streams: Streams
    calls: WebhookCalls
    passwords: Passwords
    guard: DiskGuard
    http: HttpServer
    supervisor: WorkerSupervisor | None
    #: Accepts mail that came back; None without the setting.
    bounces: BounceServer | None
    #: Set at the stop, to end long requests.
    stopping: asyncio.Event
    #: Buffered counters; flushed for the last time at the stop.
    counted: Sequence[Flushes]
    #: All background loops.
    loops: Sequence[BackgroundLoop]


class Flushes(Protocol):
    """Buffers writes."""

    async def flush(self) -> object: ...


async def _parts(settings: Settings, store: Store, *, with_worker: bool) -> _Parts:
    clock_us = store.clock_us
    supervisor = worker_supervisor(settings) if with_worker else None
    queue = CommitQueue(asyncio.get_running_loop(), store.wake, store.committers)
    acceptor = Acceptor(queue, await store.event_ids())
    access = AccessCache(store.projects, clock_us)
    await access.refresh()
    operators = OperatorCache(store.operators)
    await operators.refresh()
    live = LiveFeed(None if store.arrivals is None else clock_us)
    streams = Streams(live)
    rejections = RejectionLog(store.rejections, clock_us)
    rollups = AcceptRollups(store.rollups, clock_us)
    rejections.on_added = rollups.rejected
    queue.on_settled = _on_settled(rollups, live, supervisor)
    recorder = RejectionRecorder(rejections, clock_us)
    calls = WebhookCalls(parse_networks(settings.webhook_allow_networks), store.secret_keys)
    webhooks = Webhooks(calls, clock_us)
    mail = await mail_services(settings, store)
    listener = listener_of(settings)
    # Only the worker reads it, but a wrong setting has to stop the start.
    mailbox_of(settings)
    push = PushClients(store, acceptor, access, rejections, client_limits(settings))
    push_apps = PushAppSetup(store)
    push_sending = push_sending_of(settings, store)
    passwords = Passwords()
    stopping = asyncio.Event()
    proxies = proxy_networks(settings.trusted_proxies)
    services = Services(
        store=store,
        acceptor=acceptor,
        access=access,
        streams=streams,
        cursors=Cursors(await store.secret("cursors")),
        webhooks=webhooks,
        mail=mail,
        push=push,
        push_apps=push_apps,
        push_sending=push_sending,
        document=_document(settings),
        clock_us=clock_us,
        public_url=settings.public_url,
        client_address=lambda request: client_address(request, proxies),
        worker_problem=None if supervisor is None else lambda: supervisor.problem,
        stopping=stopping,
    )
    backoffice = Backoffice(
        store=store,
        streams=streams,
        webhooks=webhooks,
        passwords=passwords,
        mail=mail,
        push_apps=push_apps,
        push_sending=push_sending,
        relay=relay_of(settings),
        clock_us=clock_us,
        public_origin=public_origin(settings.public_url),
        trusted_proxies=proxies,
    )
    router = Router(
        RouterDeps(
            table=RouteTable(served_routes(compat_families(settings.compat))),
            access=access,
            operators=operators,
            services=IngestServices(acceptor, recorder, clock_us, store.events.first_copies),
            runner=AsgiRunner(build_application(recorder), {"services": services}),
            origins=KeyOrigins(),
            mounts=_mounts(settings, backoffice),
        )
    )
    key_uses = KeyUseLog(access, store.members, clock_us)
    guard = DiskGuard(store, acceptor, settings.disk_free_min_bytes)
    channels = alert_channels(settings, calls, lambda: _alert_relay(settings))
    watch = AlertWatch(
        store,
        channels,
        owner=own_name(),
        disk_free_min_bytes=settings.disk_free_min_bytes,
    )
    loops: list[BackgroundLoop] = [
        watch,
        *(guard, CommitTrials(store, queue), rejections, rollups),
        *(access, operators, key_uses, streams, mail.links, push.events),
    ]
    if store.arrivals is not None:
        loops.append(LiveFollower(store.arrivals, live, clock_us))
    if supervisor is not None:
        loops.append(supervisor)
    return _Parts(
        queue=queue,
        access=access,
        streams=streams,
        calls=calls,
        passwords=passwords,
        guard=guard,
        http=HttpServer(router),
        supervisor=supervisor,
        bounces=None if listener is None else bounce_server(listener, mail.intake),
        stopping=stopping,
        counted=(rejections, rollups, key_uses, mail.links),
        loops=loops,
    )


def _alert_relay(settings: Settings) -> MailRelay:
    async def keep(mail: OutgoingMail) -> None:
        """Only the relay `capture:` keeps mail, and alerts do not use it."""

    limits = RelayLimits(connections_max=1)
    name = socket.gethostname() or "localhost"
    return open_relay(relay_of(settings), keep, limits, client_name=name)


def _on_settled(
    rollups: AcceptRollups, live: LiveFeed, supervisor: WorkerSupervisor | None
) -> Callable[[list[Pending]], None]:
    def settled(batch: list[Pending]) -> None:
        rollups.settled(batch)
        live.publish(batch)
        if supervisor is not None:
            supervisor.nudge(batch)

    return settled


def _document(settings: Settings) -> ApiDocument:
    has_backoffice = settings.backoffice != "off"
    return ApiDocument(
        served_routes(compat_families(settings.compat)),
        TAGS,
        server_url=settings.public_url or "/",
        backoffice_path=BACKOFFICE_PREFIX if has_backoffice else None,
    )


def _mounts(settings: Settings, backoffice: Backoffice) -> dict[bytes, AsgiRunner]:
    """Applications beside the API, by the first part of their paths."""
    if settings.backoffice == "off":
        return {}
    runner = AsgiRunner(build_backoffice(), {"backoffice": backoffice})
    return {BACKOFFICE_PREFIX.encode(): runner}


class Headrace:
    """A server: built by `assemble`, started by `start`, ended by `stop`."""

    def __init__(
        self, settings: Settings, store: Store, parts: _Parts, ended: asyncio.Event
    ) -> None:
        self.settings = settings
        self.store = store
        self.access = parts.access
        self.port = 0
        #: Set when the process must end; `failure` says why, None for an orderly stop.
        self.ended = ended
        self.failure: StoreFailedError | None = None
        #: Set when the worker ended because of a wrong setting, which it has logged.
        self.worker_unusable = False
        self._parts = parts
        self._loop = asyncio.get_running_loop()
        self._tasks: list[asyncio.Task[None]] = []
        if parts.supervisor is not None:
            parts.supervisor.on_unusable = self._worker_unusable

    @classmethod
    async def assemble(
        cls,
        settings: Settings,
        store: Store,
        *,
        with_worker: bool = False,
        ended: asyncio.Event | None = None,
    ) -> Headrace:
        """Build a server on a store, which it closes at its end.

        Args:
            with_worker: whether to keep a worker process beside it.
            ended: set when the process must end.

        Raises:
            StoreError: the store cannot be read.
            SettingError: a setting cannot be used.
        """
        parts = await _parts(settings, store, with_worker=with_worker)
        return cls(settings, store, parts, ended or asyncio.Event())

    async def start(self) -> None:
        """Start everything and listen.

        Raises:
            OSError: the address cannot be used.
            StoreError: the store cannot be read.
        """
        parts, store = self._parts, self.store
        await parts.guard.check()
        if exposed := (await store.health()).exposed_files:
            _log.warning(STORE_EXPOSED, files=exposed, advice="chmod 600, as their owner")
        store.start_committing(parts.queue, self._store_failed)
        if parts.bounces is not None:
            await parts.bounces.start()
        self.port = await parts.http.start(self.settings.host, self.settings.port)
        self._tasks = [
            asyncio.create_task(loop.run(), name=type(loop).__name__) for loop in parts.loops
        ]
        # What exists now lives as long as the process: the collector need not scan it again.
        gc.collect()
        gc.freeze()
        # Requests create no cycles; the default would collect every few requests.
        gc.set_threshold(20_000, 20, 20)
        _log.info(
            SERVER_STARTED,
            host=self.settings.host,
            port=self.port,
            store=store_url(self.settings.store).shown,
        )

    def _worker_unusable(self) -> None:
        self.worker_unusable = True
        self.ended.set()

    def _store_failed(self, error: StoreFailedError) -> None:
        def end() -> None:
            _log.critical(STORE_FAILED, error=str(error))
            self.failure = error
            self.ended.set()

        self._loop.call_soon_threadsafe(end)

    async def stop(self) -> None:
        """Accept nothing more, finish requests already read, close the store."""
        _log.info(SERVER_STOPPING)
        parts = self._parts
        parts.stopping.set()
        parts.streams.stop()
        parts.http.stop_listening()
        if parts.bounces is not None:
            await parts.bounces.close()
        async with asyncio.TaskGroup() as ending:
            if parts.supervisor is not None:
                ending.create_task(parts.supervisor.stop())
            closing = ending.create_task(parts.http.wait_closed(DRAIN_SECONDS_MAX))
        finished = closing.result()
        parts.queue.closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.failure is None:
            with contextlib.suppress(StoreError, TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS_MAX):
                    for counted in parts.counted:
                        await counted.flush()
        await parts.calls.close()
        parts.passwords.close()
        await self.store.close()
        _log.info(SERVER_STOPPED, every_request_responded=finished)
