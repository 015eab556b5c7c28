"""Reads why an event started no run, and what became of the mails of runs."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.domain.automations.definition.parsing import parse_document
from headrace.domain.automations.running.explaining import (
    Basis,
    SendExplained,
    StartExplained,
    StartVerdict,
    explain_send,
    recorded,
    send_steps,
)
from headrace.domain.automations.running.runs import stable_id
from headrace.domain.automations.running.starting import (
    AutomationStatus,
    StartContext,
    decide_start,
)
from headrace.domain.contacts.contact import Contact
from headrace.domain.events.event import Status, StoredEvent
from headrace.domain.ids import lane_of_id, uuid_text
from headrace.store.automations.automations import (
    COLUMNS,
    automation,
    find_automation,
)
from headrace.store.automations.inputs import event_of
from headrace.store.automations.run_rows import REJECTED, key_of, rejected_start
from headrace.store.automations.runs import find_run, runs_of
from headrace.store.automations.version_cache import VersionCache
from headrace.store.automations.views import read_run_policies, read_view
from headrace.store.contacts.contact_writes import by_id
from headrace.store.contract.automations import (
    AUTOMATIONS_MAX,
    Automation,
    RejectedStart,
    RunDetail,
)
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Transaction
from headrace.store.events.events import find_event

#: Runs of a contact whose mails are explained.
RUNS_EXPLAINED_MAX = 20
STARTED_BY = sql(
    f"SELECT {COLUMNS} FROM automations WHERE project_id = $1 AND trigger_event = $2 "
    f"ORDER BY created_us LIMIT {AUTOMATIONS_MAX}"
)
REJECTED_BY = sql(
    f"SELECT {REJECTED} FROM rejected_starts WHERE lane = $1 AND sequence = $2 "
    f"LIMIT {AUTOMATIONS_MAX}"
)
IN_INBOX = sql("SELECT due_us, error FROM automation_inbox WHERE lane = $1 AND sequence = $2")
VERSION_AT = sql(
    "SELECT number FROM automation_versions WHERE automation_id = $1 AND published_us <= $2 "
    "ORDER BY number DESC LIMIT 1"
)
_EXISTS = sql("SELECT version FROM automation_runs WHERE lane = $1 AND id = $2")


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """An automation with what became of an event there."""

    automation: Automation
    event: StoredEvent
    start: StartExplained


class RunExplained(msgspec.Struct, frozen=True, kw_only=True):
    """A run with what became of its send steps."""

    detail: RunDetail
    sends: Sequence[SendExplained]


class Explanations:
    """Explanations of all projects, from what is stored anyway."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._versions = VersionCache()

    async def of_event(self, project_id: int, event_id: bytes) -> Sequence[Explained] | None:
        """What became of an event in each automation that it concerns.

        These are the automations that it would start now, and those for which something is
        stored. None when the project has no such event.
        """

        async def read(tx: Transaction) -> list[Explained] | None:
            event = await find_event(tx, project_id, event_id)
            if event is None:
                return None
            found = [automation(row) for row in await tx.rows(STARTED_BY, project_id, event.event)]
            for one in await _rejections(tx, event):
                if all(each.id != one.automation_id for each in found):
                    held = await find_automation(tx, project_id, one.automation_id)
                    found += [] if held is None else [held]
            return [await self._start(tx, each, event) for each in found]

        return await self._database.read(read, snapshot=True)

    async def of_events(self, of: Automation, events: Sequence[StoredEvent]) -> Sequence[Explained]:
        """What became of events in one automation."""

        async def read(tx: Transaction) -> list[Explained]:
            return [await self._start(tx, of, event) for event in events]

        return await self._database.read(read, snapshot=True)

    async def sends(self, of: Automation, contact: Contact) -> Sequence[RunExplained]:
        """The newest runs of a contact in one automation, with what became of their mails."""

        async def read(tx: Transaction) -> list[RunExplained]:
            rows = await runs_of(tx, contact, of.id, RUNS_EXPLAINED_MAX)
            details = [await find_run(tx, row.id) for row in rows]
            return [await self._run(tx, each) for each in details if each is not None]

        return await self._database.read(read, snapshot=True)

    async def _run(self, tx: Transaction, detail: RunDetail) -> RunExplained:
        version = await self._versions.get(tx, detail.row.automation_id, detail.row.version)
        sends = [explain_send(version, detail.run, step.key) for step in send_steps(version)]
        return RunExplained(detail=detail, sends=sends)

    async def _start(self, tx: Transaction, of: Automation, event: StoredEvent) -> Explained:
        start = await _stored_start(tx, of, event)
        if start is None:
            start = await self._evaluated(tx, of, event)
        return Explained(automation=of, event=event, start=start)

    async def _evaluated(
        self, tx: Transaction, of: Automation, event: StoredEvent
    ) -> StartExplained:
        number = await tx.value(VERSION_AT, of.id, event.received_us)
        if number is None:
            return _now(StartVerdict.NOT_ACTIVE, "The automation was published later.", None)
        version = await self._versions.get(tx, of.id, number)
        trigger = version.definition.trigger
        if trigger.event_name != event.event:
            text = f"Version {number}, the newest at that time, starts with {trigger.event_name}."
            return _now(StartVerdict.ANOTHER_EVENT, text, number)
        if of.status is AutomationStatus.ARCHIVED:
            return _now(StartVerdict.NOT_ACTIVE, "The automation is archived.", number)
        view = None
        if event.resolved_contact_id is not None:
            contact = await by_id(tx, of.project_id, event.resolved_contact_id)
            if contact is not None:
                policies = await read_run_policies(tx, of.project_id)
                view = await read_view(tx, contact, version, policies)
        decision = decide_start(trigger, event_of(event), view, StartContext())
        if decision.started:
            text = (
                "Nothing prevents a start now. Either the run or the reason is no longer kept, "
                "or the contact has changed."
            )
            return _now(StartVerdict.NO_RECORD, text, number)
        note = decision.note
        return StartExplained(
            verdict=StartVerdict(note.reason.value),
            basis=Basis.EVALUATED_NOW,
            sentence=note.sentence,
            version=number,
            evidence=note.evidence,
        )


async def _stored_start(
    tx: Transaction, of: Automation, event: StoredEvent
) -> StartExplained | None:
    """What was stored when it was decided; None: nothing."""
    run_id = stable_id(of.id, uuid_text(event.id))
    number = await tx.value(_EXISTS, *key_of(run_id))
    if number is not None:
        return StartExplained(
            verdict=StartVerdict.STARTED,
            basis=Basis.RECORDED,
            sentence="The event started a run.",
            version=number,
            run_id=run_id,
        )
    for one in await _rejections(tx, event):
        if one.automation_id == of.id:
            return recorded(one.reason, one.sentence, one.version)
    if event.status != Status.PROCESSED:
        return _stored(StartVerdict.NOT_PROCESSED, "The event is not processed.")
    waiting = await tx.row(IN_INBOX, lane_of_id(event.id), event.sequence)
    if waiting is None:
        return None
    due_us, error = waiting
    if due_us is not None:
        return _stored(
            StartVerdict.IN_INBOX, "The event waits for the runner, or for the start limit."
        )
    return _stored(StartVerdict.INBOX_FAILED, f"The event could not be applied: {error}.")


async def _rejections(tx: Transaction, event: StoredEvent) -> list[RejectedStart]:
    rows = await tx.rows(REJECTED_BY, lane_of_id(event.id), event.sequence)
    return [rejected_start(row) for row in rows]


def first_event_name(text: str) -> str | None:
    """Event of the trigger of a definition as JSON; None while it has none."""
    definition = parse_document(text.encode()).definition
    return None if definition is None else definition.trigger.event_name or None


def _stored(verdict: StartVerdict, sentence: str) -> StartExplained:
    return StartExplained(verdict=verdict, basis=Basis.RECORDED, sentence=sentence)


def _now(verdict: StartVerdict, sentence: str, version: int | None) -> StartExplained:
    return StartExplained(
        verdict=verdict, basis=Basis.EVALUATED_NOW, sentence=sentence, version=version
    )
