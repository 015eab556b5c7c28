"""When the backoffice's live page ends, and when it masks personal data again.

On PostgreSQL the streams are on one server and the changes are made on another. All streams are
opened first and all rights withdrawn together; then each stream has to end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

import httpx
import msgspec
import pytest

from headrace.domain.access.sign_in import (
    SESSION_US,
    SESSIONS_OF_OPERATOR_MAX,
    Role,
    Session,
    issue_link,
    issue_session,
)
from headrace.domain.timestamps import now_us
from headrace.pipeline.streams.streams import HOLDER_STREAMS_MAX
from headrace.store.store import Store
from tests.backoffice.cast import ACTOR, COOKIE, Person, in_store, person
from tests.backoffice.shop import Shop, open_shop
from tests.support.postgres import NEWEST
from tests.support.postgres import server as postgres_server
from tests.support.raw_http import Connection, head_of
from tests.support.raw_sql import run_sql
from tests.support.server import RunningServer, running_server
from tests.support.stream import Watcher
from tests.support.waiting import wait_until

ACCESS_ENDED = "event: end\ndata: access_ended"
SECOND_US = 1_000_000
EMAIL = "ann@example.org"


class World(NamedTuple):
    """The servers for changes and for streams, and the people who use them."""

    here: RunningServer
    there: RunningServer
    owner: Person
    shop: Shop


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "store_kind" in metafunc.fixturenames:
        wanted = str(NEWEST) in metafunc.config.getoption("--postgres").split(",")
        kinds = ["sqlite", "postgresql"] if wanted else ["sqlite"]
        metafunc.parametrize("store_kind", kinds, scope="module")


@pytest.fixture(scope="module")
def world(store_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as running:
        store = ""
        if store_kind == "postgresql":
            store = postgres_server().url(postgres_server().new_database())
        folders = [tmp_path_factory.mktemp("live") for _ in range(2 if store else 1)]
        servers = [running.enter_context(running_server(each, store=store)) for each in folders]
        here, there = servers[0], servers[-1]
        owner = running.enter_context(person(here))
        shop = running.enter_context(open_shop(here, "shop"))
        yield World(here, there, owner, shop)
        logs = [server.log_path.read_text("utf-8") for server in servers]
    for failure in ("request.failed", "loop.failed", "Traceback"):
        assert all(failure not in log for log in logs)


def live_request(shop: Shop, token: str) -> bytes:
    target = f"/backoffice{shop.path}/events/live/stream"
    return head_of("GET", target, headers={"Cookie": f"{COOKIE}={token}"})


def sign_out(_: World, who: Person) -> None:
    assert who.post("/sign-out").status_code == 303


def end_from_another_session(world: World, who: Person) -> None:
    with person(world.here, who.email, is_owner=False) as elsewhere:
        page = elsewhere.get("/account").text
        session = page.partition('name="session" value="')[2].partition('"')[0]
        assert elsewhere.post("/account/sessions", {"session": session}).status_code == 303


def change_the_password(world: World, who: Person) -> None:
    email, keep = who.email, b"another session"
    in_store(world.here, lambda store: store.sign_in.set_password(email, "a hash", keep, now_us()))


def use_a_link(world: World, who: Person) -> None:
    async def work(store: Store) -> None:
        _, link = issue_link(who.email, now_us())
        assert await store.sign_in.add_link(link, actor=ACTOR)
        _, session = issue_session(who.email, now_us(), address="127.0.0.1", browser="tests")
        assert await store.sign_in.use_link(link.token_hash, "a hash", session, b"")

    in_store(world.here, work)


def open_too_many_sessions(world: World, who: Person) -> None:
    async def work(store: Store) -> None:
        for _ in range(SESSIONS_OF_OPERATOR_MAX):
            _, session = issue_session(who.email, now_us(), address="", browser="")
            assert await store.sign_in.open_session(session, ())

    in_store(world.here, work)


def remove_the_operator(world: World, who: Person) -> None:
    assert world.owner.post("/operators/remove", {"email": who.email}).status_code == 303


def remove_the_member(world: World, who: Person) -> None:
    path = f"{world.shop.path}/members/remove"
    assert world.owner.post(path, {"email": who.email}).status_code == 303


def take_the_instance_away(world: World, who: Person) -> None:
    fields = {"email": who.email, "is_owner": "no"}
    assert world.owner.post("/operators/owner", fields).status_code == 303


def set_column(table: str, column: str) -> Callable[[World, Person], None]:
    def change(world: World, who: Person) -> None:
        sql = f"UPDATE {table} SET {column} = 1 WHERE email = ?"
        run_sql(world.here.store_url, sql, who.email)

    return change


WAYS: dict[str, Callable[[World, Person], None]] = {
    "signed out": sign_out,
    "ended from another session": end_from_another_session,
    "password changed": change_the_password,
    "link used": use_a_link,
    "too many sessions": open_too_many_sessions,
    "operator removed": remove_the_operator,
    "operator revoked": set_column("operators", "revoked_us"),
    "member removed": remove_the_member,
    "no owner of the instance": take_the_instance_away,
    "not used for long": set_column("sessions", "seen_us"),
    "too old": set_column("sessions", "created_us"),
}


def watch(world: World, token: str, held: ExitStack) -> Watcher:
    watcher = held.enter_context(Watcher(world.there.port))
    watcher.start_by(live_request(world.shop, token))
    return watcher


def watch_until_its_time_is_over(world: World, held: ExitStack) -> Watcher:
    """A stream of a session that expires in a moment, long enough to open the stream."""
    email = "expires@example.org"
    with person(world.here, email, roles={world.shop.project.id: Role.VIEWER}, is_owner=False):
        pass
    for left_s in (1, 2, 4, 8):
        at_us = now_us()
        created_us = at_us - SESSION_US + left_s * SECOND_US
        token, session = issue_session(email, created_us, address="", browser="")
        open_session(world, msgspec.structs.replace(session, seen_us=at_us))
        watcher = held.enter_context(Watcher(world.there.port))
        watcher.send(live_request(world.shop, token))
        if watcher.head().status == 200:
            return watcher
    raise AssertionError


def open_session(world: World, session: Session) -> None:
    assert in_store(world.here, lambda store: store.sign_in.open_session(session, ()))


class Streams:
    """One stream for each way to lose access, and one that keeps it."""

    def __init__(self, world: World, held: ExitStack) -> None:
        self.people: dict[str, Person] = {}
        self.watchers: dict[str, Watcher] = {}
        self._ends: dict[str, str] = {}
        for number, way in enumerate(WAYS):
            is_owner = way == "no owner of the instance"
            roles = {} if is_owner else {world.shop.project.id: Role.VIEWER}
            email = f"p{number}@example.org"
            who = held.enter_context(person(world.here, email, is_owner=is_owner, roles=roles))
            self.people[way] = who
            self.watchers[way] = watch(world, who.token, held)
        self.keeps = watch(world, world.owner.token, held)
        self.watchers["time over"] = watch_until_its_time_is_over(world, held)

    def end_of(self, way: str) -> str:
        """The last message of a stream."""
        if way not in self._ends:
            self._ends[way] = self.watchers[way].last_message()
        return self._ends[way]


@pytest.fixture(scope="module")
def streams(world: World) -> Iterator[Streams]:
    with ExitStack() as held:
        made = Streams(world, held)
        for way, take_away in WAYS.items():
            take_away(world, made.people[way])
        yield made


@pytest.mark.parametrize("way", [*WAYS, "time over"])
def test_a_live_page_ends_with_the_right_to_it(streams: Streams, way: str) -> None:
    assert streams.end_of(way).endswith(ACCESS_ENDED)


def test_other_streams_continue(world: World, streams: Streams) -> None:
    for way in streams.watchers:
        streams.end_of(way)
    world.shop.send("order.completed", external_id="ann", idempotency_key="after all")
    assert "after all" in row_with(streams.keeps, "after all")


def row_with(watcher: Watcher, text: str) -> str:
    while True:
        message = watcher.message()
        if message.startswith("event: row") and text in message:
            return message


class Revealed:
    """A person to whom the stream shows personal data."""

    def __init__(self, world: World, role: Role, numbers: Iterator[int], held: ExitStack) -> None:
        self.world = world
        self._numbers = numbers
        email = f"reveals{next(numbers)}@example.org"
        roles = {world.shop.project.id: role}
        self.who = held.enter_context(person(world.here, email, is_owner=False, roles=roles))
        path = f"{world.shop.path}/reveal"
        assert self.who.post(path, {"back": "/backoffice"}).status_code == 303
        self._watcher = watch(world, self.who.token, held)
        assert self.is_shown()

    def is_shown(self) -> bool:
        """Whether the row of a new event shows its e-mail address."""
        key = f"order-{next(self._numbers)}"
        self.world.shop.send("order.completed", email=EMAIL, idempotency_key=key)
        return EMAIL in row_with(self._watcher, key)

    def wait_until_masked(self) -> None:
        wait_until(lambda: not self.is_shown(), "personal data is masked")


@pytest.fixture
def revealed(world: World, numbers: Iterator[int]) -> Iterator[Revealed]:
    with ExitStack() as held:
        yield Revealed(world, Role.OPERATOR, numbers, held)


def test_masking_masks_what_the_stream_sends(revealed: Revealed) -> None:
    path = f"{revealed.world.shop.path}/mask"
    assert revealed.who.post(path, {"back": "/backoffice"}).status_code == 303
    revealed.wait_until_masked()


def test_the_time_of_showing_holds_for_the_stream(revealed: Revealed) -> None:
    """The session stores the end of unmasking, so the stream needs no change to notice it."""
    until_us = now_us() + 2 * SECOND_US
    sql = "UPDATE sessions SET revealed_until_us = ? WHERE email = ?"
    run_sql(revealed.world.here.store_url, sql, until_us, revealed.who.email)
    revealed.wait_until_masked()
    assert now_us() >= until_us


def test_a_role_that_may_not_show_masks(revealed: Revealed) -> None:
    """This holds on every page, not only in the stream."""
    fields = {"email": revealed.who.email, "role": "viewer"}
    path = f"{revealed.world.shop.path}/members/role"
    assert revealed.world.owner.post(path, fields).status_code == 303
    revealed.wait_until_masked()
    assert EMAIL not in revealed.who.get(f"{revealed.world.shop.path}/events").text


def test_an_operator_has_a_share_of_the_streams(world: World, numbers: Iterator[int]) -> None:
    email = f"many{next(numbers)}@example.org"
    roles = {world.shop.project.id: Role.VIEWER}
    with ExitStack() as held:
        # The limit is per person, however many sessions there are.
        people = [
            held.enter_context(person(world.here, email, is_owner=False, roles=roles))
            for _ in range(2)
        ]
        for number in range(HOLDER_STREAMS_MAX):
            watch(world, people[number % 2].token, held)
        for who in people:
            with Connection(world.there.port) as connection:
                connection.send(live_request(world.shop, who.token))
                answer = connection.answer()
            assert answer.status == 429
            assert int(answer.headers["retry-after"]) >= 1
            assert b"Too many live pages are open" in answer.body
        watch(world, world.owner.token, held)


def key_works(server: RunningServer, key: str) -> bool:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.get(f"{server.url}/events", headers=headers, timeout=60).status_code == 200


def test_a_key_revoked_on_its_page_ends_its_stream(world: World) -> None:
    with open_shop(world.here, "another shop") as shop, Watcher(world.there.port) as watcher:
        # The other server polls for new keys every second.
        wait_until(lambda: key_works(world.there, shop.key), "the key works there")
        watcher.start(shop.key)
        path = f"{shop.path}/keys/{shop.key.split('_')[1]}/revoke"
        assert world.owner.post(path).status_code == 303
        assert watcher.last_message().endswith('{"reason":"access_ended"}')
