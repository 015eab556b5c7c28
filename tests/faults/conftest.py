import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.server import Faulty

DISK_BYTES = 40 * 1024 * 1024


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[Faulty]:
    """An empty store, and servers started on it in sequence."""
    made = Faulty(tmp_path / "headrace.db")
    yield made
    made.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 40 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    mounted = subprocess.run(["mount", *options], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
