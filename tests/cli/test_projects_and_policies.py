"""`headrace project` and `headrace policy`."""

import json
from pathlib import Path
from urllib.error import HTTPError

import pytest

from headrace.pipeline.access.policies import POLICY_NAMES
from tests.support.server import RunningServer, headrace
from tests.support.waiting import wait_until


def test_projects_are_created_once_and_listed(tmp_path: Path) -> None:
    store = ("--store", f"sqlite:///{tmp_path / 'new.db'}")
    made = headrace("project", "create", "shop", "--json", *store)
    assert made.returncode == 0
    again = headrace("project", "create", "shop", *store)
    assert (again.returncode, again.stdout) == (1, "")
    assert "Project 'shop' already exists" in again.stderr
    listed = json.loads(headrace("project", "list", "--json", *store).stdout)
    assert listed == [json.loads(made.stdout)]
    assert "shop" in headrace("project", "list", *store).stdout


@pytest.mark.parametrize("name", ["", " shop", "a\nb", "x" * 101, "bell\a"])
def test_names_must_be_fit_to_be_shown(tmp_path: Path, name: str) -> None:
    refused = headrace("project", "create", name, "--store", f"sqlite:///{tmp_path / 'new.db'}")
    assert refused.returncode == 2
    assert not (tmp_path / "new.db").exists()


def test_commands_create_no_store_by_mistake(tmp_path: Path) -> None:
    missing = tmp_path / "missing.db"
    for arguments in (("project", "list"), ("key", "create"), ("policy", "get"), ("export",)):
        refused = headrace(*arguments, "--store", f"sqlite:///{missing}")
        assert refused.returncode == 2
        assert "There is no store at" in refused.stderr
    assert not missing.exists()


def test_all_policies_are_shown_with_their_bounds(server: RunningServer) -> None:
    shown = json.loads(headrace("policy", "get", "--json", "--store", server.store_url).stdout)
    assert [policy["name"] for policy in shown] == list(POLICY_NAMES)
    one = headrace("policy", "get", "retry_factor", "--store", server.store_url).stdout
    assert one.splitlines()[1].split() == ["retry_factor", "4", "4", "1", "to", "10", "times"]


def test_a_changed_policy_works_in_a_running_server(server: RunningServer) -> None:
    large = {"event": "a.b", "external_id": "u1", "payload": {"text": "x" * 300}}

    def refused() -> bool:
        try:
            server.ask("/events/validate", large)
        except HTTPError as error:
            with error:
                return error.code == 413
        return False

    name = "event_payload_limit_bytes"
    changed = headrace("policy", "set", name, "256", "--json", "--store", server.store_url)
    assert json.loads(changed.stdout) == {
        "project": "default",
        "name": name,
        "from": 65536,
        "to": 256,
    }
    assert wait_until(refused, "the smaller limit is kept") < 5
    back = headrace("policy", "set", name, "65536", "--store", server.store_url)
    assert back.stdout == f"{name}: 256 -> 65536\n"
    assert wait_until(lambda: not refused(), "the larger limit is kept") < 5


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("retry_factor", "11", "must be a number from 1 to 10 (times), got '11'"),
        ("retry_factor", "none", "must be a number from 1 to 10"),
        ("create_contacts", "perhaps", "must be true or false"),
        ("retention", "1", "There is no policy 'retention'"),
        ("event_retention_days", "1.5", "must be a number from 1 to 3650 (days)"),
    ],
)
def test_policies_stay_within_their_bounds(
    server: RunningServer, name: str, value: str, said: str
) -> None:
    refused = headrace("policy", "set", name, value, "--store", server.store_url)
    assert refused.returncode == 2
    assert said in refused.stderr


def test_none_lifts_a_limit(server: RunningServer) -> None:
    name = "event_ingest_limit_per_second"
    for value, said in (("1000", f"{name}: none -> 1000\n"), ("none", f"{name}: 1000 -> none\n")):
        assert headrace("policy", "set", name, value, "--store", server.store_url).stdout == said


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("sending_paused", '["example.org"]', 'none -> ["example.org"]'),
        ("sending_paused", "none", '["example.org"] -> none'),
        ("default_timezone", "Europe/Vienna", "UTC -> Europe/Vienna"),
        ("max_defer_hours", "12", "72 -> 12"),
        ("send_limit_per_day", "none", "none -> none"),
    ],
)
def test_policies_of_messages_are_set_as_they_are_typed(
    server: RunningServer, name: str, value: str, said: str
) -> None:
    done = headrace("policy", "set", name, value, "--store", server.store_url)
    assert (done.returncode, done.stdout) == (0, f"{name}: {said}\n")
    wrong = headrace("policy", "set", name, '{"x": 1}', "--store", server.store_url)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
