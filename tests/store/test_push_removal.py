"""Removal of devices: anonymous ones by age, and all devices of a deleted app."""

from __future__ import annotations

from headrace.domain.push.app_requests import PushAppFields
from headrace.domain.push.client_requests import Identity, Report
from headrace.domain.push.devices import Facts
from headrace.domain.push.kinds import Platform
from headrace.store.contract.push import KeptEvent
from headrace.store.push.devices import Linking, Registration
from tests.support.session import StoreSession

DAY_US = 86_400_000_000
START_US = 1_700_000_000_000_000
REPORT = Report(
    device_id=None,
    platform=Platform.WEB,
    environment=None,
    permission=None,
    subscribed=None,
    facts=Facts(),
)


def test_devices_are_removed_when_they_are_due(session: StoreSession) -> None:
    push = session.store.push
    project = session.run(session.store.projects.create("shop", START_US, actor="test"))
    fields = PushAppFields(name="Shop")
    app = session.run(
        push.apps.create(project.id, fields, START_US, vapid=("p", "k"), actor="test")
    )
    event = KeptEvent(id="k", event="a.b", payload="{}", received_us=START_US)
    session.run(push.devices.keep_event(project.id, app.id, "anonymous", event, REPORT))
    registration = Registration(report=REPORT, identity=Identity(external_id="ann"))
    linking = Linking(create=True, link=True)
    session.run(
        push.devices.register(project.id, app.id, "linked", registration, START_US, linking)
    )

    def left() -> list[str]:
        rows = session.place.run_sql("SELECT id FROM push_devices ORDER BY id")
        return [row[0] for row in rows]

    session.run(push.removal.prune(START_US + 89 * DAY_US, 100))
    assert left() == ["anonymous", "linked"]
    session.run(push.removal.prune(START_US + 91 * DAY_US, 100))
    assert left() == ["linked"]
    assert session.place.run_sql("SELECT count(*) FROM push_device_events")[0][0] == 0
    session.run(push.apps.delete(project.id, app.id, START_US, actor="test"))
    for _ in range(3):
        session.run(push.removal.prune(START_US, 100))
    assert left() == []
