from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

from headrace.process_names import is_alive, own_name


def test_a_process_knows_its_name_and_that_it_runs() -> None:
    assert own_name() == own_name()
    assert own_name().startswith(f"{socket.gethostname()}/")
    assert f":{os.getpid()}:" in own_name()
    assert is_alive(own_name())


def test_ended_process_is_not_alive() -> None:
    """This holds even before its parent has read its exit status."""
    code = "from headrace.process_names import own_name; print(own_name(), flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    name = process.stdout.readline().strip()
    assert is_alive(name)
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(name)
    process.communicate()
    assert not is_alive(name)


def test_a_reused_process_id_is_another_process() -> None:
    host_and_pid, _, start = own_name().rpartition(":")
    assert not is_alive(f"{host_and_pid}:{int(start) - 1}")


def test_processes_elsewhere_count_as_alive() -> None:
    """Not even when another machine or container has the same name."""
    place, _, _ = own_name().partition(":")
    for other in ("elsewhere.example", socket.gethostname(), f"{place[:-1]}x"):
        assert is_alive(f"{other}:999999999:1")
    assert not is_alive(f"{place}:999999999:1")


def test_malformed_name_counts_as_alive() -> None:
    """Then the lease decides, as for other hosts."""
    for name in ("", "w", f"{socket.gethostname()}:x:1"):
        assert is_alive(name)
