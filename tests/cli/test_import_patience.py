"""An import against a server that accepts nothing: it waits, but not for ever."""

from contextlib import closing
from pathlib import Path

import pytest

from headrace.cli.importing.sender import Sender
from headrace.cli.shared.failure import CommandFailed
from headrace.cli.shared.http_client import Client
from tests.support.server import RunningServer, running_server

EVENT = b'{"event": "a.b", "external_id": "u1", "idempotency_key": "k"}'
NEARLY_FULL = {"HEADRACE_DISK_FREE_MIN_BYTES": str(1 << 60)}


class Clock:
    """A clock that advances only during waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def client_of(server: RunningServer) -> closing[Client]:
    return closing(Client(server.url, server.key))


def test_it_gives_up_on_a_server_that_rejects_for_long(tmp_path: Path) -> None:
    clock = Clock()
    with running_server(tmp_path, env=NEARLY_FULL) as server, client_of(server) as client:
        sender = Sender(client, 60.0, clock.sleep, lambda: clock.now)
        with pytest.raises(CommandFailed, match=r"503 StorageUnavailable.* Stopped"):
            sender.send([EVENT])
    # Each wait is as long as the server asked for.
    assert set(clock.waits) == {5.0}
    assert sum(clock.waits) <= 60.0


def test_it_continues_when_the_server_is_back(tmp_path: Path) -> None:
    with running_server(tmp_path) as server, client_of(server) as client:
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 2:
                server.start()

        server.kill()
        [decision] = Sender(client, 60.0, sleep, lambda: 0.0).send([EVENT])
        assert decision.status == 202
        # Without a hint from the server the waits grow.
        assert waits == [0.5, 1.0]
