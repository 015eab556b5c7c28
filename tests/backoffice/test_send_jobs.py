"""Sends to audiences: their progress, and stopping one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.backoffice.cast import Person
from tests.backoffice.mailing import audited, said
from tests.backoffice.shop import Shop, open_shop, page
from tests.support.server import RunningServer


@pytest.fixture
def shop(server: RunningServer, numbers: Iterator[int]) -> Iterator[Shop]:
    """A project of its own."""
    with open_shop(server, f"jobs {next(numbers)}", topicless_marketing=True) as shop:
        yield shop


def new_job(shop: Shop, **members: str) -> str:
    audience = shop.client.post("/audiences", json={"name": "Everybody"}).json()["data"]["id"]
    contact = shop.client.post("/contacts", json={"email": "ann@b.example"}).json()["data"]["id"]
    added = shop.client.post(f"/audiences/{audience}/contacts", json={"contact_ids": [contact]})
    assert added.is_success, added.text
    body = {"from": "a@example.org", "audiences": [audience], "kind": "marketing"}
    answer = shop.client.post(
        "/emails", json={**body, "subject": "News", "text": "News", **members}
    )
    assert answer.status_code == 201, answer.text
    job_id: str = answer.json()["data"]["id"]
    return job_id


def test_a_job_shows_how_far_it_is(owner: Person, shop: Shop) -> None:
    job_id = new_job(shop)
    shop.wait(lambda: ">done</span>" in page(owner, shop, f"/send-jobs/{job_id}"))
    text = page(owner, shop, f"/send-jobs/{job_id}")
    assert "1 messages created for 1 of 1 contacts" in text
    assert "Everybody" in text
    assert f"/send-jobs/{job_id}" in page(owner, shop, "/send-jobs")
    late = owner.post(f"{shop.path}/send-jobs/{job_id}/stop")
    assert "It is already done." in said(owner, late.headers["location"])


def test_a_job_is_stopped(owner: Person, shop: Shop) -> None:
    job_id = new_job(shop, scheduled_at="2027-01-01T00:00:00Z")
    assert ">scheduled</span>" in page(owner, shop, f"/send-jobs/{job_id}")
    stopped = owner.post(f"{shop.path}/send-jobs/{job_id}/stop")
    assert "Stopped." in said(owner, stopped.headers["location"])
    assert ">stopped</span>" in page(owner, shop, f"/send-jobs/{job_id}")
    assert "email.stop" in audited(shop, owner, "email.")


def test_what_is_absent_is_not_found(owner: Person, shop: Shop) -> None:
    absent = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"
    for name in ("x", absent):
        page(owner, shop, f"/send-jobs/{name}", 404)
        assert owner.post(f"{shop.path}/send-jobs/{name}/stop").status_code == 404
