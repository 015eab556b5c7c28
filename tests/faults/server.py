"""Servers that a test makes fail, in sequence on one store."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.support.raw_http import Client, ConnectionEndedError, Response
from tests.torture.client import event_of
from tests.torture.server import ServerProcess, prepare_store

SECONDS_MAX = 30.0
#: Far more than any armed fault allows.
EVENTS_MAX = 100


class Faulty:
    """A store, its key, and the server that runs on it now."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self.key = prepare_store(database)
        self._runner = asyncio.Runner()
        self._clients: list[Client] = []
        self.server: ServerProcess | None = None

    def start(
        self,
        *,
        wrapper: Sequence[str] = (),
        program: Sequence[str] = ("-m", "headrace"),
        **environment: str,
    ) -> Client:
        """Start a server without a worker; `environment` holds `HEADRACE_` variables."""
        variables = {f"HEADRACE_{name.upper()}": value for name, value in environment.items()}
        self.server = ServerProcess(
            self.database, command="api", wrapper=wrapper, environment=variables, program=program
        )
        self._runner.run(self.server.start())
        return self.client()

    def client(self) -> Client:
        """One more connection to the server."""
        assert self.server is not None
        client = Client(self.server.port, self.key)
        self._clients.append(client)
        return client

    def wait_ended(self) -> int:
        """Wait until the server has ended by itself; its exit status, negative for a signal."""
        assert self.server is not None
        server, self.server = self.server, None

        async def ended() -> int:
            status = await asyncio.wait_for(server.process.wait(), SECONDS_MAX)
            await server.left()
            return status

        return self._runner.run(ended())

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.server is not None
        self.server.process.terminate()
        return self.wait_ended()

    def kill(self) -> None:
        assert self.server is not None
        self._runner.run(self.server.kill())
        self.wait_ended()

    def stored(self) -> list[tuple[str, str]]:
        """Key and payload of every committed event, in order of receipt."""
        connection = apsw.Connection(str(self.database))
        try:
            assert connection.pragma("integrity_check") == "ok"
            sql = "SELECT idempotency_key, payload FROM events ORDER BY sequence"
            return [(str(key), str(payload)) for key, payload in connection.execute(sql)]
        finally:
            connection.close()

    def stored_keys(self) -> list[str]:
        return [key for key, _ in self.stored()]

    def close(self) -> None:
        for client in self._clients:
            client.close()
        if self.server is not None:
            self.kill()
        self._runner.close()


def send(client: Client, key: str, changes: Mapping[str, Any] | None = None) -> Response | None:
    """Post the event of a key; None when the server ended without a response."""
    try:
        return client.send(event_of(key) | dict(changes or {}))
    except (ConnectionEndedError, OSError):
        client.close()
        return None


def send_until_trouble(client: Client) -> tuple[list[str], str, int | None]:
    """Send events in sequence until one is not accepted.

    Returns:
        The keys acknowledged, the first that was not, and its status, None without a response.
    """
    acknowledged: list[str] = []
    for number in range(EVENTS_MAX):
        key = f"k{number}"
        answer = send(client, key)
        if answer is None or answer.status != 202:
            return acknowledged, key, None if answer is None else answer.status
        acknowledged.append(key)
    pytest.fail("no trouble came")


def send_batch(client: Client, keys: Sequence[str]) -> Response | None:
    """Post the events of some keys in one request."""
    try:
        return client.post("/events/batch", json.dumps({"events": [event_of(k) for k in keys]}))
    except (ConnectionEndedError, OSError):
        client.close()
        return None


def ask_until(found: Callable[[], bool], seconds_max: float = SECONDS_MAX) -> None:
    """Poll the server until it responds as expected."""
    deadline = time.monotonic() + seconds_max
    while not found():
        assert time.monotonic() < deadline, "it did not happen in time"
