"""`headrace import`: every line exactly once, despite failures."""

import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.cli.exports import check_export_comes_back
from tests.data.octokit_examples import read_examples
from tests.support.server import (
    HEADRACE,
    RunningServer,
    clean_environment,
    headrace,
    running_server,
)
from tests.support.waiting import wait_until


def write(path: Path, lines: list[Any]) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(f"{text}\n" for text in texts), "utf-8")
    return path


def events(count: int, name: str = "page.viewed") -> list[Any]:
    return [{"event": name, "external_id": f"u{n}", "payload": {"n": n}} for n in range(count)]


def over_http(server: RunningServer, *arguments: str, code: int = 0) -> dict[str, Any]:
    env = {"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key}
    done = headrace("import", *arguments, "--json", env=env)
    assert done.returncode == code, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def stored(server: RunningServer, name: str) -> list[dict[str, Any]]:
    exported = headrace("export", "--event", name, "--store", server.store_url)
    return [json.loads(line) for line in exported.stdout.splitlines()]


def test_a_repeated_import_doubles_nothing(server: RunningServer, tmp_path: Path) -> None:
    file = write(tmp_path / "events.ndjson", events(1200, "repeat.test"))
    assert over_http(server, str(file))["accepted"] == 1200
    again = over_http(server, str(file))
    assert (again["accepted"], again["deduplicated"], again["mismatched"]) == (0, 1200, 0)
    found = stored(server, "repeat.test")
    assert [event["payload"]["n"] for event in found] == list(range(1200))
    assert {event["source"] for event in found} == {"import"}
    assert not list(tmp_path.glob("*.import-state.json"))


def test_an_export_comes_back_to_its_store(server: RunningServer, tmp_path: Path) -> None:
    check_export_comes_back(server, tmp_path)


def test_bad_lines_go_to_a_file_and_affect_no_other(server: RunningServer, tmp_path: Path) -> None:
    good = {"event": "bad.lines", "external_id": "u1"}
    lines = [good, "{no json", "", good | {"event": "Bad"}, "[]", good | {"payload": []}, good]
    report = over_http(server, str(write(tmp_path / "events.ndjson", lines)), code=1)
    assert (report["lines"], report["accepted"], report["rejected"]) == (6, 2, 4)
    rejected = [
        json.loads(line) for line in Path(report["rejected_file"]).read_text("utf-8").splitlines()
    ]
    assert [(each["line"], each["status"]) for each in rejected] == [
        (2, 400),
        (4, 422),
        (5, 400),
        (6, 422),
    ]
    assert rejected[0]["text"] == "{no json"
    assert rejected[3]["reason"] == "ValidationError: payload: must be an object, got an array"
    assert len(stored(server, "bad.lines")) == 2


def test_a_line_that_is_no_text_or_far_too_long_is_one_bad_line(
    server: RunningServer, tmp_path: Path
) -> None:
    good = json.dumps({"event": "odd.lines", "external_id": "u1"}).encode()
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"\n".join([good, b"\xff\xfe{}", b"x" * 5_000_000, good]))
    report = over_http(server, str(file), code=1)
    assert (report["accepted"], report["rejected"]) == (2, 2)


@pytest.mark.parametrize(
    "payload",
    [
        '{"n": 1%s}' % ("0" * 4300),
        '{"n": -1%s}' % ("0" * 5000),
        '{"n": 1e999}',
        '{"n": 0.1%s}' % ("1" * 5000),
    ],
    ids=["4,301 digits", "negative", "large exponent", "long fraction"],
)
def test_a_line_with_any_number_is_stored_once(
    server: RunningServer, tmp_path: Path, payload: str
) -> None:
    name = f"huge.n{abs(hash(payload))}"
    line = f'{{"event": "{name}", "external_id": "u1", "payload": {payload}}}'
    file = write(tmp_path / "events.ndjson", [line])

    assert over_http(server, str(file))["accepted"] == 1
    assert over_http(server, str(file))["deduplicated"] == 1


def test_a_line_without_key_that_is_no_unicode_is_rejected(
    server: RunningServer, tmp_path: Path
) -> None:
    line = '{"event": "odd.key", "external_id": "u", "idempotency_key": null, "\\ud800": 1}'
    report = over_http(server, str(write(tmp_path / "events.ndjson", [line])), code=1)
    assert (report["accepted"], report["rejected"]) == (0, 1)


def test_own_idempotency_keys_are_kept(server: RunningServer, tmp_path: Path) -> None:
    one = {"event": "own.keys", "external_id": "u1", "idempotency_key": "mine"}
    other = one | {"payload": {"other": True}}
    file = write(tmp_path / "events.ndjson", [one, one, other, one | {"idempotency_key": None}])
    report = over_http(server, str(file))
    assert (report["accepted"], report["deduplicated"], report["mismatched"]) == (2, 2, 1)
    keys = [event["idempotency_key"] for event in stored(server, "own.keys")]
    assert keys[0] == "mine"
    assert keys[1].startswith("import:")
    assert keys[1].endswith(":4")


def test_a_killed_import_continues_where_it_was(server: RunningServer, tmp_path: Path) -> None:
    count = 30_000
    lines = events(count, "killed.import")
    lines[10] = "bad"
    file = write(tmp_path / "events.ndjson", lines)
    state = tmp_path / "events.ndjson.import-state.json"
    env = clean_environment({"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key})
    with subprocess.Popen([*HEADRACE, "import", str(file)], env=env) as process:
        wait_until(state.exists, "the first batch is through")
        process.kill()
    at_kill = json.loads(state.read_bytes())
    assert 0 < at_kill["line"] < count
    report = over_http(server, str(file), code=1)
    assert report["lines"] == count
    assert report["rejected"] == 1
    assert Path(report["rejected_file"]).read_text("utf-8").count("\n") == 1
    numbers = [event["payload"]["n"] for event in stored(server, "killed.import")]
    assert sorted(numbers) == [n for n in range(count) if n != 10]
    assert not state.exists()


def test_an_import_of_a_changed_file_does_not_continue(
    server: RunningServer, tmp_path: Path
) -> None:
    file = write(tmp_path / "events.ndjson", events(10, "changed.file"))
    state = tmp_path / "events.ndjson.import-state.json"
    state.write_text(
        json.dumps({"fingerprint": "0" * 16, "target": server.url, "offset": 9, "line": 1})
    )
    env = {"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key}
    refused = headrace("import", str(file), env=env)
    assert refused.returncode == 2
    assert "--restart" in refused.stderr
    assert over_http(server, str(file), "--restart")["accepted"] == 10


def test_standard_input(server: RunningServer, tmp_path: Path) -> None:
    text = "".join(json.dumps(event) + "\n" for event in events(3, "piped.in"))
    env = {"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key}
    done = headrace("import", "-", env=env, stdin=text, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (
        0,
        "3 lines: 3 accepted, 0 duplicates, 0 rejected\n",
    )
    assert list(tmp_path.iterdir()) == []


def test_an_import_waits_as_long_as_the_rate_limit_says(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        name = "event_ingest_limit_per_second"
        headrace("policy", "set", name, "600", "--store", server.store_url)
        server.restart()
        file = write(tmp_path / "events.ndjson", events(2000))
        assert over_http(server, str(file))["accepted"] == 2000


def test_without_a_server_it_writes_into_the_store(tmp_path: Path) -> None:
    file = write(tmp_path / "events.ndjson", events(700))
    store = ("--store", f"sqlite:///{tmp_path / 'headrace.db'}")
    headrace("project", "create", "shop", *store)
    for said in ("700 accepted, 0 duplicates", "0 accepted, 700 duplicates"):
        done = headrace("import", str(file), "--project", "shop", *store)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
    keys = json.loads(headrace("key", "list", "--project", "shop", "--json", *store).stdout)
    assert [key["status"] for key in keys] == ["revoked", "revoked"]
    exported = headrace("export", "--project", "shop", *store).stdout
    assert exported.count("\n") == 700


def test_the_store_of_a_running_server_is_left_to_it(server: RunningServer, tmp_path: Path) -> None:
    file = write(tmp_path / "events.ndjson", events(1))
    refused = headrace("import", str(file), "--store", server.store_url)
    assert refused.returncode == 2
    assert "talk to it over HTTP with --url and --key" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("none.ndjson", "--key", "KEY", "--url", "URL"), 2, "none.ndjson cannot be read"),
        (("events.ndjson", "--key", "hr_wrong", "--url", "URL"), 1, "401 Unauthorized"),
        (("events.ndjson", "--url", "URL"), 2, "--url needs an API key"),
        (("events.ndjson",), 2, "There is no store at"),
        (("/dev/stdin", "--key", "KEY", "--url", "URL"), 2, "headrace import -"),
    ],
)
def test_rejections(
    server: RunningServer, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    write(tmp_path / "events.ndjson", events(1))
    real = {"KEY": server.key, "URL": server.url}
    refused = headrace(
        "import", *(real.get(each, each) for each in arguments), cwd=tmp_path, stdin=""
    )
    assert refused.returncode == code
    assert said in refused.stderr
    assert server.key not in refused.stderr
    assert "Traceback" not in refused.stderr


def test_every_real_webhook_body_comes_in_and_out_byte_for_byte(
    server: RunningServer, tmp_path: Path
) -> None:
    examples = list(read_examples())
    file = tmp_path / "events.ndjson"
    with file.open("wb") as out:
        for number, example in enumerate(examples):
            head = json.dumps({"event": example.event, "external_id": f"octokit {number}"})
            out.write(b'%b, "payload": ' % head[:-1].encode())
            out.write(example.payload_on_one_line + b"}\n")
    report = over_http(server, str(file))
    assert report["accepted"] == len(examples)
    exported = headrace("export", "--store", server.store_url).stdout
    found = {}
    for line in exported.splitlines():
        members = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        found[msgspec.json.decode(members["external_id"], type=str | None)] = members["payload"]
    for number, example in enumerate(examples):
        assert bytes(found[f"octokit {number}"]) == example.payload_on_one_line
