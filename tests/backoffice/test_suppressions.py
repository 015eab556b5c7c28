"""Suppressions: listed, added and removed, masked like all addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.backoffice.cast import Person
from tests.backoffice.mailing import audited, mask, reveal
from tests.backoffice.shop import Shop, open_shop, page
from tests.support.server import RunningServer


@pytest.fixture
def shop(server: RunningServer, numbers: Iterator[int], owner: Person) -> Iterator[Shop]:
    """A project of its own, with masked personal data."""
    with open_shop(server, f"suppressions {next(numbers)}") as shop:
        mask(shop, owner)
        yield shop


def entries(shop: Shop) -> list[tuple[str, str]]:
    """Address and scope of each entry in the API."""
    return [(e["email"], e["scope"]) for e in shop.client.get("/suppressions").json()["data"]]


def test_an_address_is_suppressed_found_and_freed(owner: Person, shop: Shop) -> None:
    fields = {"email": "Ann@b.example", "scope": "marketing", "reason": "she asked by phone"}
    assert owner.post(f"{shop.path}/suppressions", fields).status_code == 303
    assert entries(shop) == [("ann@b.example", "marketing")]
    text = page(owner, shop, "/suppressions")
    assert "she asked by phone" in text
    assert "ann@b.example" not in text
    reveal(shop, owner)
    assert "ann@b.example" in page(owner, shop, "/suppressions?email=ANN%40b.example")
    assert "No entry matches" in page(owner, shop, "/suppressions?email=bob%40b.example")
    assert "No entry matches" in page(owner, shop, "/suppressions?because=complaint")
    page(owner, shop, "/suppressions?email=x", 422)
    (entry,) = re.findall(r"/suppressions/([0-9a-f-]{36})/remove", text)
    assert owner.post(f"{shop.path}/suppressions/{entry}/remove").status_code == 303
    assert entries(shop) == []
    assert owner.post(f"{shop.path}/suppressions/{entry}/remove").status_code == 404
    log = audited(shop, owner, "suppression.")
    assert "suppression.add" in log
    assert "suppression.remove" in log


@pytest.mark.parametrize(
    "fields",
    [{}, {"email": "x"}, {"email": "a@b.example", "reason": "x" * 300}],
)
def test_a_wrong_form_changes_nothing(owner: Person, shop: Shop, fields: dict[str, str]) -> None:
    answer = owner.post(f"{shop.path}/suppressions", fields)
    assert answer.status_code == 422
    assert 'aria-invalid="true"' in answer.text
    assert entries(shop) == []


def test_pages_continue_where_the_last_one_ended(owner: Person, shop: Shop) -> None:
    for number in range(52):
        shop.client.post("/suppressions", json={"email": f"p{number}@b.example"})
    first = page(owner, shop, "/suppressions")
    (before,) = set(re.findall(r"before=([0-9.a-f-]+)", first))
    rest = page(owner, shop, f"/suppressions?before={before}")
    found = [re.findall(r"/suppressions/([0-9a-f-]{36})/remove", each) for each in (first, rest)]
    assert [len(each) for each in found] == [50, 2]
    assert not set(found[0]) & set(found[1])


def test_a_pasted_list_is_imported_and_exported(owner: Person, shop: Shop) -> None:
    path = f"{shop.path}/suppressions"
    lines = "email,reason\r\nann@b.example,bounce\r\nnobody,\r\n"
    answer = owner.post(f"{path}/import", {"lines": lines})
    assert answer.status_code == 422
    assert "1 added, 0 already listed, 1 rejected." in answer.text
    assert "Line 3: the address" in answer.text
    assert entries(shop) == [("ann@b.example", "all")]
    assert owner.post(f"{path}/import", {"lines": "  "}).status_code == 422
    assert "suppression.import" in audited(shop, owner, "suppression.")
    # A file of addresses needs the permission that shows them.
    assert owner.get(f"{path}/export").status_code == 303
    assert "needs a whole address" in page(owner, shop, "/suppressions?email=ann", 422)
    reveal(shop, owner)
    assert "ann@b.example,hard_bounce" in owner.get(f"{path}/export").text
    assert "ann@b.example" in page(owner, shop, "/suppressions?email=ann")
