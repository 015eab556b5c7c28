"""Lists of runs by version and step, counts by step, and forgotten starts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.domain.automations.running.states import RunStatus
from headrace.domain.messages.kinds import MessageStatus
from headrace.store.automations import runs as run_reads
from headrace.store.automations.automations import Changes
from headrace.store.contract.automations import Automation, RunFilter, RunStats
from tests.support.automation_mail import finish, send_mail, set_up_mail
from tests.support.session import StoreSession
from tests.support.stored_automations import PROJECT, StoredAutomations, chain, delay


@pytest.fixture
def shop(session: StoreSession) -> StoredAutomations:
    return StoredAutomations(session)


def stats(shop: StoredAutomations, of: Automation, version: int | None = None) -> RunStats:
    found = shop.session.run(
        shop.session.store.automations.stats.of_automation(PROJECT, of.id, version)
    )
    assert found is not None
    return found


def listed(shop: StoredAutomations, of: Automation, limit: int, **wanted: Any) -> list[int]:
    """Sequences of the first events of listed runs, over all pages."""
    reads, place, found = shop.session.store.automations.runs, None, list[int]()
    for _ in range(100):
        work = reads.page(PROJECT, of.id, RunFilter(**wanted), before=place, limit=limit)
        page = shop.session.run(work)
        assert page is not None
        assert len(page.rows) <= limit
        found += [row.sequence for row in page.rows]
        place = page.following
        if place is None:
            return found
    raise AssertionError("the list does not end")


def send_in_turn(shop: StoredAutomations) -> list[int]:
    """Sequences of three events, received one after the other."""
    found = []
    for _ in range(3):
        shop.clock.forward(0.001)
        found.append(shop.send().sequence)
    return found


def publish(shop: StoredAutomations, of: Automation, *steps: dict[str, Any]) -> Automation:
    fields = Changes(draft=json.dumps(chain(*steps)))
    shop.session.run(shop.definitions.update(PROJECT, of.id, fields, shop.clock(), actor="t"))
    return shop.publish(of).automation


def test_runs_are_listed_by_version_and_step(
    shop: StoredAutomations, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = shop.start_with(chain(delay(60), delay(60)))
    first = send_in_turn(shop)
    of = publish(shop, of, delay(90), delay(60))
    second = send_in_turn(shop)
    shop.forward(60)
    for limit in (1, 2, 10):
        assert listed(shop, of, limit, version=1) == first[::-1]
        assert listed(shop, of, limit, version=2) == second[::-1]
        assert listed(shop, of, limit, at_step="s1") == first[::-1]
        assert (
            listed(shop, of, limit, at_step="s0", version=2, status=RunStatus.WAITING)
            == second[::-1]
        )
        assert listed(shop, of, limit, at_step="s0", version=1) == []
        assert listed(shop, of, limit) == second[::-1] + first[::-1]
    # A page that compares few runs is followed by the others.
    monkeypatch.setattr(run_reads, "EXAMINED_MAX", 2)
    monkeypatch.setattr(run_reads, "_CHUNK", 2)
    assert listed(shop, of, 1, version=1) == first[::-1]
    contact_id = shop.runs(of)[0].contact_id
    assert listed(shop, of, 10, version=1, contact_id=contact_id) == first[::-1]


def test_steps_are_counted_by_version(shop: StoredAutomations) -> None:
    set_up_mail(shop)
    of = shop.start_with(chain(send_mail(), delay(60)))
    shop.contact("with", email="a@example.net")
    shop.send(external_id="with")
    shop.send(external_id="without")
    finish(shop, MessageStatus.SENT)
    shop.forward(30)
    of = publish(shop, of, delay(600))
    shop.send()
    newest, oldest = stats(shop, of).versions
    assert (newest.version, newest.runs) == (2, {"waiting": 1})
    assert [(step.step_key, step.waiting, step.entered) for step in newest.steps] == [("s0", 1, 1)]
    mail, rest = oldest.steps
    assert (mail.entered, mail.waiting, mail.passed, mail.sent) == (2, 0, 1, 1)
    assert mail.skipped == {"no_address": 1}
    assert (rest.step_key, rest.entered, rest.waiting, rest.passed) == ("s1", 2, 2, 0)
    assert [one.version for one in stats(shop, of, version=1).versions] == [1]
    assert not stats(shop, of).more


def test_only_the_newest_runs_are_read(
    shop: StoredAutomations, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = shop.start_with(chain(delay(60)))
    for _ in range(5):
        shop.send()
    monkeypatch.setattr("headrace.store.automations.run_stats.RUNS_COUNTED_MAX", 2)
    monkeypatch.setattr("headrace.store.automations.run_stats._SLICE", 1)
    found = stats(shop, of)
    assert (found.examined, found.more) == (2, True)
    (step,) = found.versions[0].steps
    assert (step.entered, step.waiting) == (2, 5)


def forget(shop: StoredAutomations, of: Automation, contact_id: str) -> bool:
    work = shop.operations().forget_entries(PROJECT, of.id, contact_id, actor="t")
    return shop.session.run(work)


def test_forgotten_start_may_happen_again(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(delay(60), trigger={"reentry": {"mode": "once"}}))
    shop.send()
    shop.send()
    assert shop.reasons(of) == ["reentry_once"]
    assert forget(shop, of, shop.runs(of)[0].contact_id)
    shop.send()
    assert len(shop.runs(of)) == 2
    assert not forget(shop, of, "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10")


def test_forgotten_start_does_not_hide_an_open_run(shop: StoredAutomations) -> None:
    of = shop.start_with(chain(delay(60), trigger={"reentry": {"mode": "one_active"}}))
    shop.send()
    assert forget(shop, of, shop.runs(of)[0].contact_id)
    shop.send()
    assert (len(shop.runs(of)), shop.reasons(of)) == (1, ["reentry_active"])
