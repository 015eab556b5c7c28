"""Conflicts of contacts: listed until they are merged or dismissed."""

from __future__ import annotations

import asyncio
import json

import pytest

from headrace.domain.access.policies import Policies
from headrace.domain.contacts.contact import Contact
from headrace.pipeline.processing.plan import BatchPlanner, Rules
from headrace.store.contract.merges import (
    ContactPair,
    MergeRejectedError,
    MergeRejection,
    PairStatus,
)
from tests.support.events import START_US, new_event
from tests.support.queue import Queue
from tests.support.session import StoreSession
from tests.support.stored_contacts import create_contact

ABSENT = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"
LATER_US = START_US + 1_000_000
EMAIL = "a@b.example"


class Conflicts:
    """Two contacts that events treat as one."""

    def __init__(self, session: StoreSession) -> None:
        self.session = session
        self.queue = Queue(session)
        self.planner = BatchPlanner(Rules({1: Policies()}, ()))
        self.own = create_contact(session, external_id="x")
        self.other = create_contact(session, external_id="y", email=EMAIL)

    def meet(self) -> None:
        """An event that treats the two as one."""
        self.queue.accept(new_event(external_id="x", email=EMAIL))
        while batch := self.queue.claim():
            self.queue.process(batch, self.planner)

    def listed(
        self, status: PairStatus = PairStatus.OPEN, project_id: int = 1
    ) -> list[ContactPair]:
        merges = self.session.store.merges
        page = self.session.run(merges.pairs(project_id, before=None, limit=9, status=status))
        return page.pairs

    def dismiss(self, pair_id: str, reason: str = "a family", actor: str = "ann") -> ContactPair:
        merges = self.session.store.merges
        return self.session.run(merges.dismiss(1, pair_id, reason, LATER_US, actor=actor))

    def rejected(self, pair_id: str, project_id: int = 1) -> MergeRejection:
        merges = self.session.store.merges
        with pytest.raises(MergeRejectedError) as raised:
            self.session.run(merges.dismiss(project_id, pair_id, "r", LATER_US, actor="ann"))
        return raised.value.rejection

    def audited(self) -> list[dict[str, str]]:
        rows = self.session.place.run_sql(
            "SELECT actor, detail FROM audit WHERE action = 'contact.conflict_dismiss' ORDER BY id"
        )
        return [{"actor": actor} | json.loads(detail) for actor, detail in rows]

    def merge(self, own: Contact, other: Contact) -> str:
        merges = self.session.store.merges
        return self.session.run(merges.merge(1, own.id, other.id, LATER_US, actor="bob")).id


@pytest.fixture
def conflicts(session: StoreSession) -> Conflicts:
    return Conflicts(session)


def test_a_dismissed_conflict_leaves_the_list(conflicts: Conflicts) -> None:
    conflicts.meet()
    (pair,) = conflicts.listed()
    done = conflicts.dismiss(pair.id)

    assert (done.dismissed_by, done.dismissed_us, done.dismissed_reason) == (
        *("ann", LATER_US),
        "a family",
    )
    assert conflicts.listed() == []
    assert conflicts.listed(PairStatus.DISMISSED) == [done]
    assert conflicts.audited() == [
        {
            "actor": "ann",
            "conflict": pair.id,
            "reason": "a family",
            "contact": conflicts.own.id,
            "other": conflicts.other.id,
        }
    ]


def test_later_events_are_counted_and_do_not_list_it_again(conflicts: Conflicts) -> None:
    conflicts.meet()
    conflicts.dismiss(conflicts.listed()[0].id)
    conflicts.meet()
    assert conflicts.listed() == []
    (pair,) = conflicts.listed(PairStatus.DISMISSED)
    assert (pair.events, pair.dismissed_by) == (2, "ann")


def test_dismissing_again_changes_nothing(conflicts: Conflicts) -> None:
    conflicts.meet()
    (pair,) = conflicts.listed()
    done = conflicts.dismiss(pair.id)
    assert conflicts.dismiss(pair.id, "another", actor="bob") == done
    assert len(conflicts.audited()) == 1


def test_one_of_many_concurrent_dismissals_wins(conflicts: Conflicts) -> None:
    conflicts.meet()
    (pair,) = conflicts.listed()
    merges = conflicts.session.store.merges

    async def all_at_once() -> list[ContactPair]:
        return await asyncio.gather(
            *(merges.dismiss(1, pair.id, f"r{n}", LATER_US, actor=f"a{n}") for n in range(5))
        )

    assert len(set(conflicts.session.run(all_at_once()))) == 1
    assert len(conflicts.audited()) == 1


def test_merge_removes_a_dismissed_conflict_and_undoing_restores_it(
    conflicts: Conflicts,
) -> None:
    conflicts.meet()
    (pair,) = conflicts.listed()
    done = conflicts.dismiss(pair.id)
    merge_id = conflicts.merge(conflicts.own, conflicts.other)
    assert conflicts.listed(PairStatus.DISMISSED) == []
    assert conflicts.rejected(pair.id) is MergeRejection.RESOLVED
    conflicts.session.run(conflicts.session.store.merges.undo(1, merge_id, LATER_US, actor="bob"))
    assert conflicts.listed(PairStatus.DISMISSED) == [done]


def test_deleting_a_contact_removes_its_conflicts(conflicts: Conflicts) -> None:
    conflicts.meet()
    (pair,) = conflicts.listed()
    conflicts.dismiss(pair.id)
    contacts = conflicts.session.store.contacts
    conflicts.session.run(contacts.delete(1, conflicts.other.id, LATER_US, source="api"))
    assert conflicts.listed(PairStatus.DISMISSED) == []
    assert conflicts.rejected(pair.id) is MergeRejection.NOT_FOUND


def test_deleting_a_contact_removes_conflicts_of_merged_ones(
    conflicts: Conflicts,
) -> None:
    conflicts.meet()
    survivor = create_contact(conflicts.session, external_id="z")
    conflicts.merge(survivor, conflicts.other)
    assert len(conflicts.listed()) == 1
    contacts = conflicts.session.store.contacts
    conflicts.session.run(contacts.delete(1, survivor.id, LATER_US, source="api"))
    assert conflicts.listed() == []


def test_conflict_of_another_project_is_not_found(conflicts: Conflicts) -> None:
    conflicts.meet()
    (pair,) = conflicts.listed()
    assert conflicts.rejected(pair.id, project_id=2) is MergeRejection.NOT_FOUND
    assert conflicts.rejected(ABSENT) is MergeRejection.NOT_FOUND
    assert conflicts.listed() == [pair]


def test_ids_stay_the_same(conflicts: Conflicts) -> None:
    conflicts.meet()
    (before,) = conflicts.listed()
    conflicts.meet()
    (after,) = conflicts.listed()
    assert (after.id, after.number, after.events) == (before.id, before.number, 2)
