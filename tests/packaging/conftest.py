"""Wheel and source archive of the work tree, and an environment with the wheel alone."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: A Python to install the locked packages on, instead of using those that are installed here.
OTHER_PYTHON = os.environ.get("PACKAGE_PYTHON", "")
PROJECT_URL = "https://forge.example.org/team/headrace"


def run(*command: str | Path, folder: Path = ROOT) -> str:
    """Run a command to its good end; returns what it printed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PROJECT_URL": PROJECT_URL, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both archives, built as `make package` does."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "--directory", folder)
    return folder


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    [found] = built.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def source_archive(built: Path) -> Path:
    [found] = built.glob("*.tar.gz")
    return found


@pytest.fixture(scope="session")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a new environment with the wheel; nothing in it leads to the work tree.

    Its other packages are those that the tests run with, unless `PACKAGE_PYTHON` names a Python:
    then they are installed from the lock file.
    """
    folder = tmp_path_factory.mktemp("environment")
    run(OTHER_PYTHON or sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
    if OTHER_PYTHON:
        run(*pip, "--require-hashes", "-r", "requirements/runtime.txt")
    else:
        # Only the path: the link to the work tree that is installed there is not followed.
        [packages] = (folder / "lib").glob("python3.*/site-packages")
        (packages / "locked.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
    run(*pip, "--no-deps", wheel)
    return folder / "bin"
