"""`headrace listen` and `headrace trigger`: a signed webhook on this machine."""

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from tests.support.server import HEADRACE, RunningServer, clean_environment, headrace
from tests.support.waiting import wait_for_text

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


class Program(ThreadingHTTPServer):
    """A developer's program: it keeps what it is sent."""

    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hooks?from=headrace"


class _Handler(BaseHTTPRequestHandler):
    server: Program

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.calls.append((self.path, headers, body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def program() -> Iterator[Program]:
    with Program() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def listen(
    server: RunningServer, errors: Path, url: str, *flags: str, secret: str = SECRET
) -> subprocess.Popen[str]:
    env = {"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key}
    env |= {"HEADRACE_LISTEN_SECRET": secret} if secret else {}
    with errors.open("wb") as file:
        process = subprocess.Popen(
            [*HEADRACE, "listen", "--forward-to", url, *flags],
            env=clean_environment(env),
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )
    wait_for_text(errors, "watching")
    return process


def trigger(server: RunningServer, *arguments: str) -> str:
    env = {"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key}
    done = headrace("trigger", *arguments, "--json", env=env)
    assert done.returncode == 0, done.stderr
    event_id: str = json.loads(done.stdout)["data"]["id"]
    return event_id


def test_a_triggered_event_arrives_signed(
    server: RunningServer, program: Program, tmp_path: Path
) -> None:
    errors = tmp_path / "errors"
    with listen(server, errors, program.url, "--event", "order.*", "--limit", "1") as process:
        trigger(server, "user.signed_up")
        event_id = trigger(server, "order.completed")
        output, _ = process.communicate(timeout=30)

    assert process.returncode == 0
    assert SECRET in errors.read_text("utf-8")
    [(path, headers, body)] = program.calls
    assert path == "/hooks?from=headrace"
    sent = Webhook(SECRET).verify(body.decode(), headers)
    assert sent["type"] == "order.completed"
    assert sent["data"]["id"] == event_id
    assert sent["data"]["payload"]["order_id"] == "A-1001"
    assert f"{event_id}  order.completed  200" in output


@pytest.mark.parametrize("failure", ["status 500", "no response"])
def test_a_failure_is_shown_and_the_next_event_sent(
    server: RunningServer, program: Program, tmp_path: Path, failure: str
) -> None:
    program.status = 500
    url = program.url if failure == "status 500" else "http://127.0.0.1:1/"
    with listen(server, tmp_path / "errors", url, "--limit", "2", "--json") as process:
        ids = [trigger(server, "a.b", "--payload", json.dumps({"n": n})) for n in range(2)]
        output, _ = process.communicate(timeout=30)
    shown = [json.loads(line) for line in output.splitlines()]
    assert [each["id"] for each in shown] == ids
    assert all(failure in each["error"] for each in shown)


def test_every_trigger_is_a_new_event(server: RunningServer) -> None:
    assert trigger(server, "order.completed") != trigger(server, "order.completed")


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (("--forward-to", "localhost:3000"), {}, "is not a URL"),
        (("--forward-to", "http://localhost:x/"), {}, "--forward-to"),
        (("--forward-to", "http://localhost/", "--event", "Order"), {}, "--event"),
        (("--forward-to", "http://localhost/"), {"HEADRACE_LISTEN_SECRET": "abc"}, "whsec_"),
    ],
)
def test_rejections(
    server: RunningServer, arguments: tuple[str, ...], variables: dict[str, str], said: str
) -> None:
    env = {"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key} | variables
    done = headrace("listen", *arguments, env=env)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr
