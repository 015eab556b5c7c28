"""A project with history: some deliveries succeeded, one failed for good."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from headrace.domain.access.api_keys import Scope, issue_key
from headrace.domain.timestamps import now_us
from headrace.store.contract.access import Project
from tests.backoffice.cast import ACTOR, Person, in_store, make_project, project_path
from tests.support.server import RunningServer
from tests.support.waiting import wait_until

#: A name that never resolves, reserved for that (RFC 2606).
DEAD_URL = "https://hooks.invalid/orders"


@dataclass
class Shop:
    """A project with a key, and the events sent to it."""

    server: RunningServer
    project: Project
    key: str
    client: httpx.Client
    sent: list[str] = field(default_factory=list)

    @property
    def path(self) -> str:
        """Path of its pages, below `/backoffice`."""
        return project_path(self.project)

    def send(self, event: str, **fields: Any) -> str:
        """Send an event; returns its id."""
        answer = self.client.post("/events", json={"event": event, **fields})
        assert answer.status_code == 202, answer.text
        event_id: str = answer.json()["data"]["id"]
        self.sent.append(event_id)
        return event_id

    def make_webhook(self, url: str, *events: str) -> str:
        """Create a webhook; returns its id."""
        answer = self.client.post("/webhooks", json={"url": url, "events": list(events)})
        assert answer.status_code == 201, answer.text
        webhook_id: str = answer.json()["data"]["id"]
        return webhook_id

    def wait_until_processed(self, event_id: str) -> None:
        """Wait until the worker has processed the event."""
        self.wait(lambda: self._status(event_id) == "processed")

    def wait_for_dead_letters(self, count: int) -> None:
        """Wait until this many are open."""
        self.wait(lambda: len(self.client.get("/dead-letters").json()["data"]) >= count)

    def wait(self, met: Callable[[], bool]) -> None:
        """Wait for a condition."""
        wait_until(met, "what the test waits for", timeout_s=30)

    def _status(self, event_id: str) -> str:
        status: str = self.client.get(f"/events/{event_id}").json()["data"]["status"]
        return status


@contextmanager
def open_shop(server: RunningServer, name: str, **policies: Any) -> Iterator[Shop]:
    """Create a project with a working key and its own policies."""
    project = make_project(server, name)
    issued = issue_key(project.id, frozenset(Scope), name="shop", now_us=now_us())

    async def give(store: Any) -> None:
        await store.projects.add_key(issued.key, actor=ACTOR)
        for policy, value in policies.items():
            await store.projects.set_policy(project.id, policy, value, now_us(), actor=ACTOR)

    in_store(server, give)
    headers = {"authorization": f"Bearer {issued.text}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
        shop = Shop(server, project, issued.text, client)
        # Servers poll for new keys and policies every second.
        shop.wait(lambda: client.get("/events").status_code == 200)
        yield shop


def page(person: Person, shop: Shop, path: str, status: int = 200) -> str:
    """Text of a page of the project."""
    answer = person.get(shop.path + path)
    assert answer.status_code == status, answer.text
    return answer.text
