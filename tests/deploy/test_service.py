"""Headrace as a service of systemd: what it reports, and the unit."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.service_manager import ServiceManager
from tests.deploy.conftest import DEPLOY
from tests.support.server import HEADRACE, clean_environment, headrace

UNIT = DEPLOY / "systemd" / "headrace.service"
#: `systemd-analyze security`: from 0 for a unit that may do nothing to 100.
EXPOSURE_MAX = 16
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


@contextlib.contextmanager
def manager(address: str) -> Iterator[socket.socket]:
    """The socket of a service manager; reads wait no longer than the limit of a start."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
        listening.settimeout(30)
        yield listening


def states(listening: socket.socket, until: str) -> list[str]:
    """Reports up to the first one that contains a state."""
    found: list[str] = []
    while not found or until not in found[-1].splitlines():
        found.append(listening.recv(4096).decode())
    return found


def environment(address: str, **more: str) -> dict[str, str]:
    return clean_environment({"NOTIFY_SOCKET": address} | more)


def test_a_server_reports_its_start_its_life_and_its_stop(tmp_path: Path) -> None:
    address, store = str(tmp_path / "notify"), f"sqlite:///{tmp_path / 'headrace.db'}"
    with (
        manager(address) as listening,
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            [*HEADRACE, "serve", "--port", "0", "--store", store],
            env=environment(address, WATCHDOG_USEC="200000"),
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            *earlier, ready = states(listening, "READY=1")
            assert not earlier
            port = re.search(r"STATUS=Listening on 127\.0\.0\.1, port (\d+)", ready)
            assert port is not None
            url = f"http://127.0.0.1:{port[1]}/readyz"
            with urllib.request.urlopen(url, timeout=20) as response:
                assert response.status == 200
            assert states(listening, "WATCHDOG=1")
            assert states(listening, "WATCHDOG=1")
            worker = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("ascii")
            inherited = Path(f"/proc/{worker.split()[0]}/environ").read_bytes()
            assert b"HEADRACE_STORE=" in inherited
            assert b"NOTIFY_SOCKET" not in inherited
            assert b"WATCHDOG" not in inherited
            process.send_signal(signal.SIGTERM)
            assert "STATUS=Stopping" in states(listening, "STOPPING=1")[-1]
            assert process.wait(12) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


def test_a_worker_reports_to_an_abstract_address(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'headrace.db'}"
    assert headrace("migrate", "--store", store).returncode == 0
    name = f"headrace-{os.getpid()}"
    with (
        manager(f"\0{name}") as listening,
        subprocess.Popen(
            [*HEADRACE, "worker", "--store", store],
            env=environment(f"@{name}"),
            stderr=subprocess.DEVNULL,
        ) as process,
    ):
        try:
            assert states(listening, "READY=1") == ["READY=1\nSTATUS=Working"]
            process.terminate()
            # Without a watchdog nothing is reported in between.
            assert len(states(listening, "STOPPING=1")) == 1
            assert process.wait(12) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


def test_a_failed_start_reports_nothing(tmp_path: Path) -> None:
    with (
        manager(str(tmp_path / "notify")) as listening,
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        port, store = str(taken.getsockname()[1]), f"sqlite:///{tmp_path / 'headrace.db'}"
        done = headrace(
            *("api", "--port", port, "--store", store), env={"NOTIFY_SOCKET": f"{tmp_path}/notify"}
        )
        assert done.returncode == 2
        listening.setblocking(False)  # noqa: FBT003 - takes no name
        with pytest.raises(BlockingIOError):
            listening.recv(4096)


def test_a_manager_that_is_gone_disturbs_nothing(tmp_path: Path) -> None:
    environ = {"NOTIFY_SOCKET": str(tmp_path / "nobody"), "HOME": "/"}
    gone = ServiceManager.take(environ)
    assert environ == {"HOME": "/"}
    gone.ready("Listening")
    gone.stopping()


@pytest.fixture(scope="module")
def unit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unit, with the `headrace` and the user of the tests."""
    text = UNIT.read_text("utf-8")
    assert "ExecStart=/opt/headrace/bin/headrace serve" in text
    command = str(Path(sys.executable).with_name("headrace"))
    text = text.replace("/opt/headrace/bin/headrace serve", f"{command} serve")
    path = tmp_path_factory.mktemp("unit") / UNIT.name
    path.write_text(text, "utf-8")
    return path


@needs_systemd
def test_systemd_accepts_the_unit(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # Unknown settings are only warnings; those about other units name them.
    assert [line for line in done.stderr.splitlines() if UNIT.name in line] == []


@needs_systemd
def test_the_unit_is_hardened(unit: Path) -> None:
    """Nothing that the unit leaves open goes unnoticed when it is changed."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", f"--threshold={EXPOSURE_MAX}", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
