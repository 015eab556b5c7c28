"""Client libraries of Segment, RudderStack and Jitsu, unchanged, against a real server.

`make test` installs them: `.venv-clients` and `tests/http/clients/node_modules`. Each runs two
rounds of messages. The response to the first request is lost, so the client repeats what is stored
already; the first request of the second round never arrives. Every message is one event all the
same. Jitsu's client never repeats a request, so nothing fails for it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.http_server import HttpServer, Project, wait_until
from tests.support.tcp_proxy import Cut, TcpProxy

CLIENTS = Path(__file__).parent / "clients"
PYTHON = Path(__file__).parents[2] / ".venv-clients" / "bin" / "python"
REQUEST = b"POST /v1/batch"
SECONDS_MAX = 60
NAMES = ("segment_python.py", "rudder_python.py", "segment.mjs", "rudder.mjs", "jitsu.mjs")
RETRYING = tuple(name for name in NAMES if name != "jitsu.mjs")


@dataclass
class Run:
    """One client at work, with a project of its own."""

    name: str
    project: Project
    proxy: TcpProxy
    process: subprocess.Popen[str]

    def finish(self) -> None:
        """Start the second round when the first is over, and wait for the end."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line == "round\n":
                break
        if self.name in RETRYING:
            assert not self.proxy.armed
            self.proxy.cut_at(REQUEST, Cut.BEFORE)
        out, errors = self.process.communicate("\n", timeout=SECONDS_MAX)
        assert self.process.returncode == 0, (self.name, out, errors)


def _start(server: HttpServer, name: str) -> Run:
    project = server.project()
    proxy = TcpProxy(server.port)
    proxy.open()
    if name in RETRYING:
        proxy.cut_at(REQUEST, Cut.AFTER)
    program = str(PYTHON) if name.endswith(".py") else shutil.which("node")
    assert program is not None
    process = subprocess.Popen(
        [program, str(CLIENTS / name)],
        env={
            "PATH": os.environ["PATH"],
            "HOST": f"http://127.0.0.1:{proxy.port}",
            "WRITE_KEY": project.key,
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return Run(name, project, proxy, process)


@pytest.fixture(scope="module")
def runs(server: HttpServer) -> Iterator[dict[str, Run]]:
    """All clients, which run side by side, since most of their time is waiting."""
    started = {name: _start(server, name) for name in NAMES}
    try:
        for run in started.values():
            run.finish()
        yield started
    finally:
        for run in started.values():
            run.process.kill()
            run.process.communicate()
            run.proxy.close()
            run.project.close()


@pytest.mark.parametrize("name", NAMES)
def test_every_message_is_one_event(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    client = run.project.client()
    found = client.get("/events?source=segment&limit=200").data
    once = ["user.identified", "page.viewed", "group.joined", "second_round"]
    if name != "jitsu.mjs":
        once += ["screen.viewed", "user.aliased"]
    assert Counter(event["event"] for event in found) == {
        "order_completed": 3,
        **dict.fromkeys(once, 1),
    }
    orders = [event for event in found if event["event"] == "order_completed"]
    assert {event["payload"]["ref"] for event in orders} == {0, 1, 2}
    assert all(event["external_id"] == "u1" for event in orders)
    assert not client.get("/rejections").data
    assert run.proxy.armed is False


@pytest.mark.parametrize("name", RETRYING)
def test_what_is_sent_again_is_recognised(runs: dict[str, Run], name: str) -> None:
    client = runs[name].project.client()
    repeats = []
    for event in client.get("/events?source=segment&limit=200").data:
        entries = client.get(f"/events/{event['id']}/trace").data["entries"]
        repeats += [entry for entry in entries if entry["type"] == "key_repeated"]
    assert repeats
    assert not any(entry["mismatch"] for entry in repeats)


@pytest.mark.parametrize("name", NAMES)
def test_identify_makes_a_contact(runs: dict[str, Run], name: str) -> None:
    client = runs[name].project.client()
    wait_until(lambda: bool(client.get("/contacts?external_id=u1").data), 20)
    (contact,) = client.get("/contacts?external_id=u1").data
    assert contact["email"] == "mike@example.com"
    assert contact["properties"]["address.city"] == "Wien"
