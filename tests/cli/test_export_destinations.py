"""Where `headrace export --output` writes: a file, a link, a pipe, a device."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from tests.support.server import HEADRACE, RunningServer, clean_environment, headrace


@pytest.fixture(scope="module")
def store(server: RunningServer) -> str:
    server.ask("/events", {"event": "a.b", "external_id": "u1"})
    return server.store_url


def export(store: str, output: Path | str, *flags: str) -> subprocess.CompletedProcess[str]:
    flags = ("--event", "a.b", "--output", str(output), *flags)
    return headrace("export", *flags, "--store", store)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("is_there", [True, False], ids=["to a file", "to nothing yet"])
def test_a_link_stays_and_its_target_is_written(store: str, tmp_path: Path, is_there: bool) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "events.ndjson"
    if is_there:
        target.write_text("older\n", "utf-8")
        target.chmod(0o644)
    first, second = tmp_path / "first", tmp_path / "second"
    second.symlink_to(target)
    first.symlink_to("second")

    done = export(store, first)

    assert done.stdout == f"Wrote 1 events to {first}.\n"
    assert (first.readlink(), second.readlink()) == (Path("second"), target)
    assert target.read_text("utf-8").startswith('{"id":')
    assert mode(target) == 0o600
    assert sorted(each.name for each in tmp_path.rglob("*")) == [
        *("elsewhere", "events.ndjson", "first", "second")
    ]


def test_a_rejected_export_through_a_link_keeps_what_was_there(store: str, tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("older\n", "utf-8")
    link.symlink_to(target)
    refused = export(store, link, "--project", "nowhere")
    assert (refused.returncode, "no project 'nowhere'" in refused.stderr) == (2, True)
    assert target.read_text("utf-8") == "older\n"
    assert sorted(tmp_path.iterdir()) == [link, target]


def test_a_named_pipe_is_written_to_and_stays(store: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o644)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()

    done = export(store, pipe)

    assert done.returncode == 0, done.stderr
    reader.join(10)
    assert read[0].startswith(b'{"id":')
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert mode(pipe) == 0o644
    assert list(tmp_path.iterdir()) == [pipe]


def link_to(target: str, folder: Path) -> Path:
    """Devices are named through a link, so that no bug can replace a real device."""
    link = folder / "link"
    link.symlink_to(target)
    return link


def test_a_device_is_written_to(store: str, tmp_path: Path) -> None:
    link = link_to("/dev/null", tmp_path)
    done = export(store, link)
    assert done.stdout == f"Wrote 1 events to {link}.\n", done.stderr
    assert stat.S_ISCHR(link.stat().st_mode)
    assert link.readlink() == Path("/dev/null")


def test_a_full_device_is_named(store: str, tmp_path: Path) -> None:
    link = link_to("/dev/full", tmp_path)
    full = export(store, link)
    assert full.returncode == 1
    assert full.stderr == f"headrace: {link} cannot be written: No space left on device\n"


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_by_its_path_is_standard_output(
    store: str, tmp_path: Path, name: str
) -> None:
    done = export(store, link_to(name, tmp_path))
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr
    assert done.stdout.startswith('{"id":')


def test_a_descriptor_of_the_caller_is_continued_at_its_position(
    store: str, tmp_path: Path
) -> None:
    """As `exec 3> file` in a shell, with other output before and after."""
    path = tmp_path / "file"
    with path.open("wb", buffering=0) as file:
        file.write(b"before\n")
        command = [*HEADRACE, "export", "--event", "a.b", "--store", store]
        output = ["--output", f"/dev/fd/{file.fileno()}"]
        subprocess.run(
            [*command, *output], env=clean_environment(), pass_fds=[file.fileno()], check=True
        )
        file.write(b"after\n")
    first, event, last = path.read_bytes().splitlines()
    assert (first, event[:6], last) == (b"before", b'{"id":', b"after")


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (".", "Is a directory"),
        ("/dev/fd/987", "Bad file descriptor"),
        ("loop", "Too many levels of symbolic links"),
    ],
)
def test_what_cannot_be_written_is_named(
    store: str, tmp_path: Path, output: str, said: str
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    named = str(tmp_path / output)
    refused = export(store, named)
    assert refused.returncode == 1
    assert refused.stderr == f"headrace: {Path(named)} cannot be written: {said}\n"
    assert [each.name for each in tmp_path.iterdir()] == ["loop"]
