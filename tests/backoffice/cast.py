"""People of the tests, signed in without the cost of hashing a password."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from headrace.backoffice.shell.origin import csrf_token
from headrace.domain.access.sign_in import Role, issue, issue_session
from headrace.domain.ids import uuid_text
from headrace.domain.timestamps import now_us
from headrace.store.contract.access import Project
from headrace.store.contract.sign_in import Member
from headrace.store.store import Store
from headrace.stores import open_store
from tests.support.server import RunningServer

T = TypeVar("T")

ACTOR = "test"
OWNER = "owner@example.org"
COOKIE = "headrace_session"


def in_store(server: RunningServer, work: Callable[[Store], Coroutine[Any, Any, T]]) -> T:
    """Run `work` on the server's store from this process.

    In its own thread, since the one that drives a browser already has a loop.
    """

    async def run() -> T:
        store = await open_store(server.store_url, serve=False)
        try:
            return await work(store)
        finally:
            await store.close()

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(lambda: asyncio.run(run())).result()


@dataclass
class Person:
    """A client of the pages, without a browser."""

    server: RunningServer
    email: str
    #: Of the session's cookie; empty: not signed in.
    token: str
    client: httpx.Client

    def get(self, path: str) -> httpx.Response:
        """Get a backoffice page: `/projects`."""
        return self.client.get(f"/backoffice{path}")

    def post(self, path: str, fields: Mapping[str, Any] | None = None) -> httpx.Response:
        """Send a form as a backoffice page does."""
        form = {"csrf": csrf_token(self.token)} | dict(fields or {})
        headers = {"origin": self.server.url, "sec-fetch-site": "same-origin"}
        return self.client.post(f"/backoffice{path}", data=form, headers=headers)


@contextmanager
def person(
    server: RunningServer,
    email: str = OWNER,
    *,
    is_owner: bool = True,
    roles: Mapping[int, Role] | None = None,
) -> Iterator[Person]:
    """Create a signed-in person.

    Args:
        is_owner: of the whole instance.
        roles: by project, for people who are not owners.
    """
    token = in_store(server, lambda store: _sign_in(store, email, is_owner, roles or {}))
    cookies = {COOKIE: token}
    with httpx.Client(base_url=server.url, cookies=cookies, timeout=60) as client:
        yield Person(server, email, token, client)


@contextmanager
def stranger(server: RunningServer) -> Iterator[Person]:
    """A client without a session."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield Person(server, "", "", client)


async def _sign_in(
    store: Store,
    email: str,
    is_owner: bool,
    roles: Mapping[int, Role],
) -> str:
    at_us = now_us()
    members = store.members
    await members.invite(email, issue().token_hash, at_us, is_owner=is_owner, actor=ACTOR)
    for project_id, role in roles.items():
        member = Member(email=email, role=role, added_us=at_us)
        assert await members.set_member(project_id, member, at_us, actor=ACTOR)
    token, session = issue_session(email, at_us, address="127.0.0.1", browser="tests")
    assert await store.sign_in.open_session(session, ())
    return token


def make_project(server: RunningServer, name: str) -> Project:
    """Create a project."""
    return in_store(server, lambda store: store.projects.create(name, now_us(), actor=ACTOR))


def project_path(project: Project) -> str:
    """Path of a project's pages below `/backoffice`."""
    return f"/projects/{uuid_text(project.uuid)}"
