"""Retention keeps events that automations still need."""

from __future__ import annotations

from tests.support.session import StoreSession
from tests.support.stored_automations import PROJECT, StoredAutomations, chain, delay


def due(shop: StoredAutomations) -> int:
    """How many processed events retention would remove a year later."""
    year_us = 365 * 86_400 * 1_000_000
    retention, now_us = shop.session.store.retention, shop.clock() + year_us
    found = shop.session.run(retention.find_due(PROJECT, now_us, now_us, 0, 100))
    return len(found.due)


def test_event_is_kept_while_a_run_that_it_started_is_open(session: StoreSession) -> None:
    shop = StoredAutomations(session)
    shop.start_with(chain(delay(60)))
    shop.accept()
    shop.process()
    before = due(shop)
    shop.settle()
    assert due(shop) == before
    shop.forward(60)
    assert due(shop) == before + 1
