"""A push is shown once, whenever the worker is killed: a repeat replaces the first."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import defaultdict
from multiprocessing.process import BaseProcess

import pytest

from tests.pipeline.push import push_process
from tests.support import mail, pushes
from tests.support.places import Place
from tests.support.push_service import Answer, PushService, Received, Subscription, push_service
from tests.support.session import StoreSession

pytestmark = pytest.mark.slow

DEVICES = 8
PROCESS_SECONDS_MAX = 60


def fill(place: Place, service: PushService) -> dict[str, Subscription]:
    """A push to each of these devices; returns subscriptions by path."""
    session = StoreSession(place)
    project = mail.new_project(session, worker=False)
    # So that the retry of an unknown outcome is due at once.
    mail.set_policy(session, project, "retry_base_seconds", 0.1)
    app = pushes.new_app(session, project)
    browsers = {}
    for number in range(DEVICES):
        browser = service.subscription(f"d{number}")
        browsers[f"/push/d{number}"] = browser
        person = f"p{number}"
        pushes.register(session, project, app, f"d{number}", browser, external_id=person)
        pushes.send(session, project, app, external_ids=[person])
    session.close()
    return browsers


def shown(service: PushService, browsers: dict[str, Subscription]) -> dict[str, set[str]]:
    """What each device shows in the end: the notifications by their ids."""
    ids = defaultdict(set)
    for one in service.received:
        members = json.loads(browsers[one.path].decrypt(one.body))["sendrealm_v1"]
        notification_id = members["metadata"]["notification_id"]
        assert one.headers["topic"] == notification_id.replace("-", "")
        ids[one.path].add(notification_id)
    return ids


def check(place: Place, service: PushService, browsers: dict[str, Subscription]) -> None:
    ids = shown(service, browsers)
    assert set(ids) == set(browsers)
    assert all(len(each) == 1 for each in ids.values())
    states = place.run_sql("SELECT state, count(*) FROM messages GROUP BY state")
    assert [tuple(row) for row in states] == [("sent", DEVICES)]
    events = place.run_sql("SELECT count(*) FROM events WHERE event = 'sendrealm.push.send'")
    assert events[0][0] == DEVICES


def ended(process: BaseProcess) -> int | None:
    """Exit status of a process, once it has ended."""
    process.join(PROCESS_SECONDS_MAX)
    return process.exitcode


@pytest.mark.parametrize("point", ["message_claimed", "message_started", "message_recorded"])
def test_a_kill_between_two_steps_shows_each_push_once(place: Place, point: str) -> None:
    with push_service() as service:
        browsers = fill(place, service)
        died = push_process.start(place.url, service.origin, kill_at=point)
        assert ended(died) == -signal.SIGKILL
        assert ended(push_process.start(place.url, service.origin)) == 0
        check(place, service, browsers)


def test_a_kill_while_services_take_pushes_repeats_them_with_the_same_id(place: Place) -> None:
    ready = threading.Event()
    process: BaseProcess | None = None

    def answer(number: int, _push: Received) -> Answer:
        if number == 3:
            assert ready.wait(10)
            assert process is not None
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
        return Answer()

    with push_service(answer) as service:
        browsers = fill(place, service)
        process = push_process.start(place.url, service.origin)
        ready.set()
        assert ended(process) == -signal.SIGKILL
        assert ended(push_process.start(place.url, service.origin)) == 0
        check(place, service, browsers)
        # Otherwise nothing was repeated, and the test shows nothing.
        assert len(service.received) > DEVICES
