"""Mail is sent once, whenever the worker is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter

import pytest

from headrace.domain.contacts.topics import TopicFields
from tests.support import mail
from tests.support.events import START_US
from tests.support.mail_sink import MailSink, mail_sink
from tests.support.places import Place
from tests.support.session import StoreSession

pytestmark = pytest.mark.slow

MAILS = 12
PROCESS_SECONDS_MAX = 60
_COMMAND = [sys.executable, "-m", "tests.pipeline.messages.mail_process"]


def fill(place: Place, kind: str) -> int:
    """Messages to this many people; returns the id of their project."""
    session = StoreSession(place)
    project = mail.new_project(session, worker=False)
    fields = TopicFields(name="News", default_subscribed=True)
    topic = session.run(session.store.topics.create(project, fields, START_US)).id
    for number in range(MAILS):
        mail.send_one(session, project, to=f"p{number}@example.net", kind=kind, topic_id=topic)
    session.close()
    return project


def run_worker(place: Place, port: int, fail_point: str = "", *more: str) -> int:
    """Run a worker until all due mail is sent or it dies; returns its exit status."""
    environ = os.environ | {"HEADRACE_FAIL_POINT": fail_point}
    done = subprocess.run(
        [*_COMMAND, place.url, str(port), *more],
        env=environ,
        timeout=PROCESS_SECONDS_MAX,
        check=False,
    )
    return done.returncode


def states(place: Place) -> Counter[str]:
    return Counter(row[0] for row in place.run_sql("SELECT state FROM messages"))


class Killer:
    """Kills the worker when the sink has received a mail, before it replies."""

    def __init__(self, at: set[int]) -> None:
        self._at = at
        self._ready = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, place: Place, port: int, *more: str) -> int:
        self._ready.clear()
        self._process = subprocess.Popen([*_COMMAND, place.url, str(port), *more])
        self._ready.set()
        return self._process.wait(PROCESS_SECONDS_MAX)

    def answer(self, number: int) -> str:
        if number in self._at:
            assert self._ready.wait(10)
            assert self._process is not None
            self._process.send_signal(signal.SIGKILL)
        return "250 2.0.0 Ok"


@pytest.mark.parametrize("point", ["message_claimed", "message_started", "message_recorded"])
def test_a_kill_between_two_steps_doubles_nothing(place: Place, point: str) -> None:
    fill(place, "marketing")
    with mail_sink() as sink:
        for number in (1, 2):
            assert run_worker(place, sink.port, f"{point}:kill:{number}") == -signal.SIGKILL
        assert run_worker(place, sink.port) == 0
        assert max(sink.counts.values()) == 1
        taken = len(sink.mails)
    ended = states(place)
    assert set(ended) <= {"sent", "unknown"}
    assert ended.total() == MAILS
    assert ended["sent"] <= taken
    assert taken <= ended["sent"] + ended["unknown"]
    if point == "message_started":
        assert ended["unknown"] >= 2
        # Messages that were only begun never reached the relay.
        assert taken < MAILS


def kill_while_mail_is_taken(place: Place, *more: str) -> MailSink:
    killer = Killer({2, 5, 8})
    with mail_sink(killer.answer) as sink:
        deaths = 0
        while killer.run(place, sink.port, *more) != 0:
            deaths += 1
            assert deaths < 10
        assert deaths >= 2
    return sink


def test_a_kill_while_the_relay_takes_a_mail_doubles_no_marketing(place: Place) -> None:
    fill(place, "marketing")
    sink = kill_while_mail_is_taken(place)
    assert max(sink.counts.values()) == 1
    ended = states(place)
    assert ended.total() == MAILS
    assert ended["unknown"] >= 2
    assert ended["sent"] + ended["unknown"] == MAILS


def test_mail_is_doubled_without_the_attempt_row(place: Place) -> None:
    """The control: the tests above would detect a mail that is sent twice."""
    fill(place, "marketing")
    sink = kill_while_mail_is_taken(place, "forget")
    assert max(sink.counts.values()) > 1
