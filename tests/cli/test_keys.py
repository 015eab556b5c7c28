"""`headrace key`: keys created, listed and revoked in the store of a running server."""

import json
import urllib.error
from pathlib import Path

import pytest

from tests.support.commands import headrace_here
from tests.support.server import RunningServer, headrace
from tests.support.waiting import wait_until

EVENT = {"event": "a.b", "external_id": "u1"}


def key(server: RunningServer, *arguments: str) -> str:
    done = headrace("key", *arguments, "--store", server.store_url)
    assert done.returncode == 0, done.stderr
    return done.stdout


def status(server: RunningServer, text: str) -> int:
    try:
        server.ask("/events/validate", EVENT, key=text)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    return 200


def test_a_new_key_works_and_stops_working_within_five_seconds(server: RunningServer) -> None:
    made = json.loads(key(server, "create", "--project", "default", "--scope", "ingest", "--json"))
    assert made["scopes"] == ["ingest"]
    assert wait_until(lambda: status(server, made["key"]) == 200, "the key works") < 5
    assert json.loads(key(server, "revoke", made["id"], "--json")) == {
        "id": made["id"],
        "revoked": True,
    }
    assert wait_until(lambda: status(server, made["key"]) == 401, "it is refused") < 5


def test_a_key_is_alone_on_standard_output(server: RunningServer) -> None:
    """`KEY=$(headrace key create)` has to hold the key and nothing else."""
    text = key(server, "create", "--name", "for a script")
    assert text.startswith("hr_")
    assert text.count("\n") == 1


def test_a_key_may_do_what_its_scopes_allow(server: RunningServer) -> None:
    reader = key(server, "create", "--scope", "read").strip()
    wait_until(lambda: status(server, reader) == 403, "the key may not ingest")
    assert server.ask("/events", key=reader)["data"] is not None


def test_lists_never_show_a_secret(server: RunningServer) -> None:
    text = key(server, "create", "--name", "listed", "--expires", "30d").strip()
    secret = text.rpartition("_")[2]
    shown = [key(server, "list"), key(server, "list", "--json")]
    assert all("listed" in each and secret not in each for each in shown)
    [entry] = [each for each in json.loads(shown[1]) if each["name"] == "listed"]
    assert entry["status"] == "active"
    assert entry["expires_at"] is not None


def test_the_whole_key_can_be_pasted_to_revoke_it(server: RunningServer) -> None:
    text = key(server, "create").strip()
    answer = key(server, "revoke", text)
    assert answer == f"Revoked key {text.split('_')[1]}.\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("revoke", "0123456789abcdef"), 1, "There is no key '0123456789abcdef'"),
        (("create", "--project", "nowhere"), 2, "There is no project 'nowhere'"),
        (("create", "--scope", "root"), 2, "'ingest', 'read', 'manage', 'send'"),
        (("create", "--expires", "soon"), 2, "is not a duration"),
        (("create", "--name", "x\x1b[2J"), 2, "must be printable"),
        (("create", "--name", "x" * 101), 2, "must be 1 to 100 characters, got 101"),
    ],
)
def test_rejections(
    server: RunningServer, arguments: tuple[str, ...], code: int, said: str
) -> None:
    refused = headrace("key", *arguments, "--store", server.store_url)
    assert refused.returncode == code
    assert said in refused.stderr
    assert refused.stdout == ""


def test_a_public_key_needs_its_origins(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'keys.db'}"
    assert headrace_here("migrate", "--store", store).returncode == 0
    assert headrace_here("project", "create", "shop", "--store", store).returncode == 0

    def create(*options: str) -> tuple[int, str]:
        done = headrace_here("key", "create", "--project", "shop", "--store", store, *options)
        return done.returncode, done.stdout + done.stderr

    track = ("--scope", "track")
    for options, message in (
        (track, "needs 1 to"),
        ((*track, "--origin", "shop.example"), "must be an origin"),
        ((*track, "--scope", "ingest", "--origin", "*"), "no other scope"),
        (("--origin", "https://shop.example"), "scope track"),
    ):
        status, text = create(*options)
        assert status == 1, options
        assert message in " ".join(text.split())
    status, text = create(*track, "--origin", "https://Shop.example:443", "--json")
    assert (status, json.loads(text)["origins"]) == (0, ["https://shop.example"])
    status, text = create(*track, "--origin", "*")
    assert status == 0
    assert "every origin" in text
