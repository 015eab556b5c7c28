"""`/contacts`: create, upsert, read, update, delete, and the resulting system events."""

from __future__ import annotations

import itertools
import json
import re
import uuid
from typing import Any
from urllib.parse import quote

import pytest

from headrace.domain.access.api_keys import Scope
from tests.support.contacts import create, delete, listed, patch, system_events
from tests.support.http_server import HttpServer, Project, wait_until
from tests.support.raw_http import Client

MILLISECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
NOBODY = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"


def test_a_contact_is_created_and_shown(client: Client) -> None:
    sent: dict[str, Any] = {
        "external_id": "user_42",
        "email": " Mike@X.org ",
        "properties": {
            "plan": "pro",
            "seats": 3,
            "score": 1.5,
            "vip": True,
            "since": "2026-06-08",
            "tags": ["a", "b"],
        },
    }

    answer = create(client, **sent)

    assert answer.status == 201
    shown = answer.data
    assert uuid.UUID(shown["id"]).version == 4
    assert MILLISECONDS.fullmatch(shown["created_at"])
    assert shown["updated_at"] == shown["created_at"]
    assert {name: shown[name] for name in sent} == sent
    assert client.get(f"/contacts/{shown['id']}").data == shown


def test_values_keep_their_types(client: Client) -> None:
    body = b'{"properties":{"a":1,"b":1.0,"c":-0.0,"d":1e300,"e":9007199254740991,"f":"1","g":[]}}'

    shown = client.post("/contacts", body).body

    assert b'"a":1,"b":1.0,"c":-0.0,"d":1e300,"e":9007199254740991,"f":"1","g":[]' in shown


def test_a_contact_needs_no_identifier(client: Client) -> None:
    shown = create(client).data
    assert (shown["external_id"], shown["email"], shown["properties"]) == (None, None, {})


def test_null_is_the_same_as_absent_when_creating(client: Client) -> None:
    shown = create(client, external_id=None, email=None, properties={"a": None, "b": 1}).data
    assert shown["properties"] == {"b": 1}


@pytest.mark.parametrize("field", ["external_id", "email"])
def test_a_clash_is_409_and_names_the_field(client: Client, field: str) -> None:
    held = {"external_id": "x", "email": "a@x.org"}
    create(client, **held)

    answer = create(client, **{field: held[field].upper() if field == "email" else held[field]})

    assert (answer.status, answer.code, answer.fields) == (409, "Conflict", [field])


def test_a_clash_of_both_names_both(client: Client) -> None:
    create(client, external_id="x")
    create(client, email="a@x.org")

    answer = create(client, external_id="x", email="a@x.org")

    assert (answer.status, answer.fields) == (409, ["external_id", "email"])
    assert len(listed(client)) == 2


def test_upsert_creates_and_then_merges(client: Client) -> None:
    first = create(client, "?upsert=true", external_id="x", properties={"a": 1, "b": 2})
    second = create(client, "?upsert=true", external_id="x", properties={"b": None, "c": ["z"]})

    assert (first.status, second.status) == (201, 200)
    assert first.data["id"] == second.data["id"]
    assert second.data["properties"] == {"a": 1, "c": ["z"]}


def test_upsert_goes_by_email_only_without_external_id(client: Client) -> None:
    known = create(client, external_id="held", email="a@x.org").data["id"]

    by_email = create(client, "?upsert=true", email="A@X.ORG")
    both = create(client, "?upsert=true", external_id="new", email="a@x.org")

    assert (by_email.status, by_email.data["id"]) == (200, known)
    assert (both.status, both.fields) == (409, ["email"])


def test_upsert_joins_the_contact_of_the_address(client: Client) -> None:
    held = create(client, email="a@b.example").data["id"]
    joined = create(client, "?upsert=true", external_id="x", email="A@b.example")
    assert (joined.status, joined.data["id"], joined.data["external_id"]) == (200, held, "x")
    other = create(client, "?upsert=true", external_id="y", email="a@b.example")
    assert (other.status, other.fields) == (409, ["email"])

    create(client, email="info@b.example")
    of_many = create(client, "?upsert=true", external_id="z", email="info@b.example")
    assert of_many.status == 409


def test_the_policy_keeps_identifiers_apart(
    server: HttpServer, project: Project, client: Client
) -> None:
    server.set_policy(project, "link_identifiers", "conflict")
    numbers = itertools.count()

    def is_refused() -> bool:
        # Attempts follow within seconds, so each uses another contact.
        number = next(numbers)
        email = f"{number}@b.example"
        create(client, email=email)
        answer = create(client, "?upsert=true", external_id=f"x{number}", email=email)
        return answer.status == 409

    wait_until(is_refused, 10.0)


def test_upsert_needs_an_identifier(client: Client) -> None:
    answer = create(client, "?upsert=true", properties={"a": 1})
    assert (answer.status, answer.code) == (422, "ValidationError")


@pytest.mark.parametrize("query", ["?upsert=1", "?upsert=", "?upsert=true&upsert=true", "?x=1"])
def test_an_ambiguous_query_is_rejected(client: Client, query: str) -> None:
    assert create(client, query, external_id="x").status == 422
    assert listed(client) == []


def test_patch_merges_properties_and_changes_identifiers(client: Client) -> None:
    contact_id = create(client, external_id="x", properties={"a": 1, "b": [""]}).data["id"]

    answer = patch(client, contact_id, external_id="y", email="a@x.org", properties={"b": None})

    assert answer.status == 200
    shown = answer.data
    assert (shown["external_id"], shown["email"], shown["properties"]) == ("y", "a@x.org", {"a": 1})
    assert create(client, external_id="x").status == 201


def test_patch_with_null_clears_an_identifier(client: Client) -> None:
    contact_id = create(client, external_id="x", email="a@x.org").data["id"]

    shown = patch(client, contact_id, external_id=None).data

    assert (shown["external_id"], shown["email"]) == (None, "a@x.org")
    assert create(client, external_id="x").status == 201


def test_patch_does_not_clash_with_itself(client: Client) -> None:
    contact_id = create(client, external_id="x", email="a@x.org").data["id"]
    assert patch(client, contact_id, external_id="x", email="a@x.org").status == 200


def test_patch_that_clashes_changes_nothing(client: Client) -> None:
    create(client, external_id="x")
    shown = create(client, external_id="y", properties={"a": 1}).data

    answer = patch(client, shown["id"], external_id="x", properties={"a": 2})

    assert (answer.status, answer.fields) == (409, ["external_id"])
    assert client.get(f"/contacts/{shown['id']}").data == shown


def test_a_deleted_contact_is_gone_and_its_identifiers_are_free(client: Client) -> None:
    contact_id = create(client, external_id="x").data["id"]

    answer = delete(client, contact_id)

    assert (answer.status, answer.body) == (204, b"")
    assert client.get(f"/contacts/{contact_id}").status == 404
    assert delete(client, contact_id).status == 404
    assert create(client, external_id="x").status == 201


def test_delete_with_an_unknown_parameter_deletes_nothing(client: Client) -> None:
    contact_id = create(client, external_id="x").data["id"]
    assert client.request("DELETE", f"/contacts/{contact_id}?eraze=true").status == 422
    assert listed(client) == [contact_id]


def test_each_real_change_has_its_event(client: Client) -> None:
    contact_id = create(client, external_id="x", properties={"a": 1}).data["id"]
    patch(client, contact_id, email="A@x.org", properties={"a": 1.0, "b": True})
    patch(client, contact_id, external_id="x", properties={"b": True, "zz": None})
    create(client, "?upsert=true", external_id="x")
    create(client, external_id="x")
    delete(client, contact_id)

    about = {"contact_id": contact_id, "source": "api"}
    changes = {"email": {"from": None, "to": "A@x.org"}, "properties.b": {"from": None, "to": True}}
    assert system_events(client) == [
        {"event": "sendrealm.contact.created", "payload": about},
        {"event": "sendrealm.contact.updated", "payload": {**about, "changes": changes}},
        {"event": "sendrealm.contact.deleted", "payload": about},
    ]


def test_a_write_that_changes_nothing_leaves_the_time_alone(client: Client) -> None:
    shown = create(client, external_id="x", properties={"a": 1}).data
    assert patch(client, shown["id"], external_id="x", properties={"a": 1.0}).data == shown


def test_one_is_not_true(client: Client) -> None:
    contact_id = create(client, properties={"a": 1}).data["id"]
    assert patch(client, contact_id, properties={"a": True}).data["properties"] == {"a": True}


def test_a_callers_own_contact_event_is_rejected(client: Client) -> None:
    answer = client.send({"event": "sendrealm.contact.created", "external_id": "x"})
    assert answer.code == "ReservedEventName"


# --- lists ---


def test_the_list_is_newest_first_and_pages_through_all(client: Client) -> None:
    made = [create(client, external_id=f"u{n}").data["id"] for n in range(5)]
    assert listed(client, "limit=2") == made[::-1]


def test_the_list_filters_by_identifier(client: Client) -> None:
    a = create(client, external_id="a", email="a@x.org").data["id"]
    create(client, external_id="b", email="b@x.org")

    assert listed(client, "external_id=a") == [a]
    assert listed(client, "email=A@X.org") == [a]
    assert listed(client, "external_id=a&email=a@x.org") == [a]
    assert listed(client, "external_id=a&email=b@x.org") == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("pro", "pro"),
        ("1", "1"),
        (1, "1"),
        (1, "1.0"),
        (12.5, "12.50"),
        (True, "true"),
        (False, "false"),
        (["x", "pro"], "pro"),
        ("2026-06-08T14:15:00Z", "2026-06-08T14:15:00Z"),
        ("", ""),
    ],
)
def test_the_list_filters_by_property(client: Client, value: Any, text: str) -> None:
    found = create(client, properties={"p": value}).data["id"]
    create(client, properties={"p": "other", "q": value})
    create(client)
    assert listed(client, f"property.p={text}") == [found]


@pytest.mark.parametrize(("value", "text"), [(1, "true"), (True, "1"), (["a"], '["a"]'), (1, "")])
def test_a_property_of_another_type_is_another_value(client: Client, value: Any, text: str) -> None:
    create(client, properties={"p": value})
    assert listed(client, f"property.p={text}") == []


def test_properties_have_names_of_any_kind(client: Client) -> None:
    names = ["a.b", "it's", 'say "hi"', "größe", "50%", "back\\slash"]
    found = [create(client, properties={name: "x"}).data["id"] for name in names]
    assert [listed(client, f"property.{quote(name)}=x") for name in names] == [[f] for f in found]


def test_several_properties_must_all_match(client: Client) -> None:
    both = create(client, properties={"a": 1, "b": 2}).data["id"]
    create(client, properties={"a": 1})
    assert listed(client, "property.a=1&property.b=2") == [both]


def test_the_list_filters_by_time(client: Client) -> None:
    shown = create(client).data
    at = shown["created_at"]
    assert listed(client, f"created_after={at}") == [shown["id"]]
    assert listed(client, f"created_before={at}") == []


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=abc",
        "cursor=abc",
        "email=nonsense",
        "external_id=",
        "created_after=yesterday",
        "property.=x",
        "property.a=1&property.a=2",
        f"property.{'n' * 101}=1",
        "property.a%00b=x",
        "property.a=%00",
        "property.a=%ff",
        "plan=pro",
        "audience_id=1",
        "&".join(f"property.p{n}=1" for n in range(11)),
        f"property.a={'x' * 9000}",
    ],
)
def test_a_wrong_filter_is_rejected(client: Client, query: str) -> None:
    answer = client.get(f"/contacts?{query}")
    # The server rejects an overlong target before parsing it.
    assert answer.status == (414 if len(query) > 8000 else 422)


def test_a_cursor_is_good_for_its_own_filter_only(client: Client) -> None:
    for n in range(3):
        create(client, properties={"n": n % 2})
    cursor = client.get("/contacts?limit=1").json()["next_cursor"]
    assert client.get(f"/contacts?limit=1&property.n=1&cursor={cursor}").status == 422


# --- rejections ---


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"external_id": 1}', "external_id"),
        ('{"external_id": ""}', "external_id"),
        ('{"external_id": " "}', "external_id"),
        ('{"external_id": "a\\r\\nb"}', "external_id"),
        ('{"external_id": "a\\u0000"}', "external_id"),
        ('{"external_id": "\\ud800"}', "external_id"),
        ('{"external_id": true}', "external_id"),
        (json.dumps({"external_id": "x" * 256}), "external_id"),
        ('{"email": "a@b@c"}', "email"),
        ('{"email": "a@x.org\\r\\nBcc: b@x.org"}', "email"),
        ('{"email": ["a@x.org"]}', "email"),
        (json.dumps({"email": "a" * 250 + "@x.org"}), "email"),
        ('{"properties": []}', "properties"),
        ('{"properties": "a"}', "properties"),
        ('{"properties": {"a": {}}}', "properties.a"),
        ('{"properties": {"a": [1]}}', "properties.a"),
        ('{"properties": {"a": [null]}}', "properties.a"),
        ('{"properties": {"a": [["b"]]}}', "properties.a"),
        ('{"properties": {"a": "\\u0000"}}', "properties.a"),
        ('{"properties": {"a": ["\\udc00"]}}', "properties.a"),
        ('{"properties": {"a\\u0000": 1}}', "properties.a\\x00"),
        ('{"properties": {"\\ud800": 1}}', "properties.\\ud800"),
        ('{"properties": {"": 1}}', "properties."),
        ('{"properties": {" ": 1}}', "properties. "),
        (json.dumps({"properties": {"n" * 101: 1}}), f"properties.{'n' * 61}..."),
        ('{"properties": {"a": 1e400}}', "properties.a"),
        ('{"properties": {"a": 1e-400}}', "properties.a"),
        ('{"properties": {"a": 9007199254740993}}', "properties.a"),
        ('{"properties": {"a": 0.1000000000000000055511151231257827}}', "properties.a"),
        ('{"properties": {"a": %s}}' % ("9" * 5000), "properties.a"),
        ('{"properties": {"a": 1, "a": 2}}', "properties"),
        ('{"properties": {"a": 1, "\\u0061": 2}}', "properties"),
        (json.dumps({"properties": {f"p{n}": 1 for n in range(201)}}), "properties"),
        (json.dumps({"properties": {"a": "x" * 16400}}), "properties"),
        ('{"externalId": "x"}', "externalId"),
        ('{"id": "x"}', "id"),
    ],
)
def test_a_wrong_contact_is_rejected_with_its_field(shared: Project, body: str, field: str) -> None:
    client = shared.client()
    created = client.post("/contacts", body)
    assert (created.status, created.code, created.fields) == (422, "ValidationError", [field])
    changed = patch(client, NOBODY, body)
    if field != "properties" or "x" * 16400 not in body:
        assert (changed.status, changed.fields) == (422, [field])


@pytest.mark.parametrize(
    "body",
    [
        "",
        " ",
        "null",
        "[]",
        '"x"',
        "{",
        "{}{}",
        '{"email": "a@x.org",}',
        "{'a': 1}",
        '{"properties": {"a": NaN}}',
        '{"properties": {"a": -Infinity}}',
        '{"email": "a@x.org", "email": "b@x.org"}',
        "\ufeff{}",
        "[" * 100_000,
        '{"properties": ' + '{"a":' * 1000 + "1" + "}" * 1001,
    ],
)
def test_what_is_no_json_object_is_malformed(shared: Project, body: str) -> None:
    answer = shared.client().post("/contacts", body)
    assert (answer.status, answer.code) == (400, "MalformedJson")


def test_all_problems_are_named_at_once(client: Client) -> None:
    body = {
        "emial": "a@x.org",
        "external_id": 5,
        "email": "nobody",
        "properties": {"a": {}, "b": [1], "c": 1},
    }

    answer = client.post("/contacts", json.dumps(body))

    assert answer.fields == ["emial", "external_id", "email", "properties.a", "properties.b"]
    assert "did you mean email?" in answer.json()["error"]["details"][0]["message"]


def test_a_list_of_problems_has_an_end(client: Client) -> None:
    answer = client.post("/contacts", json.dumps({f"x{n}": 1 for n in range(1000)}))
    assert len(answer.fields) == 50


@pytest.mark.parametrize("body_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_another_media_type_is_415(client: Client, body_type: str) -> None:
    answer = client.post("/contacts", "{}", body_type=body_type)
    assert (answer.status, answer.code) == (415, "UnsupportedMediaType")


def test_properties_together_are_bounded(client: Client) -> None:
    contact_id = create(client, properties={"a": "x" * 16000}).data["id"]

    more = patch(client, contact_id, properties={"b": "x" * 400})
    instead = patch(client, contact_id, properties={"a": None, "b": "x" * 400})

    assert (more.status, more.fields) == (422, ["properties"])
    assert instead.status == 200


def test_two_hundred_properties_are_kept_and_no_more(client: Client) -> None:
    contact_id = create(client, properties={f"p{n}": n for n in range(200)}).data["id"]
    assert patch(client, contact_id, properties={"q": 1}).fields == ["properties"]
    assert patch(client, contact_id, properties={"p0": None, "q": 1}).status == 200


# --- authorization ---


def test_another_projects_contact_is_as_absent(server: HttpServer, project: Project) -> None:
    contact_id = create(project.client(), external_id="x").data["id"]
    stranger_project = server.project()
    stranger = stranger_project.client()

    answers = [
        stranger.get(f"/contacts/{contact_id}"),
        patch(stranger, contact_id, external_id="y"),
        delete(stranger, contact_id),
    ]
    absent = [
        stranger.get(f"/contacts/{NOBODY}"),
        patch(stranger, NOBODY, external_id="y"),
        delete(stranger, NOBODY),
    ]

    assert [a.body for a in answers] == [a.body for a in absent]
    assert {a.status for a in answers} == {404}
    assert create(stranger, external_id="x").status == 201
    assert project.client().get(f"/contacts/{contact_id}").data["external_id"] == "x"
    stranger_project.close()


@pytest.mark.parametrize("contact_id", ["x", "..", "%00", NOBODY.upper(), f"{NOBODY}0", "%ff"])
def test_an_invalid_id_is_not_found(shared: Project, contact_id: str) -> None:
    assert shared.client().get(f"/contacts/{contact_id}").status == 404


def test_scopes_decide_who_reads_and_who_writes(server: HttpServer, project: Project) -> None:
    owner = project.client()
    contact_id = create(owner, external_id="x").data["id"]
    keys = {scope: server.issue_key(project, [scope]) for scope in Scope}
    clients = {scope: project.client(key) for scope, key in keys.items()}
    wait_until(lambda: clients[Scope.MANAGE].get("/contacts").status != 401, 10)

    statuses = {
        scope: [
            client.get("/contacts").status,
            client.get(f"/contacts/{contact_id}").status,
            create(client, properties={"a": scope.value}).status,
            patch(client, contact_id, properties={"a": scope.value}).status,
        ]
        for scope, client in clients.items()
    }

    assert statuses == {
        Scope.INGEST: [403, 403, 403, 403],
        Scope.READ: [200, 200, 403, 403],
        Scope.MANAGE: [403, 403, 201, 200],
        Scope.SEND: [403, 403, 403, 403],
        Scope.TRACK: [403, 403, 403, 403],
    }


def test_without_a_key_nothing_is_revealed(project: Project) -> None:
    client = Client(project.port, None)
    assert {client.get("/contacts").status, create(client).status} == {401}
    client.close()


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/contacts", {"GET", "HEAD", "POST"}),
        (f"/contacts/{NOBODY}", {"GET", "HEAD", "PATCH", "DELETE"}),
    ],
)
def test_another_method_is_405_with_all_that_are_allowed(
    shared: Project, path: str, allowed: set[str]
) -> None:
    answer = shared.client().request("PUT", path, body=b"{}")
    assert answer.status == 405
    assert set(answer.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    ("sent", "field", "hint"),
    [
        ({"first_name": "A"}, "first_name", "did you mean properties.first_name?"),
        ({"phone": 1}, "phone", "did you mean properties.phone?"),
        ({"externalId": "x"}, "externalId", "did you mean external_id?"),
        ({"property": {}}, "property", "did you mean properties?"),
        ({"x" * 80: 1}, "x" * 61 + "...", "did you mean properties.xxx"),
    ],
)
def test_an_unknown_member_is_led_to_where_it_belongs(
    client: Client, sent: dict[str, Any], field: str, hint: str
) -> None:
    """This holds on every route that writes contacts."""
    body = {"external_id": "hint", **sent}
    batch = client.post("/contacts/batch", json.dumps({"contacts": [body]}))
    answers = [client.post("/contacts", json.dumps(body)).json()["error"], batch.data[0]["error"]]
    for error in answers:
        assert [detail["field"] for detail in error["details"]] == [field]
        assert hint in error["message"]


def test_an_unknown_member_of_an_event_is_led_to_its_payload(client: Client) -> None:
    answer = client.send({"event": "a", "external_id": "x", "total": 1})
    assert answer.fields == ["total"]
    assert "did you mean payload.total?" in answer.json()["error"]["message"]
