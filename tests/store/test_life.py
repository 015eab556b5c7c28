"""Opening, secrets, health and closing."""

from __future__ import annotations

import asyncio

import pytest

from headrace.store.contract.errors import StoreError
from tests.support.events import as_stored, new_event
from tests.support.session import StoreSession


def test_a_secret_is_created_once_and_kept(session: StoreSession) -> None:
    first = session.run(session.store.secret("cursors"))
    other = session.run(session.store.secret("something"))
    assert len(first) == len(other) == 32
    assert first != other
    assert session.run(session.store.secret("cursors")) == first
    session.close()
    again = StoreSession(session.place)
    try:
        assert again.run(again.store.secret("cursors")) == first
    finally:
        again.close()


def test_concurrent_requests_for_a_new_secret_get_the_same(session: StoreSession) -> None:
    async def ask() -> list[bytes]:
        return await asyncio.gather(*(session.store.secret("new") for _ in range(20)))

    assert len(set(session.run(ask()))) == 1


def test_health_reports_the_settings_of_the_database(session: StoreSession) -> None:
    session.accept(*(new_event() for _ in range(50)))
    health = session.run(session.store.health())
    assert health.problem == ""
    assert health.schema_version >= 1
    assert health.size_bytes > 0
    assert health.version
    assert all(health.durability.values())


def test_accepted_events_survive_closing_and_opening(session: StoreSession) -> None:
    events = [new_event(key=f"k{n}") for n in range(300)]
    session.accept(*events)
    session.close()
    again = StoreSession(session.place)
    try:
        for event in events[::50]:
            assert again.run(again.store.events.get(1, event.id)) == as_stored(event)
        assert again.run(again.store.events.last_sequence()) == events[-1].sequence
    finally:
        again.close()


def test_closing_commits_what_was_taken(session: StoreSession) -> None:
    """A change in progress when the store is closed is finished, not cut."""
    place = session.place

    async def close_meanwhile() -> bytes:
        asked = asyncio.create_task(session.store.secret("late"))
        await asyncio.wait({asked}, timeout=0)
        await session.store.close()
        return await asked

    secret = session.run(close_meanwhile())
    session.left()
    again = StoreSession(place)
    try:
        assert again.run(again.store.secret("late")) == secret
    finally:
        again.close()


def test_closed_store_rejects_changes(session: StoreSession) -> None:
    async def change_after_closing() -> None:
        await session.store.close()
        with pytest.raises(StoreError):
            await session.store.secret("late")

    session.run(change_after_closing())
    session.left()


def test_maintenance_of_a_healthy_store_changes_nothing(session: StoreSession) -> None:
    session.accept(new_event())
    for _ in range(3):
        session.run(session.store.maintain())
    assert len(session.stored_ids()) == 1
