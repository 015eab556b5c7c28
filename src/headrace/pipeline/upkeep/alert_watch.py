"""The loop that starts and ends alerts and sends their notices.

It runs in servers, one of which leads: a worker could not report that no worker runs. Alerts and
notices are in the store, so a restart neither repeats nor forgets one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import structlog

from headrace.delivery.contract import AttemptOutcome, Delivered, Delivery, WebhookTarget
from headrace.domain.events.event import Source, Status, StoredEvent
from headrace.domain.ids import first_sequence_at, id_of_sequence
from headrace.domain.timestamps import to_text
from headrace.domain.upkeep.alerts import RULES, AlertKind, Edge, Reading
from headrace.observability.events import ALERT_ENDED, ALERT_NOTICE_FAILED, ALERT_STARTED
from headrace.pipeline.leadership import Leadership
from headrace.pipeline.loop import Loop, LoopOptions
from headrace.store.store import Store
from headrace.store.upkeep.alert_readings import WORKER_PRESENT
from headrace.store.upkeep.alerts import Alert, Notice

LEADERSHIP = "alerts"
LEADERSHIP_SECONDS = 60.0
EVERY_SECONDS = 15.0
ERROR_SECONDS = 15.0
#: Notices sent after one evaluation.
NOTICES_MAX = 20
#: Attempts of a notice: about two days.
ATTEMPTS_MAX = 14
RETRY_FIRST_US = 10_000_000
RETRY_MAX_US = 6 * 3_600_000_000
#: The lease by which servers see that a worker runs.
PRESENT_SECONDS = 60.0
PRESENT_EVERY_SECONDS = 15.0
WEBHOOK, MAIL = "webhook", "mail"

_log = structlog.get_logger()

#: Sends a notice; returns why it failed, empty when it was sent.
Channel = Callable[[Notice], Awaitable[str]]


class CallsWebhooks(Protocol):
    """See `headrace.delivery.webhook.calls`."""

    async def attempt(self, delivery: Delivery) -> AttemptOutcome: ...


class AlertWatch:
    """Evaluates, and sends what is due.

    Args:
        channels: by name; without one, alerts are only shown.
        disk_free_min_bytes: see the setting.
    """

    def __init__(
        self,
        store: Store,
        channels: Mapping[str, Channel],
        *,
        owner: str,
        disk_free_min_bytes: int,
    ) -> None:
        self._store = store
        self._channels = channels
        self._disk_free_min_bytes = disk_free_min_bytes
        self._leadership = Leadership(
            store.processing.acquire_leadership,
            LEADERSHIP,
            owner=owner,
            lease_s=LEADERSHIP_SECONDS,
            clock_us=store.clock_us,
        )

    async def run(self) -> None:
        """Watch until cancelled."""
        options = LoopOptions(
            name="alerts",
            pause_s=EVERY_SECONDS,
            error_s=ERROR_SECONDS,
            # A bug here must not end the server.
            survives_faults=True,
        )
        await Loop(self._step, options).run()

    async def _step(self) -> float | None:
        if await self._leadership.is_held():
            await self.run_once()
        return None

    async def run_once(self) -> Sequence[tuple[Edge, Alert]]:
        """Evaluate once and send due notices; returns what started and ended.

        Raises:
            StoreError: the store is unavailable; nothing was changed, or some notices are sent.
        """
        store = self._store
        now_us = store.clock_us()
        readings = [*await store.alerts.readings(now_us), *await self._instance(now_us)]
        edges = await store.alerts.apply(readings, now_us, tuple(self._channels))
        for edge, alert in edges:
            event = ALERT_STARTED if edge is Edge.STARTED else ALERT_ENDED
            _log.warning(event, alert=alert.kind.value, alert_id=alert.id)
        for notice in await store.alerts.due_notices(now_us, NOTICES_MAX):
            await self._send(notice)
        return edges

    async def _instance(self, now_us: int) -> list[Reading]:
        """Readings of the disk and of the queue of events."""
        health, work = await self._store.health(), await self._store.processing.stats()
        age_s = 0 if work.oldest_us is None else max(0, now_us - work.oldest_us) // 1_000_000
        text = f"the oldest waiting event is {age_s // 60} minutes old"
        found = [_reading(AlertKind.EVENT_QUEUE_AGE, age_s, text)]
        if health.free_bytes is not None and self._disk_free_min_bytes:
            times = health.free_bytes / self._disk_free_min_bytes
            text = f"{health.free_bytes // 1_000_000} MB are free"
            found.append(_reading(AlertKind.DISK_LOW, times, text))
        return found

    async def _send(self, notice: Notice) -> None:
        channel = self._channels.get(notice.channel)
        # A channel that was configured when the alert started, and is not now.
        failure = "is not configured any more" if channel is None else await channel(notice)
        now_us = self._store.clock_us()
        if not failure:
            await self._store.alerts.notice_done(notice, now_us)
            return
        _log.warning(ALERT_NOTICE_FAILED, channel=notice.channel, alert_id=notice.alert.id)
        wait_us = min(RETRY_FIRST_US << (2 * notice.attempt), RETRY_MAX_US)
        last = channel is None or notice.attempt + 1 >= ATTEMPTS_MAX
        await self._store.alerts.notice_failed(notice, None if last else now_us + wait_us, failure)


class WorkerPresence:
    """Keeps the lease by which servers see that a worker runs."""

    def __init__(self, store: Store, *, owner: str) -> None:
        self._leadership = Leadership(
            store.processing.acquire_leadership,
            WORKER_PRESENT,
            owner=owner,
            lease_s=PRESENT_SECONDS,
            clock_us=store.clock_us,
        )

    async def run(self) -> None:
        """Keep it until cancelled."""
        await Loop(self._step, LoopOptions(name="presence", pause_s=PRESENT_EVERY_SECONDS)).run()

    async def _step(self) -> None:
        await self._leadership.is_held()


def _reading(kind: AlertKind, value: float, detail: str) -> Reading:
    return Reading(project_id=0, kind=kind, level=RULES[kind].level(value), detail=detail)


def alert_payload(alert: Alert, edge: Edge) -> dict[str, Any]:
    """An alert as notices have it."""
    return {
        "id": alert.id,
        "kind": alert.kind.value,
        "state": "open" if edge is Edge.STARTED else "ended",
        "project_id": alert.project_id or None,
        "subject": alert.subject,
        "title": alert.title,
        "detail": alert.detail,
        "fix": alert.fix,
        "started_at": None if alert.started_us is None else to_text(alert.started_us),
        "ended_at": None
        if alert.ended_us is None or edge is Edge.STARTED
        else to_text(alert.ended_us),
    }


def webhook_channel(calls: CallsWebhooks, url: str, secret: str) -> Channel:
    """Sends notices as signed webhooks, guarded like those of projects."""

    async def send(notice: Notice) -> str:
        outcome = await calls.attempt(
            Delivery(
                id=notice.id,
                attempt=notice.attempt + 1,
                event=_event(notice),
                target=WebhookTarget(url=url, secrets=(secret,)),
            )
        )
        return "" if isinstance(outcome, Delivered) else outcome.message

    return send


def _event(notice: Notice) -> StoredEvent:
    payload = msgspec.json.encode(alert_payload(notice.alert, notice.edge)).decode()
    sequence = first_sequence_at(notice.at_us)
    return StoredEvent(
        sequence=sequence,
        id=id_of_sequence(sequence, 0, int(notice.id.replace("-", ""), 16) & ((1 << 45) - 1)),
        project_id=notice.alert.project_id,
        event=f"sendrealm.alert.{notice.edge.value}",
        contact_id=None,
        external_id=f"alert:{notice.alert.id}",
        email=None,
        email_original=None,
        idempotency_key=None,
        occurred_us=notice.at_us,
        received_us=notice.at_us,
        source=Source.SYSTEM,
        api_key_id=None,
        request_id=None,
        payload=payload,
        status=Status.PROCESSED,
        resolved_contact_id=None,
        attempts=1,
        last_error=None,
    )


def mail_text(notice: Notice) -> tuple[str, str]:
    """Subject and text of a notice by mail."""
    alert = notice.alert
    word = "Alert" if notice.edge is Edge.STARTED else "Ended"
    lines = [
        f"{alert.title}: {alert.detail}",
        "",
        f"What to do: {alert.fix}" if notice.edge is Edge.STARTED else "It has ended by itself.",
        "",
        f"Started: {'' if alert.started_us is None else to_text(alert.started_us)}",
    ]
    if notice.edge is Edge.ENDED and alert.ended_us is not None:
        lines.append(f"Ended:   {to_text(alert.ended_us)}")
    lines.append(f"Alert:   {alert.kind.value} {alert.id}")
    return f"[Headrace] {word}: {alert.title}", "\n".join(lines) + "\n"
