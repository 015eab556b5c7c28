"""One worker process beside the server: restarted when it dies, stopped with the server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headrace.pipeline import supervisor as supervisor_module
from headrace.pipeline.supervisor import UNUSABLE, WorkerSupervisor
from tests.support.raw_http import Client
from tests.support.server import running_server
from tests.support.waiting import wait_until

WAIT_SECONDS_MAX = 20.0

#: Reports to the test by TCP that it runs, its nudges, and how it ended.
WORKER = """
import os, signal, socket, sys
told = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
if sys.argv[2] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
told.sendall(b"started %d\\n" % os.getpid())
if sys.argv[2] == "unusable":
    sys.exit(int(sys.argv[3]))
if sys.argv[2] == "deaf":
    signal.pause()
while data := os.read(0, 4096):
    told.sendall(b"nudged %d\\n" % len(data))
told.sendall(b"closed\\n")
"""
#: A server with only a supervisor of such a worker.
SERVER = """
import asyncio, os, sys
from headrace.pipeline.supervisor import WorkerSupervisor
asyncio.run(WorkerSupervisor(sys.argv[1:], os.environ).run())
"""


class Told:
    """Reports of workers, in order."""

    def __init__(self) -> None:
        self.port = 0
        self._said: asyncio.Queue[str] = asyncio.Queue()
        self._listeners: list[asyncio.Task[None]] = []

    async def listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._listeners.append(task)
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                self._said.put_nowait(line.decode().strip())
        self._said.put_nowait("gone")
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def all_gone(self) -> None:
        """Wait until no worker is left that could report anything."""
        await asyncio.wait_for(asyncio.gather(*self._listeners), WAIT_SECONDS_MAX)

    async def next(self) -> str:
        return await asyncio.wait_for(self._said.get(), WAIT_SECONDS_MAX)

    async def started(self) -> int:
        """Process id of the next worker that starts."""
        while not (said := await self.next()).startswith("started"):
            assert said in ("gone", "closed")
        return int(said.split()[1])

    def command(self, how: str = "", *more: str) -> list[str]:
        return [sys.executable, "-c", WORKER, str(self.port), how, *more]


@asynccontextmanager
async def listening() -> AsyncIterator[Told]:
    told = Told()
    server = await asyncio.start_server(told.listen, "127.0.0.1", 0)
    told.port = server.sockets[0].getsockname()[1]
    async with server:
        yield told
        await told.all_gone()


@asynccontextmanager
async def supervising(
    command: list[str],
) -> AsyncIterator[tuple[WorkerSupervisor, asyncio.Task[None]]]:
    supervisor = WorkerSupervisor(command, os.environ)
    task = asyncio.create_task(supervisor.run())
    try:
        yield supervisor, task
    finally:
        await supervisor.stop()
        await asyncio.wait_for(task, WAIT_SECONDS_MAX)


@pytest.fixture(autouse=True)
def paces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "RESTART_SECONDS_MIN", 0.0)
    monkeypatch.setattr(supervisor_module, "NUDGE_SECONDS_MIN", 0.0)


def wait_ended(pid: int) -> None:
    """Wait until a process that is no child of this one has ended."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            ended, _, _ = select.select([descriptor], [], [], WAIT_SECONDS_MAX)
            assert ended, f"process {pid} goes on"
        finally:
            os.close(descriptor)


def test_a_worker_that_is_killed_is_started_again() -> None:
    async def scenario() -> None:
        async with (
            listening() as told,
            supervising(told.command()) as (supervisor, _),
        ):
            pids = set()
            for number in range(4):
                pid = await told.started()
                assert supervisor.pid == pid
                assert supervisor.restarts == number
                pids.add(pid)
                os.kill(pid, signal.SIGKILL)
            pids.add(await told.started())
            assert len(pids) == 5

    asyncio.run(scenario())


def test_a_stop_ends_the_worker_and_starts_no_other() -> None:
    async def scenario() -> None:
        async with listening() as told:
            async with supervising(told.command()) as (supervisor, task):
                pid = await told.started()
                await supervisor.stop()
                await asyncio.wait_for(task, WAIT_SECONDS_MAX)
                assert supervisor.restarts == 0
            wait_ended(pid)
            assert await told.next() in ("closed", "gone")

    asyncio.run(scenario())


def test_worker_that_ignores_stop_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervisor_module, "STOP_SECONDS_MAX", 0.05)

    async def scenario() -> None:
        async with listening() as told:
            async with supervising(told.command("stubborn")) as (supervisor, task):
                pid = await told.started()
                await supervisor.stop()
                await asyncio.wait_for(task, WAIT_SECONDS_MAX)
            wait_ended(pid)

    asyncio.run(scenario())


def test_a_stop_between_two_workers_starts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "RESTART_SECONDS_MIN", 1000.0)
    monkeypatch.setattr(supervisor_module, "RESTART_SECONDS_MAX", 1000.0)

    async def scenario() -> None:
        async with listening() as told, supervising(told.command()) as (supervisor, task):
            os.kill(await told.started(), signal.SIGKILL)
            assert await told.next() == "gone"
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                while not supervisor.restarts:
                    # The loop itself notices the death.
                    await asyncio.to_thread(os.sched_yield)
            await supervisor.stop()
            await asyncio.wait_for(task, WAIT_SECONDS_MAX)
            assert supervisor.restarts == 1

    asyncio.run(scenario())


def test_a_worker_that_cannot_be_started_is_retried(tmp_path: Path) -> None:
    program = tmp_path / "worker"

    async def scenario() -> None:
        async with listening() as told, supervising([str(program)]) as (supervisor, task):
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                while supervisor.restarts < 3:
                    await asyncio.to_thread(os.sched_yield)
            assert not task.done()
            made = tmp_path / "made"
            source = WORKER.replace("sys.argv[1]", str(told.port)).replace("sys.argv[2]", "''")
            made.write_text(f"#!{sys.executable}\n{source}", "utf-8")
            made.chmod(0o755)
            made.rename(program)
            assert await told.started() == supervisor.pid

    asyncio.run(scenario())


def test_unusable_settings_are_reported_and_not_retried() -> None:
    async def scenario() -> None:
        async with listening() as told:
            command = told.command("unusable", str(UNUSABLE))
            supervisor = WorkerSupervisor(command, os.environ)
            unusable: list[bool] = []
            supervisor.on_unusable = lambda: unusable.append(True)
            await asyncio.wait_for(supervisor.run(), WAIT_SECONDS_MAX)
            assert unusable == [True]
            assert supervisor.restarts == 0

    asyncio.run(scenario())


def test_nudges_reach_the_worker() -> None:
    async def scenario() -> None:
        async with listening() as told, supervising(told.command()) as (supervisor, _):
            await told.started()
            for _ in range(3):
                supervisor.nudge([])
                assert await told.next() == "nudged 1"

    asyncio.run(scenario())


def test_a_nudge_never_waits_for_a_worker_that_does_not_read() -> None:
    """Far more than a pipe holds; a blocking write would run into the test's deadline."""

    async def scenario() -> None:
        async with listening() as told, supervising(told.command("deaf")) as (supervisor, _):
            await told.started()
            for _ in range(200_000):
                supervisor.nudge([])

    asyncio.run(scenario())


def test_a_nudge_without_a_worker_is_nothing() -> None:
    async def scenario() -> None:
        supervisor = WorkerSupervisor(["unused"], os.environ)
        supervisor.nudge([])
        await supervisor.stop()

    asyncio.run(scenario())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_worker_notices_that_its_server_is_gone(number: signal.Signals) -> None:
    """However the server ends, the pipe closes: no other process has its writing end."""

    async def scenario() -> None:
        async with listening() as told:
            command = told.command()
            server = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", SERVER), *command, stdin=asyncio.subprocess.DEVNULL
            )
            pid = await told.started()
            server.send_signal(number)
            await asyncio.wait_for(server.wait(), WAIT_SECONDS_MAX)
            assert await told.next() == "closed"
            wait_ended(pid)

    asyncio.run(scenario())


def children_of(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text("ascii").split()]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_real_worker_ends_with_the_real_server(tmp_path: Path, number: signal.Signals) -> None:
    with running_server(tmp_path) as server:
        wait_until(
            lambda: "worker.started" in server.log_path.read_text("utf-8"), "a worker starts"
        )
        (worker,) = children_of(server.process.pid)
        status = server.kill() if number == signal.SIGKILL else server.terminate()
        assert status == (-signal.SIGKILL if number == signal.SIGKILL else 0)
        wait_ended(worker)


def test_the_state_of_the_worker_is_known() -> None:
    worker = """
import os, socket, sys
told = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
told.sendall(b"started %d\\n" % os.getpid())
for line in told.makefile():
    os.write(0, line.encode())
"""

    async def scenario() -> None:
        states: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

        async def listen(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            states.put_nowait(writer)

        server = await asyncio.start_server(listen, "127.0.0.1", 0)
        port = str(server.sockets[0].getsockname()[1])
        command = [sys.executable, "-c", worker, port]
        async with server, supervising(command) as (supervisor, _):
            assert supervisor.problem is None
            writer = await states.get()
            for said, problem in ((b"stuck\n", "stuck"), (b"a\n\n", None), (b"b\nc\n", "c")):
                writer.write(said)
                await until(lambda problem=problem: supervisor.problem == problem)  # type: ignore[misc]
            pid = supervisor.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await until(lambda: str(supervisor.problem).startswith("the worker has ended"))
            writer.close()
            writer = await states.get()
            writer.write(b"\n")
            await until(lambda: supervisor.problem is None)
            writer.close()

    asyncio.run(scenario())


async def until(found: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not found():
            await asyncio.to_thread(os.sched_yield)


STUCK = """
import threading
from headrace.delivery.handlers import on
from headrace.delivery.handlers import transport

transport.HandlerLimits.__init__.__kwdefaults__.update(deadline_s=0.05, overdue_max=1)

@on("shop.*", name="never returns")
def never(event):
    threading.Event().wait()
"""


def test_readiness_reports_a_handler_that_cannot_be_called(tmp_path: Path) -> None:
    """And ingest continues: `/readyz` is what a load balancer polls."""
    (tmp_path / "stuck_handlers.py").write_text(STUCK)
    environment = {"PYTHONPATH": str(tmp_path)}
    with running_server(tmp_path, args=("--handlers", "stuck_handlers"), env=environment) as server:
        client = Client(server.port, None)

        def worker() -> str | None:
            data = client.get("/readyz").data
            assert data["status"] == "ready"
            problem: str | None = data.get("worker")
            return problem

        assert worker() is None
        server.ask("/events", {"event": "shop.order", "external_id": "x"})
        stuck = "handlers do not return from their calls: never returns"
        wait_until(lambda: worker() == stuck, "the handler is named")
        assert b"\nheadrace_worker_ready 0.0\n" in client.get("/metrics").body
        client.close()
