"""Files and folders for their owner only."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.private_files import (
    create_private,
    create_private_folder,
    make_private,
    open_private,
    open_to_others,
    replace_private,
)


@pytest.fixture(params=[0o000, 0o022, 0o277, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Set the umask; nothing else runs in this process meanwhile."""
    value: int = request.param
    before = os.umask(value)
    yield value
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_files_and_folders_are_private_at_any_umask(tmp_path: Path, umask: int) -> None:
    folder = tmp_path / "a" / "b"
    create_private_folder(folder)
    os.close(create_private(folder / "created"))
    os.close(open_private(folder / "opened", os.O_WRONLY | os.O_CREAT))
    assert os.umask(umask) == umask
    assert [mode(each) for each in (folder.parent, folder)] == [0o700, 0o700]
    assert {each.name: mode(each) for each in folder.iterdir()} == {
        "created": 0o600,
        "opened": 0o600,
    }


def test_existing_folder_keeps_its_mode(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o2775)
    create_private_folder(shared)
    create_private_folder(shared / "own")
    assert (mode(shared), mode(shared / "own") & 0o777) == (0o2775, 0o700)
    (shared / "file").touch()
    with pytest.raises(NotADirectoryError):
        create_private_folder(shared / "file" / "below")


def test_existing_links_are_not_followed(tmp_path: Path) -> None:
    link, victim = tmp_path / "link", tmp_path / "victim"
    victim.write_text("kept", "utf-8")
    for target in (victim, tmp_path / "nothing"):
        link.symlink_to(target)
        with pytest.raises(FileExistsError):
            create_private(link)
        with pytest.raises(OSError, match="symbolic links"):
            open_private(link, os.O_WRONLY | os.O_CREAT)
        make_private(link)
        os.close(replace_private(link))
        assert (link.is_symlink(), mode(link)) == (False, 0o600)
        link.unlink()
    assert victim.read_text("utf-8") == "kept"
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    ("before", "after"), [(0o644, 0o600), (0o666, 0o600), (0o440, 0o400), (0o755, 0o600)]
)
def test_only_owner_permissions_are_kept(tmp_path: Path, before: int, after: int) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(before)
    assert open_to_others(path)
    make_private(path)
    assert (open_to_others(path), mode(path)) == (False, after)


def test_opening_makes_a_file_private_and_keeps_its_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("kept", "utf-8")
    path.chmod(0o664)
    with os.fdopen(open_private(path, os.O_WRONLY | os.O_APPEND), "a") as file:
        file.write(" and more")
    assert (path.read_text("utf-8"), mode(path)) == ("kept and more", 0o600)


def test_folders_links_and_missing_files_are_not_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch(0o600)
    (tmp_path / "link").symlink_to("file")
    assert not any(open_to_others(tmp_path / each) for each in ("file", "link", "nothing", "."))
