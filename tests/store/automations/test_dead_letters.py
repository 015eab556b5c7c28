"""Failed runs and events become dead letters, which are replayed or discarded."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from headrace.domain.automations.running.states import RunStatus
from headrace.pipeline.trace.entry import EntryType
from headrace.pipeline.trace.trace import trace_of
from headrace.store.automations import applying, starts
from headrace.store.automations.advancing import RunAdvancer
from headrace.store.automations.operations import NotEligibleError
from headrace.store.contract.automations import ATTEMPTS_MAX, RunAction, RunFilter
from headrace.store.contract.dead_letters import (
    Closing,
    DeadLetter,
    DeadLetterFilter,
    DeadLetterKind,
    NewReplay,
    Replay,
)
from headrace.store.contract.trace import TracedDeadLetter
from tests.support.session import StoreSession
from tests.support.stored_automations import PROJECT, StoredAutomations, chain, delay, wait

#: Larger than the properties of a contact may be together.
TOO_LARGE = "x" * 9_000
FILL = {
    "type": "contact_update",
    "config": {"set": {"properties.b": {"from": "trigger.payload.b"}}},
}


@pytest.fixture
def shop(session: StoreSession) -> StoredAutomations:
    return StoredAutomations(session)


def dead_letters(shop: StoredAutomations) -> list[DeadLetter]:
    wanted = DeadLetterFilter(kind=DeadLetterKind.AUTOMATION)
    store = shop.session.store.dead_letters
    return shop.session.run(store.list(PROJECT, wanted, before=None, limit=50)).dead_letters


def replay(shop: StoredAutomations, letter: DeadLetter) -> Closing:
    store = shop.session.store.dead_letters
    work = store.replay(PROJECT, letter.id, shop.clock(), actor="tester")
    return shop.session.run(work).closing


def replay_all(shop: StoredAutomations) -> Replay:
    """Replay every open dead letter, as a job does."""

    async def work() -> Replay:
        store = shop.session.store
        total, last = await store.dead_letters.count(PROJECT, DeadLetterFilter())
        new = NewReplay(
            id=str(uuid.uuid4()),
            project_id=PROJECT,
            wanted=DeadLetterFilter(),
            per_second=50,
            total=total,
            last_number=last,
            actor="tester",
        )
        made = await store.replays.create(new, shop.clock())
        await store.replays.advance(made.id, 100, shop.clock())
        return made

    return shop.session.run(work())


def outcome(shop: StoredAutomations, replay: Replay) -> tuple[int, int, int]:
    found = shop.session.run(shop.session.store.replays.outcome(replay))
    return found.succeeded, found.failed_again, found.pending


class BrokenError(Exception):
    """What a bug raises."""


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A bug in starting runs, until it is undone."""

    async def start_all(*_: Any) -> None:
        raise BrokenError("a bug")

    monkeypatch.setattr(starts.RunStarter, "start_all", start_all)
    return monkeypatch


def fail_for_good(shop: StoredAutomations) -> None:
    for _ in range(ATTEMPTS_MAX):
        shop.forward(5 * 2**ATTEMPTS_MAX)


def test_event_that_cannot_be_applied_is_replayed(
    shop: StoredAutomations, broken: pytest.MonkeyPatch
) -> None:
    of = shop.start_with(chain(delay(5)))
    other = shop.send(external_id="b")
    sent = shop.send()
    fail_for_good(shop)
    # Nothing stays behind in the inbox.
    assert shop.session.place.run_sql("SELECT count(*) FROM automation_inbox") == [(0,)]
    letters = {letter.event_id: letter for letter in dead_letters(shop)}
    assert set(letters) == {sent.id, other.id}
    letter = letters[sent.id]
    assert (letter.cause, letter.error) == ("BrokenError", "BrokenError: a bug")
    assert (letter.attempts, letter.run_id, letter.subscriber_id) == (ATTEMPTS_MAX, None, None)
    assert letter.first_failed_us < letter.dead_lettered_us

    broken.undo()
    assert replay(shop, letter) is Closing.DONE
    assert replay(shop, letter) is Closing.CLOSED_BEFORE
    shop.settle()
    assert [row.sequence for row in shop.runs(of)] == [sent.sequence]
    assert [each.event_id for each in dead_letters(shop)] == [other.id]


def test_replay_says_what_became_of_events(
    shop: StoredAutomations, broken: pytest.MonkeyPatch
) -> None:
    shop.start_with(chain(delay(5)))
    shop.send(external_id="b")
    shop.send()
    fail_for_good(shop)
    first = replay_all(shop)
    assert outcome(shop, first) == (0, 0, 2)
    fail_for_good(shop)
    assert outcome(shop, first) == (0, 2, 0)
    broken.undo()
    second = replay_all(shop)
    assert outcome(shop, second) == (0, 0, 2)
    shop.settle()
    assert outcome(shop, second) == (2, 0, 0)


def failing(shop: StoredAutomations) -> Any:
    """A run that has failed at its second step, since a contact has no room for a property."""
    shop.contact(properties={"a": TOO_LARGE})
    of = shop.start_with(chain(delay(5), FILL, delay(5)))
    shop.send(payload={"b": TOO_LARGE})
    shop.forward(5)
    return of


def test_replay_says_what_became_of_runs(shop: StoredAutomations) -> None:
    of = failing(shop)
    first = replay_all(shop)
    assert outcome(shop, first) == (0, 0, 1)
    shop.settle()
    assert outcome(shop, first) == (0, 1, 0)

    shop.contact(properties={"a": "small"})
    second = replay_all(shop)
    shop.settle()
    # It goes on, and ends later.
    assert outcome(shop, second) == (0, 0, 1)
    shop.forward(5)
    assert outcome(shop, second) == (1, 0, 0)
    (run,) = shop.runs(of)
    letter = dead_letters_of_event(shop, run.sequence)
    assert [each.run_id for each in letter] == [run.id] * 2


def dead_letters_of_event(shop: StoredAutomations, sequence: int) -> list[TracedDeadLetter]:
    """Those that the trace of an event shows."""
    [(event_id,)] = shop.session.place.run_sql("SELECT id FROM events WHERE sequence = ?", sequence)
    facts = shop.session.run(shop.session.store.trace.facts(PROJECT, bytes(event_id)))
    assert facts is not None
    texts = [each for each in trace_of(facts).entries if each.run_id is not None]
    assert {each.type for each in texts} == {EntryType.DEAD_LETTERED, EntryType.REPLAYED}
    assert texts[0].text.startswith("A run of an automation failed")
    return list(facts.dead_letters)


def test_failed_run_has_one_dead_letter_and_a_replay_retries_it(shop: StoredAutomations) -> None:
    of = failing(shop)
    (run,) = shop.runs(of)
    assert (run.status, run.at_step, run.due_us) == (RunStatus.FAILED, "s1", None)
    (letter,) = dead_letters(shop)
    assert (letter.run_id, letter.cause, letter.event) == (run.id, "step_failed", "go")
    assert letter.error.startswith("step s1: ")

    # It fails again, with a dead letter of its own.
    assert replay(shop, letter) is Closing.DONE
    shop.settle()
    (second,) = dead_letters(shop)
    assert (second.run_id, second.attempts) == (run.id, 2)
    assert second.id != letter.id

    shop.contact(properties={"a": "small"})
    assert replay(shop, second) is Closing.DONE
    shop.settle()
    assert dead_letters(shop) == []
    shop.forward(5)
    detail = shop.detail(of)
    assert detail.row.status is RunStatus.COMPLETED
    assert [(step.key, step.attempts) for step in detail.run.steps] == [
        *(("s0", 1), ("s1", 3), ("s2", 1))
    ]


def test_retry_of_a_run_closes_its_dead_letter(shop: StoredAutomations) -> None:
    of = failing(shop)
    (run,) = shop.runs(of)
    shop.contact(properties={"a": "small"})
    operations = shop.operations()
    assert shop.session.run(operations.retry(PROJECT, run.id, "fixed", actor="tester"))
    assert dead_letters(shop) == []
    assert [row.status for row in shop.runs(of)] == [RunStatus.WAITING]
    with pytest.raises(NotEligibleError):
        shop.session.run(operations.retry(PROJECT, run.id, "fixed", actor="tester"))


def test_retry_can_pass_over_the_failed_step_but_takes_none_again(shop: StoredAutomations) -> None:
    of = failing(shop)
    (run,) = shop.runs(of)
    operations = shop.operations()

    def retry(step: str) -> bool:
        work = operations.retry(PROJECT, run.id, "try", from_step=step, actor="tester")
        return shop.session.run(work)

    for step in ("s0", "unknown"):
        with pytest.raises(NotEligibleError):
            retry(step)
    assert retry("s2")
    shop.forward(5)
    assert shop.runs(of)[0].status is RunStatus.COMPLETED


def test_discarded_dead_letter_leaves_the_run_failed(shop: StoredAutomations) -> None:
    of = failing(shop)
    (letter,) = dead_letters(shop)
    store = shop.session.store.dead_letters
    work = store.discard(PROJECT, letter.id, "known", shop.clock(), actor="tester")
    assert shop.session.run(work).closing is Closing.DONE
    assert dead_letters(shop) == []
    assert shop.runs(of)[0].status is RunStatus.FAILED


def test_timer_that_cannot_be_applied_stops_the_run_until_it_is_retried(
    shop: StoredAutomations, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = shop.start_with(chain(delay(5), delay(5), exit_on=[{"event_name": "stop"}]))
    shop.send()

    async def advance(*_: Any) -> None:
        raise BrokenError("a bug")

    monkeypatch.setattr(RunAdvancer, "advance", advance)
    fail_for_good(shop)
    (run,) = shop.runs(of)
    assert run.status is RunStatus.FAILED
    (letter,) = dead_letters(shop)
    assert (letter.run_id, letter.cause, letter.attempts) == (run.id, "BrokenError", ATTEMPTS_MAX)
    monkeypatch.undo()

    assert replay(shop, letter) is Closing.DONE
    shop.settle()
    # The delay had ended long ago, and so had the next one.
    assert shop.path(of) == [("s0", "next"), ("s1", "next")]
    assert shop.runs(of)[0].status is RunStatus.COMPLETED
    assert dead_letters(shop) == []


def test_event_during_the_stop_of_a_run_counts_after_the_retry(
    shop: StoredAutomations, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = shop.start_with(chain(delay(5), delay(10_000), exit_on=[{"event_name": "stop"}]))
    shop.send()
    with monkeypatch.context() as bug:

        async def apply_timers(*_: Any) -> None:
            raise BrokenError("a bug")

        bug.setattr("headrace.store.automations.work.apply_timers", apply_timers)
        assert applying.apply_timers is not apply_timers
        fail_for_good(shop)
    shop.send("stop")
    (letter,) = dead_letters(shop)
    assert replay(shop, letter) is Closing.DONE
    shop.settle()
    assert shop.runs(of)[0].status is RunStatus.EXITED


def test_bulk_retry_and_cancel(shop: StoredAutomations) -> None:
    shop.contact(properties={"a": TOO_LARGE})
    of = shop.start_with(chain(FILL, wait("done", 60)))
    for _ in range(3):
        shop.send(payload={"b": TOO_LARGE})
    other = shop.send(external_id="other")
    operations = shop.operations()

    def run(action: RunAction, limit: int = 100, **wanted: Any) -> tuple[int, bool]:
        work = operations.apply(
            PROJECT, of.id, action, RunFilter(**wanted), "why", limit=limit, actor="tester"
        )
        done = shop.session.run(work)
        assert done is not None
        shop.settle()
        return done.done, done.has_more

    found = shop.session.run(operations.preview(PROJECT, of.id, RunAction.RETRY, RunFilter()))
    assert found is not None
    assert (found.count, found.more, len(found.sample)) == (3, False, 3)
    shop.contact(properties={"a": "small"})
    assert run(RunAction.RETRY, at_step="s1") == (0, False)
    assert run(RunAction.RETRY, limit=2) == (2, True)
    assert len(dead_letters(shop)) == 1
    assert run(RunAction.RETRY) == (1, False)
    assert dead_letters(shop) == []

    assert run(RunAction.CANCEL, at_step="s0") == (0, False)
    mine = shop.contact().id
    assert run(RunAction.CANCEL, contact_id=mine, version=1) == (3, False)
    assert {row.status for row in shop.runs(of) if row.contact_id == mine} == {"cancelled"}
    before_us = other.received_us + 1
    assert run(RunAction.CANCEL, status=RunStatus.WAITING, started_before_us=before_us) == (
        1,
        False,
    )
    audited = shop.session.place.run_sql(
        "SELECT count(*) FROM audit WHERE action LIKE 'automation.runs_%'"
    )
    assert audited == [(6,)]


def test_runs_of_a_contact_are_cancelled(shop: StoredAutomations) -> None:
    person = shop.contact()
    first = shop.start_with(chain(delay(5)), "first")
    second = shop.start_with(chain(delay(5)), "second")
    shop.send()
    operations = shop.operations()
    for of, left in ((first, [second]), (None, [])):
        automation_id = None if of is None else of.id
        work = operations.cancel_of_contact(
            PROJECT, person.id, automation_id, "asked", actor="tester"
        )
        assert shop.session.run(work) is not None
        open_runs = [
            each for each in (first, second) if shop.runs(each)[0].status is RunStatus.WAITING
        ]
        assert [each.id for each in open_runs] == [each.id for each in left]
