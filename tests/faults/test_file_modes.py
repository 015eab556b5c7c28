"""Modes of files as requested from the kernel, and the report when it rejects a change."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from headrace.cli.importing.lines import fingerprint
from headrace.cli.importing.state import State, StateFile
from tests.faults.server import Faulty
from tests.faults.strace import Call, bytes_of, calls_of, inject, trace
from tests.support.server import HEADRACE, clean_environment

_OPENED = re.compile(r', "([^"]*)", ([A-Z_|]+), (0\d*)$')
#: Files next to the database while a server runs.
_STORE_FILES = ("", "-shm", "-wal", ".lock", ".reserve")
_CHANGES = "?chmod,?fchmodat,?fchmodat2,fchmod"


def created_modes(calls: Sequence[Call], below: Path) -> dict[str, str]:
    """Name of each file -> mode of the first call that opened it and could create it."""
    found: dict[str, str] = {}
    for call in calls:
        opened = _OPENED.search(call.arguments)
        if call.name == "openat" and opened is not None and "O_CREAT" in opened[2]:
            path = Path(os.fsdecode(bytes_of(opened[1])))
            if path.is_relative_to(below) and (call.result or 0) >= 0:
                found.setdefault(path.name, opened[3])
    return found


def test_files_have_their_mode_from_the_call_that_creates_them(tmp_path: Path) -> None:
    """Without a umask and without a later change of mode."""
    log, output, events = (tmp_path / each for each in ("calls", "out.ndjson", "events.ndjson"))
    events.write_text("no event\n", "utf-8")
    store = ("--store", f"sqlite:///{tmp_path / 'h.db'}")
    calls: list[Call] = []
    for command in (
        ("project", "create", "default", *store),
        ("import", str(events), *store),
        ("export", "--output", str(output), *store),
    ):
        traced = trace(f"openat,{_CHANGES}", log, bytes_shown=1024)
        subprocess.run(
            [*traced, *HEADRACE, *command],
            env=clean_environment(),
            umask=0,
            check=command[0] != "import",
            capture_output=True,
        )
        calls += calls_of(log)
    beside_store = ("", "-journal", "-wal", "-shm", ".lock", ".reserve", ".key.new")
    beside_file = (".import-state.json.partial", ".rejected.ndjson")
    created = [f"h.db{each}" for each in beside_store]
    created += [f"events.ndjson{each}" for each in beside_file]
    assert created_modes(calls, tmp_path) == dict.fromkeys([*created, "out.ndjson.partial"], "0600")
    assert [call for call in calls if "chmod" in call.name] == []


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o755], ids=oct)
def test_files_of_an_earlier_release_are_tightened_at_start(faulty: Faulty, mode: int) -> None:
    """Including those that a kill has left behind."""
    faulty.start()
    faulty.kill()
    files = [Path(f"{faulty.database}{each}") for each in _STORE_FILES]
    for each in files:
        each.chmod(mode)
    faulty.start()
    assert [stat.S_IMODE(each.stat().st_mode) for each in files] == [0o600] * len(files)


@pytest.mark.parametrize("mode", [0o644, 0o660], ids=oct)
def test_files_that_cannot_be_tightened_are_reported(
    faulty: Faulty, tmp_path: Path, mode: int
) -> None:
    """As when they belong to another user."""
    faulty.database.chmod(mode)
    refusing = inject("error=EPERM", calls=_CHANGES)

    faulty.start(wrapper=refusing)
    doctor = subprocess.run(
        [*refusing, *HEADRACE, "doctor", "--json", "--store", f"sqlite:///{faulty.database}"],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        check=False,
    )
    faulty.kill()

    shown = f"headrace.db ({mode:04o})"
    lines = map(json.loads, (tmp_path / "server.log").read_text("utf-8").splitlines())
    [logged] = (line for line in lines if line["event"] == "store.exposed")
    assert logged["level"] == "warning"
    assert shown in logged["files"]
    checks = {check["check"]: check for check in json.loads(doctor.stdout)["checks"]}
    finding = checks["file modes"]
    assert finding["level"] == "warn"
    assert shown in finding["found"]
    assert "chmod 600" in finding["advice"]


def test_resumed_import_reports_a_file_that_others_may_read(faulty: Faulty, tmp_path: Path) -> None:
    store = f"sqlite:///{faulty.database}"
    file, rejected = tmp_path / "events.ndjson", tmp_path / "events.ndjson.rejected.ndjson"
    file.write_text("no event\n", "utf-8")
    rejected.write_text("{}\nof a batch that was interrupted\n", "utf-8")
    rejected.chmod(0o644)
    target = f"{store} project torture"
    StateFile(file).save(State(fingerprint(file), target, rejected_bytes=len("{}\n")))

    done = subprocess.run(
        [
            *(*inject("error=EPERM", calls=_CHANGES), *HEADRACE),
            *("import", str(file), "--project", "torture", "--store", store),
        ],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert f"other users can read the rejected lines; run: chmod 600 {rejected}" in done.stderr
    first, second = map(json.loads, rejected.read_text("utf-8").splitlines())
    assert (first, second["text"]) == ({}, "no event")
