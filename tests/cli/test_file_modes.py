"""Files that the commands create are readable by their owner only, whatever the umask."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.support.server import RunningServer, headrace

PRIVATE = 0o600
PRIVATE_FOLDER = 0o700
#: Files beside the database while a server runs.
STORE_FILES = ("", "-shm", "-wal", ".lock", ".reserve", ".key")


def modes(folder: Path) -> dict[str, int]:
    """Mode of everything below a folder, by relative path."""
    return {
        str(each.relative_to(folder)): stat.S_IMODE(each.lstat().st_mode)
        for each in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777], ids=oct)
def test_every_file_and_folder_is_private_at_any_umask(tmp_path: Path, umask: int) -> None:
    made, events = tmp_path / "made", tmp_path / "events.ndjson"
    store = f"sqlite:///{made / 'here' / 'h.db'}"
    # A strict umask would also affect the interpreter's byte-code cache.
    env = {"PYTHONDONTWRITEBYTECODE": "1", "HEADRACE_LOG_LEVEL": "error"}
    events.write_text('{"event":"a.b","external_id":"u1"}\nno event\n', "utf-8")
    server = RunningServer(tmp_path, env, (), store=store, umask=umask)
    server.start()
    try:
        to_server = ("--url", server.url, "--key", server.key)
        imported = headrace("import", str(events), *to_server, env=env, umask=umask)
        assert "1 line was rejected" in imported.stderr
        (tmp_path / "events.ndjson.rejected.ndjson").rename(made / "rejected.ndjson")
        out = ("--output", str(made / "out.ndjson"))
        exported = headrace("export", *out, "--store", store, env=env, umask=umask)
        assert exported.returncode == 0, exported.stderr
        found = modes(made)
    finally:
        server.terminate()
    assert found == (
        {"here": PRIVATE_FOLDER, "out.ndjson": PRIVATE, "rejected.ndjson": PRIVATE}
        | {f"here/h.db{ending}": PRIVATE for ending in STORE_FILES}
    )
    assert stat.S_IMODE(made.stat().st_mode) == PRIVATE_FOLDER


def test_any_command_that_opens_a_store_tightens_it(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    folder.chmod(0o755)
    store = f"sqlite:///{folder / 'h.db'}"
    headrace("project", "create", "default", "--store", store)
    for each in folder.iterdir():
        each.chmod(0o640)
    report = headrace("doctor", "--json", "--port", "0", "--store", store)
    checks = {check["check"]: check for check in json.loads(report.stdout)["checks"]}
    assert checks["file modes"]["level"] == "ok"
    assert set(modes(folder).values()) == {PRIVATE}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_files_that_an_import_left_earlier_are_tightened(
    server: RunningServer, tmp_path: Path
) -> None:
    file = tmp_path / "events.ndjson"
    file.write_text("no event\n", "utf-8")
    earlier = [tmp_path / f"events.ndjson{each}" for each in (".rejected.ndjson", ".partial")]
    for each in earlier:
        each.write_text("of an earlier run\n", "utf-8")
        each.chmod(0o644)
    to_server = ("--url", server.url, "--key", server.key)
    assert headrace("import", str(file), *to_server).returncode == 1
    assert modes(tmp_path)["events.ndjson.rejected.ndjson"] == PRIVATE

    exported = headrace("export", "--output", str(file), "--store", server.store_url)

    assert exported.returncode == 0, exported.stderr
    assert modes(tmp_path) == {
        "events.ndjson": PRIVATE,
        "events.ndjson.rejected.ndjson": PRIVATE,
    }
