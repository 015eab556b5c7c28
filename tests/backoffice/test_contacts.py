"""Contacts: search, view, merge, undo a merge, erase a person."""

from __future__ import annotations

import html
from collections.abc import Iterator

import pytest

from headrace.domain.access.sign_in import Role
from tests.backoffice.cast import Person, person
from tests.backoffice.shop import Shop, open_shop, page
from tests.support.forgetting import leave_copies
from tests.support.server import RunningServer


@pytest.fixture(scope="module")
def shop(server: RunningServer) -> Iterator[Shop]:
    """A project of its own."""
    with open_shop(server, "shop of contacts") as shop:
        yield shop


@pytest.fixture
def names(numbers: Iterator[int]) -> tuple[str, str]:
    """Unused external ids."""
    number = next(numbers)
    return f"ann-{number}", f"bob-{number}"


def contact_of(shop: Shop, external_id: str) -> str:
    """Id of the contact that an event created."""
    found = shop.client.get("/contacts", params={"external_id": external_id}).json()["data"]
    contact_id: str = found[0]["id"]
    return contact_id


def act(shop: Shop, external_id: str, **fields: object) -> str:
    """Send an event of a person and wait until it is processed; returns the contact's id."""
    shop.wait_until_processed(shop.send("account.opened", external_id=external_id, **fields))
    return contact_of(shop, external_id)


def test_a_person_is_found_and_shown(owner: Person, shop: Shop, names: tuple[str, str]) -> None:
    ann = act(shop, names[0], email=f"{names[0]}@example.org", payload={"$set": {"plan": "pro"}})
    topic = shop.client.post("/topics", json={"name": f"news of {names[0]}"}).json()["data"]
    shop.client.put(f"/contacts/{ann}/topics/{topic['id']}", json={"is_subscribed": True})
    audience = shop.client.post("/audiences", json={"name": f"vip {names[0]}"}).json()["data"]
    shop.client.post(f"/audiences/{audience['id']}/contacts", json={"contact_ids": [ann]})
    assert f"/contacts/{ann}" in page(owner, shop, f"/contacts?search={names[0]}")
    straight = owner.get(f"{shop.path}/contacts?search={ann}")
    assert straight.headers["location"].endswith(f"/contacts/{ann}")
    text = html.unescape(page(owner, shop, f"/contacts/{ann}"))
    assert "account.opened" in text
    assert "plan" in text
    assert f"news of {names[0]}" in text
    assert f"vip {names[0]}" in text
    assert f"{names[0]}@example.org" not in text


def test_an_external_id_is_searched_exactly(owner: Person, shop: Shop) -> None:
    """Surrounding blanks are part of an external id, in every field where it is typed."""
    plain, spaced = act(shop, "exact"), act(shop, " exact ")
    assert plain != spaced
    found = page(owner, shop, "/contacts?search=%20exact%20")
    assert f"/contacts/{spaced}" in found
    assert f"/contacts/{plain}" not in found
    found = page(owner, shop, "/contacts?search=exact")
    assert f"/contacts/{plain}" in found
    assert f"/contacts/{spaced}" not in found

    events = {
        text: shop.client.get("/events", params={"external_id": text}).json()["data"]
        for text in ("exact", " exact ")
    }
    for typed, text in (("exact", "exact"), ("%20exact%20", " exact ")):
        shown = page(owner, shop, f"/events?who={typed}")
        for each, (event,) in events.items():
            assert (event["id"] in shown) is (each == text)


def test_blanks_around_an_id_are_no_part_of_it(owner: Person, shop: Shop) -> None:
    contact_id = act(shop, "pasted")
    straight = owner.get(f"{shop.path}/contacts?search=%20{contact_id}%20")
    assert straight.headers["location"].endswith(f"/contacts/{contact_id}")
    event_id = shop.send("account.closed", contact_id=contact_id)
    assert event_id in page(owner, shop, f"/events?who=%20{contact_id}")


def test_only_blanks_are_nothing(owner: Person, shop: Shop) -> None:
    assert act(shop, "somebody") in page(owner, shop, "/contacts?search=%20%20")
    assert "account.opened" in page(owner, shop, "/events?who=%20&find=%20")


def test_two_contacts_in_conflict_are_merged_and_separated(
    owner: Person, shop: Shop, names: tuple[str, str]
) -> None:
    ann = act(shop, names[0])
    bob = act(shop, names[1], email=f"{names[1]}@example.org")
    act(shop, names[0], email=f"{names[1]}@example.org")
    listed = page(owner, shop, "/contacts/conflicts")
    assert f"/contacts/{ann}/merge?from={bob}" in html.unescape(listed)
    preview = html.unescape(page(owner, shop, f"/contacts/{ann}/merge?from={bob}"))
    assert "Nothing has happened yet" in preview
    merged = owner.post(f"{shop.path}/contacts/{ann}/merge", {"from": bob})
    assert merged.headers["location"].endswith(f"/contacts/{ann}")
    led = owner.get(f"{shop.path}/contacts/{bob}")
    assert led.headers["location"].endswith(f"/contacts/{ann}")
    after = page(owner, shop, "/contacts/conflicts")
    assert f"/contacts/{ann}/merge" not in after
    undo = after.partition("/merges/")[2].partition("/undo")[0]
    assert owner.post(f"{shop.path}/merges/{undo}/undo").status_code == 303
    assert owner.get(f"{shop.path}/contacts/{bob}").status_code == 200
    again = owner.post(f"{shop.path}/merges/{undo}/undo")
    assert "already undone" in owner.client.get(again.headers["location"]).text


def test_a_person_is_forgotten_with_a_receipt(
    owner: Person, server: RunningServer, shop: Shop, names: tuple[str, str]
) -> None:
    ann = act(shop, names[0])
    begun = owner.post(f"{shop.path}/contacts/{ann}/erase")
    receipt = begun.headers["location"].removeprefix("/backoffice" + shop.path)
    shop.wait(lambda: "The person was erased." in page(owner, shop, receipt))
    text = page(owner, shop, receipt)
    assert names[0] not in text
    assert "events" in text
    assert "headrace compact" not in text
    leave_copies(server.store_path)
    assert "run: headrace compact" in page(owner, shop, receipt)
    page(owner, shop, f"/contacts/{ann}", 404)


def test_mentions_are_shown_by_a_dry_run_and_masked_on_request(
    owner: Person, shop: Shop, names: tuple[str, str]
) -> None:
    ann = act(shop, names[0])
    act(shop, names[1], payload={"friend": names[0]})
    looked = owner.post(f"{shop.path}/contacts/{ann}/erase", {"dry_run": "yes"})
    report = looked.headers["location"].removeprefix("/backoffice" + shop.path)
    shop.wait(lambda: "an erasure would remove" in page(owner, shop, report))
    text = page(owner, shop, report)
    assert "payload.friend" in text
    assert shop.sent[-1] in text
    assert names[0] not in text
    assert page(owner, shop, f"/contacts/{ann}")

    begun = owner.post(f"{shop.path}/contacts/{ann}/erase", {"mask_mentions": "yes"})
    receipt = begun.headers["location"].removeprefix("/backoffice" + shop.path)
    shop.wait(lambda: "The person was erased." in page(owner, shop, receipt))
    assert "masked in 1 of them" in page(owner, shop, receipt)
    assert names[0] not in page(owner, shop, f"/events/{shop.sent[-1]}")


def test_a_person_is_exported_by_owners(
    owner: Person, server: RunningServer, shop: Shop, names: tuple[str, str]
) -> None:
    ann = act(shop, names[0])
    assert ">Export<" in page(owner, shop, f"/contacts/{ann}")
    answer = owner.post(f"{shop.path}/contacts/{ann}/export")
    assert answer.headers["content-disposition"] == f'attachment; filename="contact-{ann}.json"'
    assert answer.json()["data"]["contact"]["external_id"] == names[0]
    roles = {shop.project.id: Role.OPERATOR}
    with person(server, "exporter@example.org", is_owner=False, roles=roles) as operator:
        assert operator.post(f"{shop.path}/contacts/{ann}/export").status_code == 403


def test_a_contact_is_deleted_and_its_events_stay(
    owner: Person, shop: Shop, names: tuple[str, str]
) -> None:
    ann = act(shop, names[0])
    assert owner.post(f"{shop.path}/contacts/{ann}/delete").status_code == 303
    page(owner, shop, f"/contacts/{ann}", 404)
    assert page(owner, shop, f"/events/{shop.sent[-1]}")


def test_only_an_owner_erases(server: RunningServer, shop: Shop, names: tuple[str, str]) -> None:
    ann = act(shop, names[0])
    roles = {shop.project.id: Role.OPERATOR}
    with person(server, "operator@example.org", is_owner=False, roles=roles) as operator:
        assert operator.post(f"{shop.path}/contacts/{ann}/erase").status_code == 403
        assert ">Erase<" not in page(operator, shop, f"/contacts/{ann}")


@pytest.mark.parametrize("path", ["/contacts/x", "/erasures/x", "/contacts/x/merge?from=y"])
def test_what_is_not_there_is_not_found(owner: Person, shop: Shop, path: str) -> None:
    page(owner, shop, path, 404)


def test_a_search_that_cannot_be_is_explained(owner: Person, shop: Shop) -> None:
    assert "control characters" in page(owner, shop, "/contacts?search=%01", 422)


def test_a_conflict_is_dismissed_with_a_reason(
    owner: Person, shop: Shop, names: tuple[str, str]
) -> None:
    ann = act(shop, names[0])
    act(shop, names[1], email=f"{names[1]}@example.org")
    act(shop, names[0], email=f"{names[1]}@example.org")
    conflict = next(
        each["id"]
        for each in shop.client.get("/contacts/conflicts").json()["data"]
        if each["contact_id"] == ann
    )
    address = f"{shop.path}/conflicts/{conflict}/dismiss"
    form = f'/conflicts/{conflict}/dismiss"'
    assert form in page(owner, shop, "/contacts/conflicts")

    without = owner.post(address, {"reason": " "})
    assert "Not dismissed" in owner.client.get(without.headers["location"]).text
    assert owner.post(address, {"reason": "they are <b>two</b>"}).status_code == 303

    assert conflict not in page(owner, shop, "/contacts/conflicts")
    dismissed = page(owner, shop, "/contacts/conflicts?status=dismissed")
    assert f"/contacts/{ann}" in dismissed
    assert "they are &lt;b&gt;two&lt;/b&gt;" in dismissed
    assert form not in dismissed
    assert "contact.conflict_dismiss" in page(owner, shop, "/audit")
