"""Sign-in links, passwords, signing out, and the limit on attempts."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from headrace.domain.access.sign_in import (
    LINK_PATH,
    TRIES_OF_ACCOUNT_MAX,
    TRIES_OF_ADDRESS_MAX,
    issue,
    issue_link,
    throttles,
)
from headrace.domain.timestamps import now_us
from headrace.store.contract.sign_in import AuditFilter
from headrace.store.store import Store
from tests.backoffice.cast import COOKIE, Person, in_store, stranger
from tests.support.server import RunningServer, running_server

PASSWORD = "correct horse battery"
SAME_SITE = {"sec-fetch-site": "same-origin"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that trusts this client as a proxy, so that each test has its own address."""
    folder = tmp_path_factory.mktemp("sign-in")
    with running_server(folder, args=("--trusted-proxies", "127.0.0.0/8")) as running:
        yield running


@pytest.fixture
def address(numbers: Iterator[int]) -> dict[str, str]:
    """Header of a request from an unused address."""
    return SAME_SITE | {"x-forwarded-for": f"203.0.113.{next(numbers) + 1}"}


def make_link(server: RunningServer, email: str) -> str:
    """Path of a sign-in link for a person, who becomes an operator if necessary."""

    async def work(store: Store) -> str:
        await store.members.invite(email, issue().token_hash, now_us(), is_owner=True, actor="test")
        token, link = issue_link(email, now_us())
        assert await store.sign_in.add_link(link, actor="test")
        return f"/welcome/{token}"

    return in_store(server, work)


def set_password(nobody: Person, path: str, password: str = PASSWORD) -> httpx.Response:
    form = {"password": password, "again": password}
    return nobody.client.post(f"/backoffice{path}", data=form, headers=SAME_SITE)


def sign_in(nobody: Person, email: str, password: str, headers: dict[str, str]) -> httpx.Response:
    form = {"email": email, "password": password}
    return nobody.client.post("/backoffice/sign-in", data=form, headers=headers)


def problem(answer: httpx.Response) -> str:
    found = re.search(r'role="alert">(.*?)</div>', answer.text)
    assert found is not None, answer.text
    return found[1]


def test_the_first_link_creates_a_signed_in_owner(server: RunningServer) -> None:
    path = server.announced["sign_in"].removeprefix(f"{server.url}/backoffice")
    assert path.startswith(LINK_PATH.removeprefix("/backoffice"))
    with stranger(server) as nobody:
        assert "become the owner" in nobody.get(path).text
        form = {"email": "First@Example.org", "password": PASSWORD, "again": PASSWORD}
        answer = nobody.client.post(f"/backoffice{path}", data=form, headers=SAME_SITE)
        assert (answer.status_code, answer.headers["location"]) == (303, "/backoffice")
        page = nobody.get("/operators").text
        assert "first@example.org" in page
        assert nobody.get(path).status_code == 410


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"password": "short"}, "at least 12 characters"),
        ({"password": "a" * 300}, "at most 256 characters"),
        ({"password": "aaaaaaaaaaaaaaaa"}, "different characters"),
        ({"password": PASSWORD, "again": "another horse battery"}, "do not match"),
    ],
)
def test_a_password_that_will_not_do_leaves_the_link_usable(
    server: RunningServer, nobody: Person, fields: dict[str, str], said: str
) -> None:
    path = make_link(server, "picky@example.org")
    form = {"again": fields["password"]} | fields
    answer = nobody.client.post(f"/backoffice{path}", data=form, headers=SAME_SITE)
    assert answer.status_code == 422
    assert said in answer.text
    assert fields["password"] not in answer.text
    assert nobody.get(path).status_code == 200


def test_viewing_a_link_does_not_use_it_up(server: RunningServer, nobody: Person) -> None:
    path = make_link(server, "looked@example.org")
    assert [nobody.get(path).status_code for _ in range(3)] == [200, 200, 200]
    assert set_password(nobody, path).status_code == 303


def test_a_link_sets_the_password_of_its_own_operator_only(
    server: RunningServer, nobody: Person, address: dict[str, str]
) -> None:
    path = make_link(server, "mine@example.org")
    make_link(server, "victim@example.org")
    form = {"email": "victim@example.org", "password": PASSWORD, "again": PASSWORD}
    nobody.client.post(f"/backoffice{path}", data=form, headers=SAME_SITE)
    nobody.client.cookies.clear()
    assert sign_in(nobody, "victim@example.org", PASSWORD, address).status_code == 422
    assert sign_in(nobody, "mine@example.org", PASSWORD, address).status_code == 303


def test_signing_in_by_password_and_out_again(
    server: RunningServer, nobody: Person, address: dict[str, str]
) -> None:
    assert set_password(nobody, make_link(server, "ann@example.org")).status_code == 303
    nobody.client.cookies.clear()
    form = {"email": " Ann@Example.org", "password": PASSWORD, "next": "/backoffice/projects?x=1"}
    answer = nobody.client.post("/backoffice/sign-in", data=form, headers=address)
    assert answer.headers["location"] == "/backoffice/projects?x=1"
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
    signed = Person(server, "ann@example.org", nobody.client.cookies[COOKIE], nobody.client)
    assert "ann@example.org" in signed.get("/account").text
    answer = signed.post("/sign-out")
    assert answer.headers["location"] == "/backoffice/sign-in"
    # The token is no longer valid, even when it was copied.
    signed.client.cookies.set(COOKIE, signed.token)
    assert signed.get("/account").status_code == 303


def test_nothing_reveals_whether_an_account_exists(
    server: RunningServer, nobody: Person, address: dict[str, str]
) -> None:
    set_password(nobody, make_link(server, "known@example.org"))
    make_link(server, "without@example.org")
    nobody.client.cookies.clear()
    emails = ("known@example.org", "without@example.org", "absent@example.org", "no address", "")
    answers = [sign_in(nobody, email, "wrong password", address) for email in emails]
    assert {answer.status_code for answer in answers} == {422}
    assert len({problem(answer) for answer in answers}) == 1
    assert not any("set-cookie" in answer.headers for answer in answers)


def test_the_redirect_after_signing_in_stays_on_this_server(
    server: RunningServer, nobody: Person, address: dict[str, str]
) -> None:
    set_password(nobody, make_link(server, "way@example.org"))
    for way in (
        "https://evil.example",
        "//evil.example",
        "/events",
        "/backoffice\n/x",
        "javascript:x",
    ):
        nobody.client.cookies.clear()
        form = {"email": "way@example.org", "password": PASSWORD, "next": way}
        answer = nobody.client.post("/backoffice/sign-in", data=form, headers=address)
        assert answer.headers["location"] == "/backoffice"


def test_an_account_may_be_tried_a_few_times_from_anywhere(
    server: RunningServer, nobody: Person, numbers: Iterator[int]
) -> None:
    set_password(nobody, make_link(server, "target@example.org"))
    nobody.client.cookies.clear()
    for number in range(TRIES_OF_ACCOUNT_MAX):
        headers = SAME_SITE | {"x-forwarded-for": f"198.51.100.{number}"}
        assert sign_in(nobody, "target@example.org", "wrong", headers).status_code == 422
    fresh = SAME_SITE | {"x-forwarded-for": f"203.0.113.{next(numbers) + 1}"}
    answer = sign_in(nobody, "target@example.org", PASSWORD, fresh)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 900
    assert "Too many attempts" in problem(answer)
    # Others are not blocked, and a link lets the blocked person in.
    set_password(nobody, make_link(server, "other@example.org"))
    assert sign_in(nobody, "other@example.org", PASSWORD, fresh).status_code == 303
    assert set_password(nobody, make_link(server, "target@example.org")).status_code == 303


def test_an_address_may_try_a_few_accounts_and_cannot_hide_in_its_network(
    server: RunningServer, nobody: Person
) -> None:
    network = throttles("", "2001:db8:7:7::/64")[1]

    async def try_often(store: Store) -> None:
        for _ in range(TRIES_OF_ADDRESS_MAX - 1):
            assert await store.sign_in.count_try((network,), now_us()) == 0

    in_store(server, try_often)
    for number, status in ((1, 422), (2, 429)):
        headers = SAME_SITE | {"x-forwarded-for": f"2001:db8:7:7::{number}"}
        answer = sign_in(nobody, f"guess{number}@example.org", "wrong", headers)
        assert answer.status_code == status


def test_an_address_from_an_untrusted_peer_is_not_believed(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with running_server(tmp_path_factory.mktemp("direct")) as direct, stranger(direct) as nobody:
        headers = SAME_SITE | {"x-forwarded-for": "198.51.100.77"}
        sign_in(nobody, "absent@example.org", "wrong", headers)

        async def look(store: Store) -> str:
            wanted = AuditFilter(action="session.refused")
            (row,) = await store.members.audit(wanted, before=None, limit=5)
            return row.entry.detail

        assert in_store(direct, look) == '{"address":"127.0.0.1"}'


def test_with_tls_the_cookie_is_secure(tmp_path_factory: pytest.TempPathFactory) -> None:
    args = ("--public-url", "https://events.example.org")
    with running_server(tmp_path_factory.mktemp("tls"), args=args) as tls, stranger(tls) as nobody:
        link = tls.announced["sign_in"]
        assert link.startswith("https://events.example.org/backoffice/welcome/")
        path = link.removeprefix("https://events.example.org")
        form = {"email": "first@example.org", "password": PASSWORD, "again": PASSWORD}
        headers = {"origin": "https://events.example.org"}
        answer = nobody.client.post(path, data=form, headers=headers)
        assert answer.status_code == 303
        cookies = answer.headers.get_list("set-cookie")
        session = next(text for text in cookies if "session" in text)
        assert session.startswith("__Host-headrace_session=")
        assert {"Secure", "HttpOnly", "Path=/"} <= set(session.split("; "))
        assert "Domain" not in session
        # A cookie that anything on the same host could have set is ignored.
        token = session.partition("=")[2].partition(";")[0]
        nobody.client.cookies.clear()
        nobody.client.cookies.set(COOKIE, token)
        assert nobody.client.get("/backoffice/projects").status_code == 303
