"""`headrace serve`: first start, later starts, stops and start-up errors."""

import json
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support.server import HEADRACE, clean_environment, headrace, running_server
from tests.support.waiting import wait_for_text

CURL = re.compile(r"^ *(curl .*)$", re.MULTILINE)
KEY = re.compile(r"hr_[0-9a-f]{16}_[0-9a-f]{64}")


def start(store: Path, output: Path, *flags: str) -> subprocess.Popen[bytes]:
    """`headrace serve` with all its output going to one file, as in a container."""
    with output.open("wb") as file:
        command = [*HEADRACE, "serve", "--port", "0", "--store", f"sqlite:///{store}", *flags]
        return subprocess.Popen(
            command, env=clean_environment(), stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )


def stop(process: subprocess.Popen[bytes]) -> int:
    process.terminate()
    return process.wait(15)


def test_first_start_prints_a_curl_line_that_works_when_pasted(tmp_path: Path) -> None:
    output = tmp_path / "output"
    process = start(tmp_path / "headrace.db", output)
    try:
        wait_for_text(output, "curl ")
        found = CURL.search(output.read_text("utf-8"))
        assert found is not None
        answers = [
            json.loads(
                subprocess.run(["sh", "-c", found[1]], capture_output=True, check=True).stdout
            )
            for _ in range(2)
        ]
    finally:
        assert stop(process) == 0
    assert answers[0]["data"]["event"] == "order.completed"
    assert answers[0]["data"]["resolved_identity_type"] == "external_id"
    assert answers[1]["data"]["deduplicated"] is True
    assert answers[1]["data"]["id"] == answers[0]["data"]["id"]


def test_the_key_is_printed_once_and_never_logged(tmp_path: Path) -> None:
    output, later = tmp_path / "output", tmp_path / "later"
    process = start(tmp_path / "headrace.db", output)
    wait_for_text(output, "curl ")
    stop(process)
    assert len(set(KEY.findall(output.read_text("utf-8")))) == 1
    assert "none is sent (HEADRACE_MAIL_RELAY)" in output.read_text("utf-8")
    assert f"{tmp_path / 'headrace.db.key'}. Back it up" in output.read_text("utf-8")
    process = start(tmp_path / "headrace.db", later)
    wait_for_text(later, "Headrace is ready on http://127.0.0.1:")
    stop(process)
    assert "hr_" not in later.read_text("utf-8")
    assert "Back it up" not in later.read_text("utf-8")


def test_first_start_prints_a_link_to_the_backoffice_once(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        link = server.announced["sign_in"]
        assert link.startswith(f"{server.url}/backoffice/welcome/")
        with urllib.request.urlopen(link, timeout=20) as page:  # noqa: S310 - the server's own
            assert b"become the owner" in page.read()
        server.restart()
        assert server.announced["sign_in"] is None


def test_the_backoffice_can_be_switched_off(tmp_path: Path) -> None:
    with running_server(tmp_path, args=("--backoffice", "off")) as server:
        assert server.announced["sign_in"] is None
        with pytest.raises(urllib.error.HTTPError) as refused:
            server.ask("/backoffice/sign-in")
        with refused.value as answer:
            assert answer.code == 404


def test_later_start_has_the_same_data_and_key(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        sent = server.ask("/events", {"event": "a.b", "external_id": "u1"})["data"]
        server.restart()
        assert server.announced["key"] is None
        assert server.ask(f"/events/{sent['id']}")["data"]["event"] == "a.b"


def test_a_taken_port_does_not_use_up_the_key(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        store = f"sqlite:///{tmp_path / 'headrace.db'}"
        refused = headrace("serve", "--port", port, "--store", store)
    assert refused.returncode == 2
    assert f"port {port} of 127.0.0.1 is in use" in refused.stderr
    assert "Traceback" not in refused.stderr
    with running_server(tmp_path) as server:
        assert server.announced["key"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_in_order(tmp_path: Path, number: signal.Signals) -> None:
    with running_server(tmp_path) as server:
        server.process.send_signal(number)
        assert server.process.wait(11) == 0
        assert '"every_request_responded": true' in server.log_path.read_text("utf-8")


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with (
        running_server(tmp_path) as server,
        socket.create_connection(("127.0.0.1", server.port)) as slow,
    ):
        # An unfinished request keeps the graceful stop waiting.
        slow.sendall(b"POST /events HTTP/1.1\r\nHost: test\r\n")
        server.ask("/healthz")
        server.process.terminate()
        wait_for_text(server.log_path, "server.stopping")
        server.process.terminate()
        assert server.process.wait(2) == 128 + signal.SIGTERM


def test_only_one_server_has_a_store(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        second = headrace("serve", "--port", "0", "--store", server.store_url)
        assert second.returncode == 2
        assert f"pid {server.process.pid}" in second.stderr
        assert second.stderr.count("\n") == 1


def test_only_one_server_has_a_store_that_a_link_names(tmp_path: Path) -> None:
    folder, link = tmp_path / "disk", tmp_path / "link.db"
    folder.mkdir()
    with running_server(folder) as server:
        link.symlink_to(server.store_path)
        second = headrace("serve", "--port", "0", "--store", f"sqlite:///{link}")
        assert second.returncode == 2
        assert f"pid {server.process.pid}" in second.stderr
    assert sorted(each.name for each in tmp_path.iterdir()) == ["disk", "link.db"]


@pytest.mark.parametrize(
    ("flags", "env", "said"),
    [
        (("--store", "mysql://host/db"), {}, "is no store: use sqlite:///"),
        (("--port", "70000"), {}, "--port (HEADRACE_PORT) must be at least 0 and at most 65535"),
        (("--port", "http"), {}, "--port"),
        ((), {"HEADRACE_PORT": "http"}, "must be a whole number, got 'http'"),
        ((), {"HEADRACE_PROT": "8080"}, "HEADRACE_PROT is not a setting of headrace"),
        (("--log-level", "loud"), {}, "must be one of debug, info, warning, error"),
        (("--log-format", "xml"), {}, "must be auto, json or console"),
        (("--backoffice", "maybe"), {}, "must be on or off, got 'maybe'"),
        (("--public-url", "events.example.org", "--port", "0"), {}, "must be an address without"),
        (("--trusted-proxies", "10.0.0.1/8", "--port", "0"), {}, "must be networks such as"),
        (("--host", "192.0.2.1", "--port", "0"), {}, "Cannot listen on 192.0.2.1"),
    ],
)
def test_an_impossible_setting_is_rejected_in_one_line(
    tmp_path: Path, flags: tuple[str, ...], env: dict[str, str], said: str
) -> None:
    refused = headrace("serve", *flags, env=env, cwd=tmp_path)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert refused.stdout == ""


def test_api_serves_without_a_worker(tmp_path: Path) -> None:
    command = [
        *HEADRACE,
        "api",
        "--json",
        "--port",
        "0",
        "--store",
        f"sqlite:///{tmp_path / 'a.db'}",
    ]
    with subprocess.Popen(
        command, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        announced = json.loads(process.stdout.readline())
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("ascii")
        process.terminate()
        assert process.wait(11) == 0
    assert announced["curl"].startswith("curl -sS -X POST " + announced["url"])
    assert children == ""
