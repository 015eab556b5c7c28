"""Guardrails, retries, erasure and events of no interest in random histories of runs with mail."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.automation_histories import examples
from tests.support.automation_mail import set_up_mail
from tests.support.guarded_automations import OTHER_PROJECT, GuardedHistory
from tests.support.session import StoreSession
from tests.support.stored_automations import StoredAutomations

#: Of one history; PostgreSQL takes longer for each, and shares the decisions.
STEPS = {"sqlite": 40}
STEPS_OTHERWISE = 10


@pytest.fixture
def shop(session: StoreSession) -> StoredAutomations:
    shop = StoredAutomations(session)
    set_up_mail(shop)
    other = session.run(session.store.projects.create("other", shop.clock(), actor="tester"))
    assert other.id == OTHER_PROJECT
    return shop


@pytest.mark.slow
@settings(
    max_examples=examples(1),
    deadline=None,
    # A shorter history would be another one, since everything follows from the seed.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.integers(0, 99_999))
def test_mail_of_runs_respects_what_people_asked_for(
    shop: StoredAutomations, store_kind: str, seed: int
) -> None:
    history = GuardedHistory(shop, seed)
    steps = STEPS.get(store_kind, STEPS_OTHERWISE)
    for _ in range(steps):
        history.step()
    history.erase()
    for _ in range(steps // 4):
        history.step()
