"""Registrations: what they cost, and several of one device at the same time."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from headrace.domain.push.client_requests import Address, Identity, Report
from headrace.domain.push.devices import Facts
from headrace.domain.push.kinds import Permission, Platform
from headrace.store.engine.sqlite.transaction import SqliteTransaction
from headrace.store.push.devices import (
    Linking,
    Registered,
    Registration,
    UnknownDeviceError,
)
from tests.support import mail, pushes
from tests.support.places import SqlitePlace
from tests.support.session import StoreSession

REPORT = Report(
    device_id=None,
    platform=Platform.IOS,
    environment=None,
    permission=Permission.AUTHORIZED,
    subscribed=True,
    facts=Facts(),
)


class Shop:
    def __init__(self, session: StoreSession) -> None:
        self.session = session
        self.project = mail.new_project(session, worker=False)
        self.app = pushes.new_app(session, self.project)

    async def register(
        self, name: str, person: str | None, address: str = "t", *, may_add: bool = True
    ) -> Registered:
        registration = Registration(
            report=REPORT,
            address=Address(address=address),
            identity=Identity(external_id=person),
        )
        store = self.session.store
        return await store.push.devices.register(
            *(self.project, self.app, name, registration, store.clock_us()),
            Linking(create=True, link=True),
            may_add=may_add,
        )

    def rows(self, columns: str) -> list[tuple[Any, ...]]:
        found = self.session.place.run_sql(f"SELECT {columns} FROM push_devices ORDER BY id")
        return [tuple(row) for row in found]


@pytest.fixture
def shop(session: StoreSession) -> Shop:
    return Shop(session)


def test_a_device_that_is_known_shows_as_such(shop: Shop) -> None:
    first = shop.session.run(shop.register("d1", "ann"))
    again = shop.session.run(shop.register("d1", "ann"))
    other = shop.session.run(shop.register("d1", "bob", "t2"))
    assert [first.created, again.created, other.created] == [True, False, False]
    assert again.device.contact_id == first.device.contact_id
    assert other.device.contact_id not in {None, first.device.contact_id}
    out = shop.session.run(shop.register("d1", None))
    assert (out.device.contact_id, out.contact) == (None, None)


def test_no_device_is_added_where_none_may_be(shop: Shop) -> None:
    with pytest.raises(UnknownDeviceError):
        shop.session.run(shop.register("d1", "ann", may_add=False))
    assert shop.rows("id") == []
    assert shop.session.place.run_sql("SELECT count(*) FROM contacts")[0][0] == 0
    shop.session.run(shop.register("d1", "ann"))
    assert not shop.session.run(shop.register("d1", "bob", may_add=False)).created


@pytest.mark.parametrize("people", [["ann"] * 6, ["ann", "bob", "cem"] * 2])
def test_registrations_of_one_device_at_the_same_time_make_one(
    shop: Shop, people: list[str]
) -> None:
    async def all_at_once() -> list[Registered]:
        return await asyncio.gather(*(shop.register("d1", each) for each in people))

    done = shop.session.run(all_at_once())
    assert [each.created for each in done].count(True) == 1
    ((contact_id,),) = shop.rows("contact_id")
    assert contact_id in {each.device.contact_id for each in done}
    contacts = shop.session.place.run_sql("SELECT external_id FROM contacts ORDER BY external_id")
    assert [row[0] for row in contacts] == sorted(set(people))


def test_an_address_stays_with_one_device(shop: Shop) -> None:
    async def all_at_once() -> None:
        await asyncio.gather(*(shop.register(f"d{number}", f"p{number}") for number in range(4)))

    shop.session.run(shop.register("d9", None))
    shop.session.run(all_at_once())
    shop.session.run(shop.register("d0", "p0"))
    assert shop.rows("reason") == [(None,), *[("replaced",)] * 4]


def test_a_registration_takes_few_statements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a round trip on PostgreSQL, which also begins, commits and inserts the event."""
    counted: list[str] = []
    execute = SqliteTransaction._execute

    def counting(self: SqliteTransaction, statement: Any, values: Any) -> Any:
        counted.append(statement.sqlite)
        return execute(self, statement, values)

    with closing(StoreSession(SqlitePlace(tmp_path))) as session:
        shop = Shop(session)
        monkeypatch.setattr(SqliteTransaction, "_execute", counting)
        taken = []
        for person in ("ann", "ann", "bob"):
            counted.clear()
            session.run(shop.register("d1", person))
            taken.append(len(counted))
    # A new device and person, the same again, and another person on the device.
    assert taken == [6, 5, 8]
