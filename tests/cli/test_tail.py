"""`headrace tail`: live, filtered, and continuing after a restart."""

import json
import subprocess
from pathlib import Path

import httpx

from tests.support.server import (
    HEADRACE,
    RunningServer,
    clean_environment,
    headrace,
    running_server,
)
from tests.support.waiting import wait_for_text, wait_until


def tail(server: RunningServer, errors: Path, *flags: str) -> subprocess.Popen[str]:
    env = clean_environment({"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key})
    with errors.open("wb") as file:
        process = subprocess.Popen(
            [*HEADRACE, "tail", *flags], env=env, stdout=subprocess.PIPE, stderr=file, text=True
        )
    wait_for_text(errors, "watching")
    return process


def test_events_are_shown_as_they_come(server: RunningServer, tmp_path: Path) -> None:
    with tail(server, tmp_path / "errors", "--event", "order.", "--limit", "1") as process:
        server.ask("/events", {"event": "page.viewed", "external_id": "u1"})
        sent = server.ask(
            "/events", {"event": "order.paid", "external_id": "u2", "payload": {"n": 1}}
        )
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert output.count("\n") == 1
    assert f'{sent["data"]["id"]}  order.paid  external_id=u2  {{"n": 1}}' in output


def test_a_prefix_is_taken_and_what_no_name_can_be_is_refused(
    server: RunningServer, tmp_path: Path
) -> None:
    with tail(server, tmp_path / "errors", "--event", "sold.*", "--limit", "1") as process:
        sent = server.ask("/events", {"event": "sold.out", "external_id": "u2"})
        output, _ = process.communicate(timeout=20)
    assert sent["data"]["id"] in output
    env = {"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key}
    for wrong in ("Bad Name", "a*", "order*.x"):
        refused = headrace("tail", "--event", wrong, env=env)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


def test_json_has_the_event_as_the_api_shows_it(server: RunningServer, tmp_path: Path) -> None:
    with tail(server, tmp_path / "errors", "--json", "--limit", "2") as process:
        ids = [
            server.ask("/events", {"event": "a.b", "external_id": "u1"})["data"]["id"]
            for _ in range(2)
        ]
        output, _ = process.communicate(timeout=20)
    assert [json.loads(line)["id"] for line in output.splitlines()] == ids


def test_it_continues_after_a_restart(tmp_path: Path) -> None:
    errors = tmp_path / "errors"
    with running_server(tmp_path) as server, tail(server, errors, "--limit", "1") as process:
        server.kill()
        wait_for_text(errors, "reconnecting")
        server.start()
        wait_for_second_watch(errors)
        server.ask("/events", {"event": "a.b", "external_id": "u1"})
        output, _ = process.communicate(timeout=20)
    assert "a.b" in output


def wait_for_second_watch(errors: Path) -> None:
    text = "headrace: watching"
    wait_until(lambda: errors.read_text("utf-8").count(text) == 2, "it watches again")


def test_a_wrong_key_ends_it(server: RunningServer) -> None:
    refused = headrace("tail", "--url", server.url, "--key", "hr_wrong")
    assert refused.returncode == 1
    assert "401 Unauthorized" in refused.stderr


def test_a_key_that_is_revoked_ends_it(server: RunningServer, tmp_path: Path) -> None:
    made = headrace(
        *("key", "create", "--scope", "read", "--json", "--store", server.store_url),
    )
    key = json.loads(made.stdout)["key"]
    wait_until(lambda: works(server, key), "the key works")
    errors = tmp_path / "errors"
    with tail(server, errors, "--key", key) as process:
        headrace("key", "revoke", key, "--store", server.store_url)
        process.communicate(timeout=20)
    assert process.returncode == 1
    assert "401 Unauthorized" in errors.read_text("utf-8")


def works(server: RunningServer, key: str) -> bool:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.get(f"{server.url}/events", headers=headers).status_code == 200


def test_earlier_events_come_first_and_once(server: RunningServer, tmp_path: Path) -> None:
    names = [f"since.n{n}" for n in range(3)]
    for name in names[:2]:
        server.ask("/events", {"event": name, "external_id": "u1"})
    flags = ("--event", "since.", "--since", "10m", "--limit", "3", "--json")
    with tail(server, tmp_path / "errors", *flags) as process:
        server.ask("/events", {"event": names[2], "external_id": "u1"})
        output, _ = process.communicate(timeout=20)
    assert [json.loads(line)["event"] for line in output.splitlines()] == names
