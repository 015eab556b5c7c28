"""A catalog that cannot be written does not fail an event."""

from __future__ import annotations

import pytest

from headrace.store.contract.catalog import NAMES_MAX
from headrace.store.queues.postgres import catalog_writes as postgres_writes
from headrace.store.queues.sqlite import catalog_writes as sqlite_writes
from tests.support.cataloguing import Cataloguing
from tests.support.session import StoreSession


@pytest.mark.parametrize("fault", [ValueError("ours"), TypeError("ours")])
def test_internal_error_is_counted(
    session: StoreSession, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def broken(payload: str) -> str:
        assert payload
        raise fault

    monkeypatch.setattr(sqlite_writes, "redacted_example", broken)
    monkeypatch.setattr(postgres_writes, "redacted_example", broken)
    catalog = Cataloguing(session)
    catalog.sent({"a": 1}, {"a": 2})
    totals = session.run(session.store.catalog.totals(1))
    # The event of the contact that was made with them is in a batch of its own.
    assert (totals.names, totals.failures) == (0, 3)
    assert catalog.processor.stats.failed == 0
    assert catalog.processor.stats.processed == 3
    monkeypatch.undo()
    catalog.sent({"a": 1})
    assert catalog.entry().name.events == 1


def test_names_past_the_limit_are_counted(session: StoreSession) -> None:
    catalog = Cataloguing(session)
    catalog.sent({})
    session.place.run_sql("UPDATE catalog_totals SET names = ?", NAMES_MAX)
    catalog.sent({}, {}, event="one.more")
    catalog.sent({})
    totals = session.run(session.store.catalog.totals(1))
    assert totals.names_over == 2
    assert session.run(session.store.catalog.entry(1, "one.more")) is None
    assert catalog.entry().name.events == 2
