"""A user of the backoffice, and a project with every kind of content."""

from __future__ import annotations

import asyncio
import http.client
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bench.contenders import Running
from bench.headrace_server import set_policy
from bench.load.contacts import Caller
from bench.load.wrk import LoadFailedError
from bench.processes import HOST
from bench.store_reader import reading
from bench.stores import store_url
from bench.webhooks import REFUSING, subscribe
from headrace.domain.access.sign_in import issue, issue_session
from headrace.domain.ids import uuid_text
from headrace.store.contract.access import Project
from headrace.store.store import Store
from headrace.stores import open_store
from tests.support.past_traffic import past_traffic

T = TypeVar("T")

ACTOR = "bench"
OWNER = "owner@example.org"
PROJECT = "default"
COOKIE = "headrace_session"
ANSWER_WITHIN_S = 120
#: Events that the only webhook rejects.
FAILED, RARE = "order.refused", "page.visited.50"
FAILURES = 20_000
NAMES = 200
#: Of each of the names.
EVENTS_A_NAME = 10
REFUSED = 200
SETTLED_WITHIN_S = 300
POLL_S = 0.5


class Visitor:
    """A signed-in browser without a screen: one connection, one page at a time."""

    def __init__(self, port: int, token: str, project: Project) -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_WITHIN_S)
        self._headers = {"Cookie": f"{COOKIE}={token}"}
        self.project = f"/projects/{uuid_text(project.uuid)}"

    def get(self, path: str) -> str:
        """Text of a page below `/backoffice`.

        Raises:
            LoadFailedError: it was rejected.
        """
        try:
            return self._get(path)
        except (ConnectionError, http.client.HTTPException):
            # Closed while others were measured; the next request opens a new one.
            self._connection.close()
            return self._get(path)

    def _get(self, path: str) -> str:
        self._connection.request("GET", f"/backoffice{path}", headers=self._headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise LoadFailedError(f"{path} was answered {answer.status}: {text[:300]!r}")
        return text.decode()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@contextmanager
def visiting(folder: Path, up: Running) -> Iterator[Visitor]:
    """Sign in as the owner of the instance."""
    token, project = _in_store(folder, _sign_in)
    visitor = Visitor(up.port, token, project)
    try:
        yield visitor
    finally:
        visitor.close()


def make_things_happen(folder: Path, up: Running, receiver: int) -> None:
    """Make failures, rejections, many names, a month of traffic: content of all pages.

    The service must be running a worker that may call the receiver of `bench.webhooks`.
    """
    set_policy(folder, "delivery_max_attempts", "1")
    _in_store(folder, _fill_month)
    with Caller(up.port, up.api_key) as caller:
        subscribe(up.port, up.api_key, receiver, REFUSING, 0)
        _send(caller, [FAILED] * FAILURES)
        _send(caller, [f"page.visited.{number}" for number in range(NAMES)] * EVENTS_A_NAME)
        for _ in range(REFUSED):
            _refused(up)
        _conflict(caller)
    with reading(folder) as reader:
        give_up = time.perf_counter() + SETTLED_WITHIN_S
        while reader.waiting() or reader.number("SELECT count(*) FROM dead_letters") < FAILURES:
            if time.perf_counter() > give_up:
                raise LoadFailedError("deliveries did not fail in time")
            time.sleep(POLL_S)


def _send(caller: Caller, names: list[str]) -> None:
    for start in range(0, len(names), 500):
        events = [
            {
                "event": name,
                "external_id": f"user_{number:06}",
                "payload": {"page": f"/{number}", "email": f"person{number}@example.org"},
                "idempotency_key": f"{name}-{start + number}",
            }
            for number, name in enumerate(names[start : start + 500])
        ]
        _ask(caller, "/events/batch", {"events": events})


def _conflict(caller: Caller) -> None:
    """Two people, and an event that treats them as one."""
    for number in range(20):
        email = f"conflict{number}@example.org"
        _ask(caller, "/contacts", {"email": email})
        said = {"event": FAILED, "external_id": f"user_{number:06}", "email": email}
        _ask(caller, "/events", said)


def _refused(up: Running) -> None:
    connection = http.client.HTTPConnection(HOST, up.port, timeout=ANSWER_WITHIN_S)
    headers = {"Authorization": f"Bearer {up.api_key}", "Content-Type": "application/json"}
    connection.request("POST", "/events", b'{"event":"sendrealm.mine"}', headers)
    connection.getresponse().read()
    connection.close()


def _ask(caller: Caller, path: str, body: Any) -> Any:
    return caller.ask("POST", path, msgspec.json.encode(body))


async def _fill_month(store: Store) -> None:
    project = await _project(store)
    await past_traffic(store, project.id, store.clock_us())


async def _sign_in(store: Store) -> tuple[str, Project]:
    at_us = store.clock_us()
    await store.members.invite(OWNER, issue().token_hash, at_us, is_owner=True, actor=ACTOR)
    token, session = issue_session(OWNER, at_us, address=HOST, browser=ACTOR)
    if not await store.sign_in.open_session(session, ()):
        raise LoadFailedError("signing in failed")
    return token, await _project(store)


async def _project(store: Store) -> Project:
    return next(each for each in await store.projects.list() if each.name == PROJECT)


def _in_store(folder: Path, work: Callable[[Store], Coroutine[Any, Any, T]]) -> T:
    """Run something in the store of the running server."""

    async def run() -> T:
        store = await open_store(store_url(folder), serve=False)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())
