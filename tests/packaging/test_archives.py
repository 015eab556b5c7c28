"""Wheel and source archive are complete and say what they are."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from headrace.version import VERSION
from tests.packaging.conftest import PROJECT_URL, ROOT, run

#: Tracked, and of no use in an archive.
LEFT_OUT = {".ci/run"}


@pytest.fixture(scope="module")
def tracked() -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git work tree: an archive has no list of tracked files")
    return {name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()}


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        return Parser().parsestr(archive.read(f"headrace-{VERSION}.dist-info/METADATA").decode())


def test_the_source_archive_has_every_tracked_file(source_archive: Path, tracked: set[str]) -> None:
    with tarfile.open(source_archive) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    assert not tracked - LEFT_OUT - found


def test_the_wheel_has_the_whole_package_and_nothing_else(wheel: Path, tracked: set[str]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {name.removeprefix("src/") for name in tracked if name.startswith("src/")}
    assert found == expected
    assert {"headrace/py.typed", "headrace/store/migrations/sqlite/0010_initial.sql"} <= found


def test_both_archives_can_be_built_again_with_the_same_content(
    wheel: Path, source_archive: Path, tmp_path: Path
) -> None:
    with tarfile.open(source_archive) as archive:
        archive.extractall(tmp_path, filter="data")
    [unpacked] = tmp_path.iterdir()
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", folder=unpacked)
    [again] = (unpacked / "dist").glob("*.whl")
    assert again.read_bytes() == wheel.read_bytes()


def test_the_metadata_describes_the_package(metadata: Message) -> None:
    assert metadata["Name"] == "headrace"
    assert metadata["Version"] == VERSION
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ROOT / "README.md").read_text("utf-8")
    urls = dict(line.split(", ") for line in metadata.get_all("Project-URL") or ())
    assert urls.keys() == {"Homepage", "Documentation", "Changelog", "Source", "Issues"}
    assert all(url.startswith(PROJECT_URL) for url in urls.values())


def test_the_classifiers_name_every_supported_python(metadata: Message) -> None:
    classifiers = metadata.get_all("Classifier") or []
    prefix = "Programming Language :: Python :: 3."
    named = sorted(int(one.removeprefix(prefix)) for one in classifiers if one.startswith(prefix))
    assert named == [11, 12, 13, 14]
    assert metadata["Requires-Python"] == ">=3.11"


def test_every_dependency_is_locked(metadata: Message) -> None:
    lock = (ROOT / "requirements" / "runtime.txt").read_text("utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = metadata.get_all("Requires-Dist") or []
    assert len(wanted) == len(project["dependencies"])
    for line in wanted:
        name = line.partition(">")[0].replace(".", "-").lower()
        assert f"\n{name}==" in lock, f"{line} is not locked"
