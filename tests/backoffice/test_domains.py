"""Sending domains: created, their records shown and looked up, verified without DNS."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

import pytest

from headrace.domain.access.sign_in import Role
from tests.backoffice.cast import Person, person
from tests.backoffice.mailing import audited, said, send_and_wait
from tests.backoffice.shop import Shop, open_shop, page
from tests.support.commands import headrace_here
from tests.support.server import RunningServer


@pytest.fixture
def shop(server: RunningServer, numbers: Iterator[int]) -> Iterator[Shop]:
    """A project of its own."""
    with open_shop(server, f"domains {next(numbers)}") as shop:
        yield shop


@pytest.fixture
def domain(owner: Person, shop: Shop) -> str:
    """Path of a domain's page; its names never resolve (RFC 2606)."""
    made = owner.post(f"{shop.path}/domains", {"name": "Shop.INVALID", "track": "yes"})
    assert made.status_code == 303, made.text
    return made.headers["location"].removeprefix("/backoffice" + shop.path)


def test_a_domain_shows_the_records_to_publish(owner: Person, shop: Shop, domain: str) -> None:
    text = html.unescape(page(owner, shop, domain))
    shown = shop.client.get("/domains").json()["data"][0]
    assert shown["name"] == "shop.invalid"
    assert len(shown["records"]) == 3
    for record in shown["records"]:
        assert record["name"] in text
        assert record["value"] in text
    assert text.count("data-copy=") == 6
    assert "PRIVATE KEY" not in text
    assert ">pending</span>" in page(owner, shop, "/domains")


@pytest.mark.parametrize("name", ["", "x", "a@b.example", "shop.invalid"])
def test_an_invalid_name_creates_nothing(owner: Person, shop: Shop, domain: str, name: str) -> None:
    answer = owner.post(f"{shop.path}/domains", {"name": name})
    assert answer.status_code in {409, 422}
    assert 'aria-invalid="true"' in answer.text
    assert len(shop.client.get("/domains").json()["data"]) == 1, domain


def test_a_look_up_reports_what_was_found_for_each_record(
    owner: Person, shop: Shop, domain: str
) -> None:
    answer = owner.post(f"{shop.path}{domain}/look-up")
    assert answer.status_code == 200
    # Without a name server the look-up fails; with one the names do not exist.
    found = answer.text.count(">unknown</span>") + answer.text.count(">missing</span>")
    assert found == 3
    assert shop.client.get("/domains").json()["data"][0]["status"] == "pending"


def test_it_is_verified_on_the_word_of_an_operator(owner: Person, shop: Shop, domain: str) -> None:
    unsure = owner.post(f"{shop.path}{domain}/verify")
    assert "confirm that the domain is yours" in said(owner, unsure.headers["location"])
    assert shop.client.get("/domains").json()["data"][0]["status"] == "pending"
    owner.post(f"{shop.path}{domain}/verify", {"sure": "yes"})
    assert shop.client.get("/domains").json()["data"][0]["status"] == "verified"
    assert f"on the word of operator {owner.email}" in page(owner, shop, domain)
    assert "domain.verify" in audited(shop, owner, "domain.")
    looked = owner.post(f"{shop.path}{domain}/look-up")
    assert "stays verified" in looked.text


def test_one_that_an_automation_uses_is_deleted_only_by_force(
    owner: Person, shop: Shop, domain: str
) -> None:
    of = {
        "trigger": {"event_name": "go", "filters": {"ref": domain.rpartition("/")[2]}},
        "steps": [{"key": "s", "type": "delay", "config": {"seconds": 3600}}],
        "connections": [{"from": "trigger", "to": "s"}],
    }
    body = {"name": "Uses <it>", "definition": of}
    made = shop.client.post("/automations", json=body).json()["data"]
    assert shop.client.post(f"/automations/{made['id']}/publish").status_code == 200
    refused = owner.post(f"{shop.path}{domain}/delete")
    assert (
        "Not deleted: automations use it: Uses &lt;it&gt;."
        in owner.get(refused.headers["location"]).text
    )
    owner.post(f"{shop.path}{domain}/delete", {"force": "yes"})
    page(owner, shop, domain, 404)


def test_it_is_deleted(owner: Person, shop: Shop, domain: str) -> None:
    assert owner.post(f"{shop.path}{domain}/delete").status_code == 303
    page(owner, shop, domain, 404)
    assert owner.post(f"{shop.path}{domain}/verify", {"sure": "yes"}).status_code == 404


def test_a_viewer_reads_and_changes_nothing(server: RunningServer, shop: Shop, domain: str) -> None:
    roles = {shop.project.id: Role.VIEWER}
    with person(server, "views@domains.example.org", is_owner=False, roles=roles) as viewer:
        assert (
            "<button"
            not in page(viewer, shop, domain)
            .partition('class="head"')[2]
            .partition('aria-labelledby="records"')[0]
        )
        assert viewer.post(f"{shop.path}{domain}/verify", {"sure": "yes"}).status_code == 403


def test_figures_of_sent_mail_are_shown(owner: Person, shop: Shop, domain: str) -> None:
    assert "No mail in this period" in page(owner, shop, domain)
    sender: dict[str, Any] = {"from": "Shop <news@shop.invalid>", "to": ["a@b.example"]}
    send_and_wait(shop, owner, **sender)
    text = page(owner, shop, domain)
    assert '<td data-label="Receiver" class="wrap">b.example</td>' in text
    assert '<td data-label="Sent" class="number">1</td>' in text
    assert "rejects this domain" not in text


def test_a_warm_up_is_begun_changed_and_ended(owner: Person, shop: Shop, domain: str) -> None:
    assert ">no plan</span>" in page(owner, shop, domain)
    for wrong in ("0", "-1", "x", "", "1" * 30):
        kept = owner.post(f"{shop.path}{domain}/warm-up", {"daily_start": wrong, "days": "14"})
        assert "Not changed" in said(owner, kept.headers["location"])
    begun = owner.post(f"{shop.path}{domain}/warm-up", {"daily_start": "30", "days": "10"})
    assert "plan is set" in said(owner, begun.headers["location"])
    assert "day 1: 0 of 30 sent" in page(owner, shop, domain)
    shown = shop.client.get("/domains").json()["data"][0]["warm_up"]
    assert (shown["daily_start"], shown["days"], shown["ceiling"]) == (30, 10, 30)
    assert "domain.warm_up" in audited(shop, owner, "domain.")
    owner.post(f"{shop.path}{domain}/warm-up", {"off": "yes"})
    assert shop.client.get("/domains").json()["data"][0]["warm_up"] is None


def test_the_last_check_is_shown_with_its_time(
    owner: Person, shop: Shop, domain: str, server: RunningServer
) -> None:
    assert "Last check" not in page(owner, shop, domain)
    run = ("mail", "doctor", "--project", shop.project.name, "--store", server.store_url)
    headrace_here(*run)
    text = html.unescape(page(owner, shop, domain))
    assert "Last check" in text
    assert "shop.invalid dkim" in text
    assert "Publish TXT" in text or "Check again later" in text
