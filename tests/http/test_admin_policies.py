"""`/admin`: policies, projects and the audit log, for operators only."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from headrace.domain.access.operators import issue_token
from headrace.domain.access.policies import DEFAULTS
from headrace.domain.ids import uuid_text
from headrace.domain.timestamps import now_us
from headrace.pipeline.access.policies import POLICY_NAMES
from headrace.store.store import Store
from tests.support.http_server import HttpServer, Project, wait_until
from tests.support.raw_http import Client, Response

ABSENT = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"


def issue(server: HttpServer, email: str) -> str:
    """A token of a new operator, created as the command line does."""
    issued = issue_token(email, now_us())
    server.in_store(lambda store: store.operators.add(issued.operator, actor="test"))
    return issued.text


@pytest.fixture(scope="module")
def token(server: HttpServer) -> str:
    token = issue(server, "you@x.org")
    client = Client(server.port, token)
    wait_until(lambda: client.get("/admin/projects").status == 200, 5)
    client.close()
    return token


@pytest.fixture
def operator(server: HttpServer, token: str) -> Iterator[Client]:
    client = Client(server.port, token)
    yield client
    client.close()


@pytest.fixture
def path(server: HttpServer, project: Project) -> str:
    """`/admin/projects/{id}` of the new project."""

    async def find(store: Store) -> str:
        projects = await store.projects.list()
        return next(uuid_text(p.uuid) for p in projects if p.id == project.id)

    return f"/admin/projects/{server.in_store(find)}"


def patch(client: Client, path: str, body: Any) -> Response:
    text = body if isinstance(body, str) else json.dumps(body)
    return client.request("PATCH", f"{path}/policies", body=text.encode())


def values(client: Client, path: str) -> dict[str, Any]:
    shown = client.get(f"{path}/policies").data
    return {name: policy["value"] for name, policy in shown.items()}


def test_every_policy_is_shown_with_default_unit_and_bounds(operator: Client, path: str) -> None:
    shown = operator.get(f"{path}/policies").data

    assert tuple(shown) == POLICY_NAMES
    assert shown["event_retention_days"] == {
        "value": 90,
        "default": 90,
        "unit": "days",
        "minimum": 1,
        "maximum": 3650,
    }
    assert shown["event_ingest_limit_per_second"]["value"] is None
    assert shown["create_contacts"]["minimum"] is None
    assert all(policy["value"] == policy["default"] for policy in shown.values())


def test_several_are_changed_at_once_and_null_resets(operator: Client, path: str) -> None:
    wanted = {
        "event_retention_days": 7,
        "event_ingest_limit_per_second": 500,
        "create_contacts": False,
        "idempotency_conflict": "reject",
        "retry_factor": 2.5,
    }

    changed = patch(operator, path, wanted)

    assert changed.status == 200
    assert {name: changed.data[name]["value"] for name in wanted} == wanted
    assert {name: values(operator, path)[name] for name in wanted} == wanted

    reset = patch(operator, path, dict.fromkeys(wanted))

    defaults = {name: getattr(DEFAULTS, name) for name in wanted}
    assert {name: reset.data[name]["value"] for name in wanted} == defaults


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("event_retention_days", 0),
        ("event_retention_days", 3651),
        ("event_retention_days", "7"),
        ("event_retention_days", 7.5),
        ("event_retention_days", True),
        ("event_retention_days", [7]),
        ("event_retention_days", {}),
        ("event_ingest_limit_per_second", 0),
        ("event_ingest_limit_per_second", "none"),
        ("event_payload_limit_bytes", 255),
        ("create_contacts", "true"),
        ("create_contacts", 1),
        ("idempotency_conflict", "ignore"),
        ("idempotency_conflict", 1),
        ("retry_base_seconds", 0.09),
        ("retry_factor", "2"),
    ],
)
def test_a_wrong_value_is_rejected_and_nothing_is_changed(
    operator: Client, path: str, name: str, value: Any
) -> None:
    other = "delivery_max_attempts"
    answer = patch(operator, path, {other: 3, name: value})

    assert (answer.status, answer.code, answer.fields) == (422, "ValidationError", [name])
    assert values(operator, path)[other] == 14


@pytest.mark.parametrize("number", ["7", "7.0", "0.7e1"])
def test_a_whole_number_may_have_any_spelling(operator: Client, path: str, number: str) -> None:
    answer = patch(
        operator, path, f'{{"event_retention_days": {number}, "retry_factor": {number}}}'
    )
    shown = {name: answer.data[name]["value"] for name in ("event_retention_days", "retry_factor")}
    assert shown == {"event_retention_days": 7, "retry_factor": 7.0}


def test_bounds_are_written_out(operator: Client, path: str) -> None:
    message = patch(operator, path, {"event_payload_limit_bytes": 1}).json()["error"]["message"]
    assert "from 256 to 1048576 (bytes)" in message


@pytest.mark.parametrize("number", ["NaN", "1e999", "9" * 5000, "-0", "1e-400"])
def test_an_invalid_number_is_rejected(operator: Client, path: str, number: str) -> None:
    answer = patch(operator, path, f'{{"retry_factor": {number}}}')
    assert answer.status == (400 if number == "NaN" else 422)


def test_every_problem_is_listed(operator: Client, path: str) -> None:
    answer = patch(
        operator, path, {"event_retention_day": 1, "retry_factor": 99, "create_contacts": 0}
    )

    assert answer.fields == ["event_retention_day", "create_contacts", "retry_factor"]
    assert "did you mean event_retention_days?" in answer.body.decode()


@pytest.mark.parametrize("body", ["", "[]", "null", "{", '{"retry_factor": 1, "retry_factor": 2}'])
def test_what_is_no_object_is_malformed(operator: Client, path: str, body: str) -> None:
    assert patch(operator, path, body).code == "MalformedJson"


def test_a_change_takes_effect_within_five_seconds(
    operator: Client, project: Project, path: str
) -> None:
    patch(operator, path, {"event_payload_limit_bytes": 256})
    client = project.client()
    event = {"event": "a.b", "external_id": "x", "payload": {"a": "x" * 300}}

    seconds = wait_until(lambda: client.send(event).status == 413, 5)

    assert seconds < 5


def test_changes_are_audited_with_who_when_from_and_to(operator: Client, path: str) -> None:
    patch(operator, path, {"event_retention_days": 7, "create_contacts": True})
    patch(operator, path, {"event_retention_days": 7})
    patch(operator, path, {"event_retention_days": None})

    audit = [e for e in operator.get(f"{path}/audit").data if e["action"] == "policy.set"]

    assert [entry["detail"] for entry in audit] == [
        {"policy": "event_retention_days", "from": 7, "to": 90},
        {"policy": "event_retention_days", "from": 90, "to": 7},
    ]
    assert {entry["actor"] for entry in audit} == {"operator you@x.org"}
    assert audit[0]["at"].endswith("Z")


def test_the_audit_pages(operator: Client, path: str) -> None:
    for days in range(1, 6):
        patch(operator, path, {"event_retention_days": days})
    whole = operator.get(f"{path}/audit").data

    first = operator.get(f"{path}/audit?limit=3").json()
    second = operator.get(f"{path}/audit?limit=200&cursor={first['next_cursor']}").json()

    assert first["data"] + second["data"] == whole
    assert second["next_cursor"] is None
    assert operator.get(f"{path}/audit?cursor=abc").status == 422


def test_the_audit_shows_no_secret(operator: Client, path: str, project: Project) -> None:
    assert project.key.split("_")[2] not in operator.get(f"{path}/audit").body.decode()


def test_projects_are_listed(operator: Client, path: str) -> None:
    listed = operator.get("/admin/projects").data
    assert path.rpartition("/")[2] in {project["id"] for project in listed}
    assert all(str(uuid.UUID(project["id"])) == project["id"] for project in listed)
    assert all(project["name"] for project in listed)


@pytest.mark.parametrize("project_id", [ABSENT, "1", "default", "..", "%00"])
def test_a_project_that_is_not_there_is_404(operator: Client, project_id: str) -> None:
    for rest in ("policies", "audit"):
        assert operator.get(f"/admin/projects/{project_id}/{rest}").code == "NotFound"
    assert patch(operator, f"/admin/projects/{project_id}", {}).code == "NotFound"


def _spoiled(token: str) -> list[str]:
    public_id = token.split("_")[1]
    return [
        "",
        "x",
        token[:-1],
        token + "0",
        token[:-1] + ("0" if token[-1] != "0" else "1"),
        f"hro_{'0' * 16}_{'0' * 64}",
        f"hro_{public_id}_{'0' * 64}",
        f"hr_{public_id}_{'0' * 64}",
        f"hro_{public_id}_{'é' * 64}",
        token.upper(),
        f"hro_{'x' * 4000}",
    ]


def test_whatever_is_no_token_is_401(server: HttpServer, token: str, path: str) -> None:
    answers = []
    for spoiled in _spoiled(token):
        client = Client(server.port, spoiled)
        answers += [client.get(f"{path}/policies"), patch(client, path, "no json")]
        client.close()

    assert {answer.status for answer in answers} == {401}
    assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}
    assert len({answer.body for answer in answers}) == 1


@pytest.mark.parametrize(
    "spelling", ["/admin", "/%61dmin", "/admi%6e", "//admin", "/Admin", "/admin/"]
)
def test_an_api_key_opens_nothing_of_it(project: Project, path: str, spelling: str) -> None:
    client = project.client()
    rest = path.removeprefix("/admin")
    for target in (f"{spelling}{rest}/policies", f"{spelling}/projects", spelling):
        answer = client.get(target)
        assert answer.status in {401, 404}, target
        assert b"event_retention_days" not in answer.body


def test_a_token_is_valid_for_nothing_else(operator: Client) -> None:
    for target in (
        "/events",
        "/contacts",
        "/rejections",
        "/admin/../events",
        "/admin/%2e%2e/events",
    ):
        assert operator.get(target).status in {401, 404}, target
    assert operator.send({"event": "a.b", "external_id": "x"}).status == 401


def test_a_replaced_token_stops_working_within_five_seconds(server: HttpServer) -> None:
    old = Client(server.port, issue(server, "reset@x.org"))
    wait_until(lambda: old.get("/admin/projects").status == 200, 5)
    fresh = issue_token("reset@x.org", now_us())

    replaced = server.in_store(
        lambda store: store.operators.replace_token(fresh.operator, actor="test")
    )

    assert replaced
    wait_until(lambda: old.get("/admin/projects").status == 401, 5)
    new = Client(server.port, fresh.text)
    assert new.get("/admin/projects").status == 200
    old.close()
    new.close()


def test_other_methods_are_405(operator: Client, path: str) -> None:
    answer = operator.request("DELETE", f"{path}/policies")
    assert answer.status == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "PATCH"}


def test_the_token_of_an_operator_who_is_no_owner_opens_nothing(
    server: HttpServer, token: str
) -> None:
    del token
    former = issue(server, "former@x.org")
    client = Client(server.port, former)
    wait_until(lambda: client.get("/admin/projects").status == 200, 5)
    server.in_store(
        lambda store: store.members.set_owner(
            "former@x.org", now_us(), is_owner=False, actor="test"
        )
    )
    wait_until(lambda: client.get("/admin/projects").status == 401, 5)
    client.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sending_paused", "mail"),
        ("sending_paused", ["example.org"]),
        ("send_limit_per_day", 1000),
        ("send_limit_per_day", {"mail": 1000}),
        ("frequency_caps", [{"channel": "mail", "max": 2, "per_seconds": 86400}]),
        ("quiet_hours", {"start": "22:00", "end": "07:00"}),
        ("send_windows", [{"weekdays": ["mon"], "start": "09:00", "end": "17:00"}]),
        ("default_timezone", "Europe/Vienna"),
        ("max_defer_hours", 12),
        ("machine_engagement", "emit"),
        ("unknown_outcome_transactional", "hold"),
        ("topicless_marketing", True),
        ("run_retention_days", 30),
        ("optional_events", ["sendrealm.mail.skip"]),
        ("automation_start_limit_per_hour", 1000),
        ("open_runs_per_contact_max", 3),
        ("wait_max_days", 30),
    ],
)
def test_a_policy_of_messages_is_set_and_reset(
    operator: Client, path: str, name: str, value: Any
) -> None:
    default = values(operator, path)[name]
    changed = patch(operator, path, {name: value})
    assert changed.status == 200, changed.body
    assert values(operator, path)[name] == value
    patch(operator, path, {name: None})
    assert values(operator, path)[name] == default
    entry = operator.get(f"{path}/audit").data[0]["detail"]
    assert entry == {"policy": name, "from": value, "to": default}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sending_paused", "everything"),
        ("sending_paused", ["localhost"]),
        ("sending_paused", ["example.org"] * 101),
        ("send_limit_per_day", {"fax": 1}),
        ("send_limit_per_day", 0),
        ("frequency_caps", [{"channel": "mail", "max": 2}]),
        ("frequency_caps", [[[[[[]]]]]]),
        ("quiet_hours", {"start": "25:00", "end": "07:00"}),
        ("send_windows", [{"weekdays": [], "start": "09:00", "end": "17:00"}]),
        ("default_timezone", "Mars/Olympus"),
        ("default_timezone", 1),
        ("max_defer_hours", "12"),
        ("max_defer_hours", True),
        ("max_defer_hours", 721),
        ("complaint_scope", "some"),
        ("topicless_marketing", "true"),
        ("optional_events", ["mail.skip"]),
    ],
)
def test_a_wrong_policy_of_messages_is_rejected(
    operator: Client, path: str, name: str, value: Any
) -> None:
    answer = patch(operator, path, {"max_defer_hours": 5, name: value})
    assert (answer.status, answer.code, answer.fields) == (422, "ValidationError", [name])
    assert values(operator, path)["max_defer_hours"] == 72
