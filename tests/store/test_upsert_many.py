"""Many contacts in one call: each independently, as a dry run, and none twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from headrace.domain.contacts.contact import ContactWrite
from headrace.domain.errors import ApiError
from headrace.store.contract.contacts import UPSERTS_MAX, ContactFilter, Upserted, UpsertOutcome
from tests.support.events import START_US
from tests.support.session import StoreSession
from tests.support.stored_contacts import create_contact, system_events


def upsert(session: StoreSession, *writes: ContactWrite, **more: Any) -> Sequence[UpsertOutcome]:
    contacts = session.store.contacts
    return session.run(contacts.upsert_many(1, writes, START_US + 1, source="import", **more))


def told(outcome: UpsertOutcome) -> str:
    if isinstance(outcome, ApiError):
        return outcome.code.value
    return "created" if outcome.created else "updated" if outcome.changed else "unchanged"


def test_writes_are_independent(session: StoreSession) -> None:
    create_contact(session, external_id="held", email="held@x.org")
    create_contact(session, external_id="full", properties={"a": "x" * 16_000})
    writes = [
        ContactWrite(external_id="new"),
        ContactWrite(external_id="other", email="held@x.org"),
        ContactWrite(external_id="held", properties={"a": 1}),
        ContactWrite(external_id="full", properties={"b": "x" * 400}),
        ContactWrite(email="held@x.org", properties={"a": 1}),
    ]

    outcomes = upsert(session, *writes)

    assert [told(outcome) for outcome in outcomes] == [
        "created",
        "Conflict",
        "updated",
        "ValidationError",
        "unchanged",
    ]
    names = [name.rpartition(".")[2] for name, _ in system_events(session, "sendrealm.contact.")]
    assert names == ["created", "created", "created", "updated"]


def test_dry_run_reports_the_same_and_writes_nothing(session: StoreSession) -> None:
    writes = [ContactWrite(external_id=f"u{n % 150}") for n in range(2 * UPSERTS_MAX)]

    rehearsed = upsert(session, *writes, dry_run=True)
    page = session.run(session.store.contacts.list(1, ContactFilter(), before=None, limit=10))
    done = upsert(session, *writes)

    assert page.contacts == []
    assert [told(outcome) for outcome in rehearsed] == [told(outcome) for outcome in done]
    assert sum(told(outcome) == "created" for outcome in done) == 150
    assert len(system_events(session, "sendrealm.contact.")) == 150


def test_concurrent_batches_create_each_contact_once(session: StoreSession) -> None:
    writes = [ContactWrite(external_id=f"u{n}", email=f"u{n}@x.org") for n in range(30)]

    async def work() -> list[Sequence[UpsertOutcome]]:
        verb = session.store.contacts.upsert_many
        orders = [writes[n:] + writes[:n] for n in (0, 10, 20)]
        return await asyncio.gather(
            *(verb(1, order, START_US, source="import") for order in orders)
        )

    outcomes = [outcome for answer in session.run(work()) for outcome in answer]

    assert all(isinstance(outcome, Upserted) for outcome in outcomes)
    assert sum(told(outcome) == "created" for outcome in outcomes) == 30
    assert len(system_events(session, "sendrealm.contact.")) == 30
