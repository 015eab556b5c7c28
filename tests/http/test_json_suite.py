"""A public JSON parsing test suite, each case sent as a payload and as a body."""

from __future__ import annotations

import pytest

from tests.data.json_suite import JsonCase, Verdict, read_cases
from tests.support.http_server import Project

CASES = {case.name: case for case in read_cases()}
#: Valid JSON that the contract rejects: not every store can keep NUL.
REFUSED_BY_CONTRACT = {"y_object_escaped_null_in_key", "y_string_null_escape"}


def payload_of(case: JsonCase) -> bytes:
    """The case itself when it is an object, else as a field of one."""
    text = case.text.strip(b" \t\r\n")
    return text if text.startswith(b"{") else b'{"v":' + case.text + b"}"


@pytest.mark.parametrize("name", CASES)
def test_a_case_as_payload(shared: Project, name: str) -> None:
    client = shared.client()
    case = CASES[name]
    payload = payload_of(case)

    answer = client.post("/events", b'{"event":"a","external_id":"x","payload":' + payload + b"}")

    expected = case.verdict
    if name in REFUSED_BY_CONTRACT:
        expected = Verdict.REFUSE
    assert answer.status in (202, 400, 413, 422)
    if expected is Verdict.ACCEPT:
        assert answer.status == 202
    if expected is Verdict.REFUSE:
        assert answer.status in (400, 422)
    if answer.status == 202:
        shown = client.get(f"/events/{answer.data['id']}").body
        assert b'"payload":' + payload + b',"occurred_at"' in shown


@pytest.mark.parametrize("name", CASES)
def test_a_case_as_body(shared: Project, name: str) -> None:
    """No case is an event, so all are rejected; the error separates bad JSON from bad events."""
    case = CASES[name]
    for target in ("/events", "/events/batch", "/events/validate"):
        answer = shared.client().post(target, case.text)
        assert answer.status in (400, 422)
        if case.verdict is Verdict.REFUSE:
            assert answer.status == 400


def test_all_cases_as_lines_of_one_batch(shared: Project) -> None:
    cases = [case for case in CASES.values() if b"\n" not in case.text and case.text.strip()]
    lines = [b'{"event":"a","external_id":"x","payload":' + payload_of(x) + b"}" for x in cases]

    answer = shared.client().post(
        "/events/batch", b"\n".join(lines), body_type="application/x-ndjson"
    )

    for case, item in zip(cases, answer.data, strict=True):
        if case.verdict is Verdict.REFUSE:
            assert item["status"] in (400, 422), case.name
        elif case.verdict is Verdict.ACCEPT and case.name not in REFUSED_BY_CONTRACT:
            assert item["status"] == 202, case.name
