"""`headrace import --contacts`: CSV and NDJSON; dry run, interruption, repetition."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import (
    HEADRACE,
    RunningServer,
    clean_environment,
    headrace,
)
from tests.support.waiting import wait_until

CSV = """\
external_id,email,plan,seats:number,vip:boolean,since:date,tags:list,note: x
u1,Ann@x.org,pro,3,true,2026-06-08,"a; b",first
u2,,,,,,,
u3,,free,many,,,,
u4,not an address,free,1,,,,

u5,,"two
lines",1.50,NO,2026-06-08T10:00:00Z,,
u6,,free,1,,,,,,
,,free,1,,,,
"""


def over_http(server: RunningServer, *arguments: str, code: int = 0) -> dict[str, Any]:
    env = {"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key}
    done = headrace("import", "--contacts", *arguments, "--json", env=env)
    assert done.returncode == code, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def contact(server: RunningServer, external_id: str) -> dict[str, Any] | None:
    found = server.ask(f"/contacts?external_id={external_id}")["data"]
    return found[0] if found else None


def test_csv_with_types_and_rejections(server: RunningServer, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text(CSV, "utf-8")

    report = over_http(server, str(file), code=1)

    assert {name: report[name] for name in ("lines", "created", "updated", "rejected")} == {
        "lines": 7,
        "created": 3,
        "updated": 0,
        "rejected": 4,
    }
    first, second, fifth = (contact(server, name) for name in ("u1", "u2", "u5"))
    assert first is not None
    assert second is not None
    assert fifth is not None
    assert first["email"] == "Ann@x.org"
    assert first["properties"] == {
        "plan": "pro",
        "seats": 3,
        "vip": True,
        "since": "2026-06-08",
        "tags": ["a", "b"],
        "note: x": "first",
    }
    assert second["properties"] == {}
    assert fifth["properties"]["plan"] == "two\nlines"
    assert fifth["properties"]["vip"] is False
    rejected = [
        json.loads(line) for line in Path(report["rejected_file"]).read_text("utf-8").splitlines()
    ]
    assert [(each["line"], each["status"]) for each in rejected] == [
        (4, 0),
        (5, 422),
        (9, 0),
        (10, 422),
    ]
    assert rejected[0]["reason"] == "seats: must be a number such as 12.5"
    assert rejected[0]["text"] == "u3,,free,many,,,,"
    assert rejected[1]["text"] == "u4,not an address,free,1,,,,"
    assert rejected[2]["reason"] == "has 10 cells, but the first line has 8 columns"
    again = over_http(server, str(file), code=1)
    assert (again["created"], again["updated"], again["unchanged"]) == (0, 0, 3)


def test_ndjson_is_upserted_with_its_types(server: RunningServer, tmp_path: Path) -> None:
    file = tmp_path / "people.ndjson"
    people = [{"external_id": f"n{n}", "properties": {"n": n, "tags": ["x"]}} for n in range(1200)]
    file.write_text("".join(json.dumps(each) + "\n" for each in people), "utf-8")

    rehearsed = over_http(server, str(file), "--dry-run")
    assert contact(server, "n0") is None
    done = over_http(server, str(file))

    assert (rehearsed["created"], done["created"]) == (1200, 1200)
    found = contact(server, "n1199")
    assert found is not None
    assert found["properties"] == {"n": 1199, "tags": ["x"]}
    event = server.ask(f"/events?contact_id={found['id']}")["data"][-1]
    assert (event["event"], event["payload"]["source"]) == ("sendrealm.contact.created", "import")
    file.write_text('{"external_id": "n0", "properties": {"n": -1}}\n', "utf-8")
    assert over_http(server, str(file))["updated"] == 1


def test_a_killed_import_of_csv_continues(server: RunningServer, tmp_path: Path) -> None:
    count = 20_000
    file = tmp_path / "many.csv"
    rows = "".join(f'k{n},"a\nb",{n}\n' for n in range(count))
    file.write_text(f"external_id,text,n:number\n{rows}", "utf-8")
    state = tmp_path / "many.csv.import-state.json"
    env = clean_environment({"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key})
    with subprocess.Popen([*HEADRACE, "import", "--contacts", str(file)], env=env) as process:
        wait_until(state.exists, "the first batch is through")
        process.kill()
    at_kill = json.loads(state.read_bytes())
    assert 0 < at_kill["decided"] < count
    assert at_kill["line"] == 1 + 2 * at_kill["decided"]

    report = over_http(server, str(file))

    assert report["lines"] == count
    # The batch in flight may have been stored without being recorded.
    assert report["created"] + report["unchanged"] == count
    assert not state.exists()
    last = contact(server, f"k{count - 1}")
    assert last is not None
    assert last["properties"] == {"text": "a\nb", "n": count - 1}


def test_a_dry_run_keeps_the_rejections_of_an_interrupted_import(
    server: RunningServer, tmp_path: Path
) -> None:
    count = 20_000
    file = tmp_path / "many.csv"
    rows = "".join(f"d{n},{n}\n" for n in range(count))
    file.write_text(f"external_id,n:number\nfirst,many\n{rows}last,many\n", "utf-8")
    env = clean_environment({"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key})
    with subprocess.Popen([*HEADRACE, "import", "--contacts", str(file)], env=env) as process:
        wait_until((tmp_path / "many.csv.import-state.json").exists, "the first batch is through")
        process.kill()

    dry = over_http(server, str(file), "--dry-run", code=1)
    real = over_http(server, str(file), code=1)

    assert dry["rejected"] == real["rejected"] == 2
    assert dry["rejected_file"] != real["rejected_file"]
    for report in (dry, real):
        lines = Path(report["rejected_file"]).read_text("utf-8").splitlines()
        assert [json.loads(line)["text"] for line in lines] == ["first,many", "last,many"]


def test_without_a_server_it_writes_into_the_store(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("email;seats:number\na@x.org;1\nb@x.org;2\n", "utf-8")
    store = ("--store", f"sqlite:///{tmp_path / 'headrace.db'}")
    headrace("project", "create", "shop", *store)
    arguments = ("import", "--contacts", str(file), "--project", "shop", *store)
    for option, said in (
        (("--dry-run",), "2 lines: 2 created, 0 updated, 0 unchanged, 0 rejected"),
        ((), "2 lines: 2 created"),
        ((), "2 lines: 0 created, 0 updated, 2 unchanged"),
    ):
        done = headrace(*arguments, *option)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout


def test_an_unusable_header_or_option_is_rejected(server: RunningServer, tmp_path: Path) -> None:
    env = {"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key}
    file = tmp_path / "people.csv"
    for first, said in (
        ("plan,seats", "must have a column external_id or email"),
        ("email,plan,plan:number", "'plan' appears twice"),
        ("email,,plan", "a column has no name"),
    ):
        file.write_text(f"{first}\n1,2,3\n", "utf-8")
        refused = headrace("import", "--contacts", str(file), env=env)
        assert (refused.returncode, said in refused.stderr) == (2, True), refused.stderr
    refused = headrace("import", "--dry-run", str(file), env=env)
    assert refused.returncode == 2


def test_a_packed_export_of_another_product_is_read(server: RunningServer, tmp_path: Path) -> None:
    file = tmp_path / "people.tsv.gz"
    rows = ["Email Address\tSeats\tNotes\t", "map1@x.example\t3\tx\t", 'map2@x.example\t"open\t']
    file.write_bytes(gzip.compress("\r".join(rows).encode()))

    report = over_http(server, str(file), "--map", "Seats=seats:number", "--map", "Notes=", code=1)

    assert (report["created"], report["rejected"]) == (1, 1)
    [found] = server.ask("/contacts?email=map1@x.example")["data"]
    assert found["properties"] == {"seats": 3}


@pytest.mark.parametrize(
    ("name", "content", "flags", "said"),
    [
        ("people.csv.gz", gzip.compress(b"email\n" * 1000)[:-9], (), "gzip"),
        ("people.csv.gz", b"email\n", (), "gzip"),
        ("people.csv", b"email\n", ("--map", "Mail=email"), 'no column "Mail"'),
        ("people.csv", b"email\n", ("--map", "Mail"), "NAME=COLUMN"),
        ("people.ndjson", b"{}\n", ("--map", "Mail=email"), "CSV only"),
    ],
    ids=["cut off", "not packed", "unknown name", "no pair", "no CSV"],
)
def test_files_that_cannot_be_read_end_in_one_line(
    server: RunningServer,
    tmp_path: Path,
    name: str,
    content: bytes,
    flags: tuple[str, ...],
    said: str,
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    env = {"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key}
    done = headrace("import", "--contacts", str(file), "--dry-run", *flags, env=env)
    assert done.returncode in {1, 2}
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
