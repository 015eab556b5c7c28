"""Sends to audiences: their progress, and stopping one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headrace.domain.access.sign_in import Role
from tests.backoffice.cast import Person, person
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


def people(shop: Shop, *names: str) -> str:
    """An audience of new contacts; returns its id."""
    audience: str = shop.client.post("/audiences", json={"name": "All"}).json()["data"]["id"]
    ids = [
        shop.client.post("/contacts", json={"email": f"{name}@b.example"}).json()["data"]["id"]
        for name in names
    ]
    shop.client.post(f"/audiences/{audience}/contacts", json={"contact_ids": ids})
    return audience


def draft(owner: Person, shop: Shop, audience: str, **fields: str) -> str:
    """Save a draft by the form; returns the path of its page."""
    form = {"from": "a@example.org", "subject": "News", "text": "News", "audience": audience}
    saved = owner.post(f"{shop.path}/send-jobs", form | fields)
    assert saved.status_code == 303, saved.text
    return str(saved.headers["location"].partition("/backoffice")[2].partition("?")[0])


def test_a_draft_is_checked_started_and_lists_its_messages(owner: Person, shop: Shop) -> None:
    audience = people(shop, "ann", "bob")
    shop.client.post("/suppressions", json={"email": "bob@b.example"})
    assert "Everybody" not in owner.get(f"{shop.path}/send-jobs/new").text
    path = draft(owner, shop, audience, per_second="50")
    text = owner.get(f"{path}?dry_run=1").text
    assert ">draft</span>" in text
    assert "<strong>1</strong> would get the mail now" in text
    assert "the address is on the suppression list" in text
    assert "0 messages created" in text
    assert "email.draft" in audited(shop, owner, "email.")

    late = owner.post(f"{path}/pause")
    assert "It is draft, so it cannot be paused." in said(owner, late.headers["location"])
    wrong = owner.post(f"{path}/start", {"per_second": "0"})
    assert "Not started" in said(owner, wrong.headers["location"])
    started = owner.post(f"{path}/start", {"per_second": "20"})
    assert "Started." in said(owner, started.headers["location"])
    shop.wait(lambda: ">done</span>" in owner.get(path).text)
    shop.wait(lambda: ">sent</span>" in owner.get(path).text)
    shop.wait(lambda: ">skipped</span>" in owner.get(path).text)
    text = owner.get(f"{path}?status=skipped&reason=suppressed_manual").text
    assert text.count('data-label="Recipient"') == 1
    assert "No message matches" in owner.get(f"{path}?status=bounced").text


def test_a_send_is_paused_and_goes_on(owner: Person, shop: Shop) -> None:
    path = draft(owner, shop, people(shop, "ann"), scheduled_at="2027-01-01T09:00")
    owner.post(f"{path}/start")
    text = owner.get(path).text
    assert ">scheduled</span>" in text
    paused = owner.post(f"{path}/pause")
    assert "Paused." in said(owner, paused.headers["location"])
    text = owner.get(path).text
    assert ">paused</span>" in text
    assert "Continue the send" in text
    owner.post(f"{path}/stop")
    assert ">stopped</span>" in owner.get(path).text


def test_a_wrong_draft_is_not_saved_and_keeps_what_was_typed(owner: Person, shop: Shop) -> None:
    audience = people(shop, "ann")
    form = {"from": "nobody", "subject": "News & more", "audience": audience, "per_second": "x"}
    wrong = owner.post(f"{shop.path}/send-jobs", form)
    assert wrong.status_code == 422
    for field in ("from ", "per_second "):
        assert field in wrong.text
    assert "News &amp; more" in wrong.text
    assert "checked" in wrong.text
    assert "No send to an audience yet" in page(owner, shop, "/send-jobs")


def test_a_viewer_starts_nothing(owner: Person, shop: Shop, server: RunningServer) -> None:
    path = draft(owner, shop, people(shop, "ann"))
    roles = {shop.project.id: Role.VIEWER}
    with person(server, "viewer@jobs.example.org", is_owner=False, roles=roles) as viewer:
        for action in ("start", "pause", "stop"):
            assert viewer.post(f"{path}/{action}").status_code == 403
        assert viewer.get(f"{shop.path}/send-jobs/new").status_code == 403
        assert "Start the send" not in viewer.get(path).text
