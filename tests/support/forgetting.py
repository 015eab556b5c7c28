"""A store with people whose events are processed, and who are then erased."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from headrace.domain.access.policies import Policies
from headrace.domain.automations.running.runs import Event, Run
from headrace.domain.automations.running.states import RunStatus
from headrace.domain.contacts.audiences import AudienceFields
from headrace.domain.contacts.contact import Contact, ContactWrite
from headrace.domain.contacts.topics import TopicFields
from headrace.domain.events.event import NewEvent, Status
from headrace.domain.ids import uuid_text
from headrace.domain.messages.kinds import SuppressionScope
from headrace.domain.messages.places import lane_of_uuid
from headrace.domain.messages.requests import SuppressionFields
from headrace.domain.push.devices import device_lane
from headrace.pipeline.processing.cataloguer import Cataloguer
from headrace.pipeline.processing.plan import BatchPlanner, Rules
from headrace.store.automations.run_rows import key_of, state_text
from headrace.store.contract.erasures import SETTLE_US, Erasure
from headrace.store.contract.processing import (
    BatchPlan,
    Claimed,
    FindContact,
    Planner,
    SubscriberRule,
)
from headrace.store.contract.rejections import Rejection
from headrace.store.messages.sending.emails import SendContext
from tests.support import mail
from tests.support.events import START_US, new_event
from tests.support.queue import Queue
from tests.support.session import StoreSession
from tests.support.stored_rows import insert

CANARY = "kanarienvogel"
X = f"{CANARY}-1"
EMAIL = f"{CANARY}@b.example"
ABSENT = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"
SUBSCRIBER = "5d6a2e1f-3f1d-4a31-8a5c-0a4c3d8d8f10"
RUN_ID = "0b1ff9f6-8f0b-5a43-9be1-3c1d1a2f7a10"
LATER_US = START_US + 60_000_000


class Cataloguing:
    """A planner whose plans also contain the catalog shapes of payloads, as in the worker."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._cataloguer = Cataloguer()

    def __call__(self, batch: Sequence[Claimed], find: FindContact) -> BatchPlan:
        plan = self._planner(batch, find)
        plan.catalog = self._cataloguer.analyze(batch, backlog=False)
        return plan


class People:
    """A store with events that the real planner processes."""

    def __init__(self, session: StoreSession) -> None:
        self.session = session
        self.queue = Queue(session)
        rules = [SubscriberRule(SUBSCRIBER, 1, ("*",), enabled=True)]
        self.planner: Planner = BatchPlanner(Rules({1: Policies()}, rules))

    def create(self, **fields: Any) -> Contact:
        write = ContactWrite(**fields)
        return self.session.run(
            self.session.store.contacts.create(1, write, START_US, source="api")
        )

    def get(self, contact_id: str) -> Contact | None:
        return self.session.run(self.session.store.contacts.get(1, contact_id))

    def accept(self, **changes: Any) -> NewEvent:
        event = new_event(**changes)
        self.queue.accept(event)
        return event

    def process(self) -> None:
        while batch := self.queue.claim():
            self.queue.process(batch, self.planner)

    def begin(self, contact_id: str) -> Erasure | None:
        return self.session.run(
            self.session.store.erasures.begin(1, contact_id, LATER_US, actor="tester")
        )

    def advance(self, erasure: Erasure, limit: int = 3) -> bool:
        now_us = LATER_US + SETTLE_US
        return self.session.run(self.session.store.erasures.advance(erasure.id, limit, now_us))

    def finish(self, erasure: Erasure) -> Erasure:
        """Run an erasure to its end; returns the receipt."""
        while self.advance(erasure):
            pass
        assert self.session.run(self.session.store.erasures.wipe(LATER_US + 9))
        found = self.session.run(self.session.store.erasures.get(1, erasure.id))
        assert found is not None
        return found

    def erase(self, contact_id: str) -> Erasure:
        begun = self.begin(contact_id)
        assert begun is not None
        return self.finish(begun)

    def names(self) -> list[str | None]:
        """External ids of remaining events, in order of receipt."""
        rows = self.session.place.run_sql(
            "SELECT external_id FROM events WHERE source <> 3 ORDER BY sequence"
        )
        return [row[0] for row in rows]


def leave_copies(database: Path) -> None:
    """Note on all receipts of a store what a file too large to be rewritten would note."""
    connection = apsw.Connection(str(database))
    connection.set_busy_timeout(5000)
    connection.execute(
        "UPDATE erasures SET report = json_set(report, '$.copies_may_remain', json('true'))"
    )
    connection.close()


def fill_every_table(people: People, contact: Contact, event: NewEvent) -> None:
    """Insert a row in everything else that can contain data of a person."""
    session, place = people.session, people.session.place
    about = {"lane": event.lane, "sequence": event.sequence, "project_id": 1}
    insert(
        place, "duplicate_requests", **about, number=1, at_us=0, request_id=CANARY, mismatch=False
    )
    failed = {"at_us": 0, "duration_us": 0, "cause": "c", "error": CANARY}
    insert(place, "processing_attempts", **about, number=1, **failed)
    rows = place.run_sql("SELECT number FROM deliveries WHERE sequence = ?", event.sequence)
    attempt = {"lane": event.lane, "delivery_number": rows[0][0], "number": 1, "excerpt": CANARY}
    insert(place, "delivery_attempts", **attempt, **failed)
    dead = {"number": 77, "id": "l", "event": "a.b", "kind": "processing", "attempts": 1}
    times = {"first_failed_us": 0, "dead_lettered_us": 0, "state": 0}
    insert(place, "dead_letters", **about, **dead, **times, cause="c", error=CANARY)
    retry = new_event(external_id=X, payload=f'{{"a":"{CANARY}"}}')
    people.queue.accept(retry)
    place.run_sql("DELETE FROM event_queue WHERE sequence = ?", retry.sequence)
    place.set_status(retry.sequence, Status.RETRYING)
    waiting = {"lane": retry.lane, "sequence": retry.sequence, "project_id": 1}
    insert(place, "event_retries", **waiting, due_us=LATER_US * 2, attempt=1, crashes=0)
    rejection = Rejection(
        project_id=1,
        at_us=0,
        status=422,
        code="ValidationError",
        message=f"The key '{CANARY}' occurs twice.",
        details=[("email", f"{EMAIL} is not an address")],
        route=f"GET /events/by-idempotency-key/{X}",
        api_key_id=None,
        request_id="r",
        body_shape={EMAIL: "string of 3"},
        body_bytes=0,
    )
    named_only_in_its_shape = Rejection(
        project_id=1,
        at_us=0,
        status=422,
        code="ValidationError",
        message="m",
        details=[],
        route="POST /contacts",
        api_key_id=None,
        request_id="r",
        body_shape={X: "string of 3"},
        body_bytes=0,
    )
    session.run(session.store.rejections.add([rejection, named_only_in_its_shape]))
    detail = f'{{"external_id":"{X}"}}'
    audit = {"at_us": 0, "actor": "a", "project_id": 1, "action": "x", "detail": detail}
    insert(place, "audit", **audit)
    topic = session.run(session.store.topics.create(1, TopicFields(name="News"), START_US))
    session.run(session.store.topics.subscribe(1, contact.id, topic.id, START_US, wanted=True))
    session.run(session.store.topics.opt_out(1, contact.id, START_US))
    audience = session.run(session.store.audiences.create(1, AudienceFields(name="VIP"), START_US))
    session.run(session.store.audiences.enter(1, audience.id, [contact.id], START_US))
    fill_catalog(people, event)
    fill_messages(people)
    fill_runs(people, contact, event)
    fill_devices(people, contact)


def fill_messages(people: People) -> None:
    """A mail to the person alone, one to the person and another, and their results."""
    session, place = people.session, people.session.place
    emails = session.store.messages.emails
    context = SendContext(domain=None, create_contacts=False)
    file = {"name": "a.txt", "type": "text/plain", "data": "aGFsbG8="}
    request = mail.email_request(to=EMAIL, text=CANARY, attachments=[file])
    (alone,) = session.run(emails.send(1, request, context, START_US)).messages
    request = mail.email_request(to=EMAIL, cc=["else@b.example"])
    session.run(emails.send(1, request, context, START_US))
    key = {"lane": lane_of_uuid(alone.id), "message_id": alone.id}
    attempt = {"number": 1, "claim": 1, "relay": "r", "started_us": 0, "diagnostic": CANARY}
    insert(place, "message_attempts", **key, **attempt)
    counted = {"kind": "open", "link": 0, "verdict": "person", "count": 1}
    insert(place, "message_engagement", **key, **counted, first_us=0, last_us=0)
    hit = {"id": "h", "kind": "open", "link": 0, "at_us": 0, "user_agent": CANARY}
    insert(place, "message_hits", **key, **hit, head=False, honeypot=False)
    captured = {
        "project_id": 1,
        "message_id": alone.id,
        "at_us": 0,
        "content": b"To: " + EMAIL.encode(),
    }
    insert(place, "captured_mails", **captured)
    received = {"id": "n", "project_id": 1, "digest": b"d", "message_id": alone.id}
    understood = {"intake": "imap", "source": "dsn", "event": "", "kind": "hard", "address": EMAIL}
    followed = {"effect": "suppressed", "at_us": 0, "raw": CANARY}
    insert(place, "mail_notifications", **received, **understood, **followed)
    fields = SuppressionFields(email=EMAIL, scope=SuppressionScope.ALL, note=CANARY)
    session.run(session.store.messages.suppressions.add(1, fields, START_US, actor="tester"))


def fill_runs(people: People, contact: Contact, event: NewEvent) -> None:
    """A run of the person, and what is kept about other starts."""
    place = people.session.place
    trigger = Event(
        sequence=event.sequence,
        id=uuid_text(event.id),
        name="a.b",
        payload={"secret": CANARY},
        occurred_us=0,
        received_us=0,
    )
    run = Run(
        id=RUN_ID,
        automation_id="a",
        version=1,
        trigger=trigger,
        status=RunStatus.COMPLETED,
        at_us=0,
    )
    lane, _ = key_of(run.id)
    about = {"project_id": 1, "automation_id": "a", "version": 1, "contact_id": contact.id}
    started = {"event_lane": event.lane, "sequence": event.sequence, "started_us": 0}
    insert(
        place,
        "automation_runs",
        **(about | started),
        lane=lane,
        id=run.id,
        entry_key=CANARY,
        status="completed",
        state=state_text(run),
        error=CANARY,
        finished_us=1,
    )
    note = {"number": 0, "at_us": 0, "reason": "started", "sentence": CANARY}
    insert(place, "automation_notes", lane=lane, run_id=run.id, **note)
    start = {"event_id": "e", "reason": "paused", "sentence": CANARY, "at_us": 0}
    insert(place, "rejected_starts", **about, **start, lane=1, sequence=event.sequence)
    entry = {"entry_key": CANARY, "last_start_us": 0, "starts": 1}
    insert(place, "automation_entries", **about, **entry, lane=1)
    failed = {"sequence": event.sequence, "error": CANARY}
    insert(place, "automation_inbox", **about, **failed, lane=event.lane)


def fill_devices(people: People, contact: Contact) -> None:
    """A device of the person with a kept event, and what it was sent."""
    place = people.session.place
    app_id, device_id = "app", "device"
    about = {"lane": device_lane(app_id, device_id), "app_id": app_id, "project_id": 1}
    device = {"platform": "web", "environment": "production", "state": "subscribed"}
    insert(
        place,
        "push_devices",
        **about,
        **device,
        id=device_id,
        contact_id=contact.id,
        subscribed=True,
        address=f"https://push.example.org/{CANARY}",
        address_hash=b"x",
        facts=f'{{"model":"{CANARY}"}}',
        tags=f'{{"name":"{CANARY}"}}',
        kept_events=1,
        state_us=0,
        created_us=0,
        seen_us=0,
        updated_us=0,
        failure=CANARY,
    )
    kept = {"id": CANARY, "event": "a.b", "payload": f'{{"a":"{CANARY}"}}', "received_us": 0}
    insert(place, "push_device_events", **about, **kept, device_id=device_id)
    # One to the contact, and one to the device of nobody known then.
    for number, contact_id in enumerate((contact.id, None)):
        sent = {"app_id": app_id, "platform": "web", "device_id": device_id, "project_id": 1}
        own = {"id": f"n{number}", "contact_id": contact_id, "target": CANARY, "created_us": 0}
        insert(place, "push_notifications", **sent, **own, lane=number, state="failed")
        key = {"lane": number, "notification_id": f"n{number}"}
        attempt = {"number": 1, "claim": 1, "service": "x", "started_us": 0, "detail": CANARY}
        insert(place, "push_attempts", **key, **attempt)
        seen = {"kind": "click", "action_id": CANARY, "count": 1, "first_us": 0, "last_us": 0}
        insert(place, "push_engagement", **key, **seen)


def fill_catalog(people: People, event: NewEvent) -> None:
    place = people.session.place
    common = {"lane": 0, "project_id": 1, "event": "a.b"}
    seen = {"first_us": 0, "last_us": 0, "events": 1, "sources": 1, "inspected": 1}
    example = {"example": f'{{"{EMAIL}":"…"}}', "example_id": event.id}
    insert(place, "catalog_names", **common, **seen, **example)
    path = {"path": f"users.{EMAIL}.age", "first_us": 0, "last_us": 0, "types": 1, "looks": 0}
    numbers = {"present": 1, "first_number": 1, "last_number": 1, "sequence": event.sequence}
    insert(place, "catalog_paths", **common, **path, **numbers)
    drift = {"number": 1, "kind": "new_path", "type": 0, "at_us": 0, "before": 0}
    insert(place, "catalog_drift", **common, **drift, path=f"users.{EMAIL}.age")
