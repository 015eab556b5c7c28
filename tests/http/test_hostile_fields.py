"""Fields at and beyond their limits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.http_server import Project

UUID = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"

EVENT_NAMES_REFUSED: list[Any] = [
    "",
    " ",
    "Order.Completed",
    "order.Completed",
    "a..b",
    ".a",
    "a.",
    ".",
    "a b",
    "a ",
    " a",
    "a\n",
    "a\nlevel=ERROR",
    "../x",
    "a/b",
    "$SYS.x",
    "*",
    "order.*",
    ">",
    "a-b",
    "a:b",
    "é",
    "ａ",
    "а",  # Cyrillic
    "a\u200b",
    "\u0663",
    "a" * 201,
    "a." * 100 + "ab",
    "Sendrealm.x",
    "<script>",
    1,
    True,
    ["a"],
    {"a": 1},
]
EVENT_NAMES_RESERVED = [
    "sendrealm",
    "sendrealm.mail.open",
    "sendrealm.x",
    "sendrealm.contact.created",
]
EVENT_NAMES_TAKEN = [
    "a",
    "0",
    "_",
    "a" * 200,
    "order.completed",
    "a.b.c.d.e.f",
    "sendrealmx",
    "sendrealm_x",
    "x.sendrealm",
    "null",
    "true",
]


@pytest.mark.parametrize("name", EVENT_NAMES_REFUSED, ids=ascii)
def test_an_event_name_outside_the_rule_is_422(shared: Project, name: Any) -> None:
    answer = shared.client().send({"event": name, "external_id": "x"})

    assert (answer.status, answer.code, answer.fields) == (422, "ValidationError", ["event"])


@pytest.mark.parametrize("name", EVENT_NAMES_RESERVED)
def test_a_reserved_name_is_422_with_its_own_code(shared: Project, name: str) -> None:
    answer = shared.client().send({"event": name, "external_id": "x"})

    assert (answer.status, answer.code) == (422, "ReservedEventName")


def test_a_reserved_prefix_without_a_name_is_422(shared: Project) -> None:
    answer = shared.client().send({"event": "sendrealm.", "external_id": "x"})

    assert (answer.status, answer.fields) == (422, ["event"])


@pytest.mark.parametrize("name", EVENT_NAMES_TAKEN)
def test_an_event_name_inside_the_rule_is_taken(shared: Project, name: str) -> None:
    answer = shared.client().send({"event": name, "external_id": "x"})

    assert (answer.status, answer.data["event"]) == (202, name)


IDENTITIES_REFUSED: dict[str, dict[str, Any]] = {
    "none": {},
    "all null": {"contact_id": None, "external_id": None, "email": None},
    "no UUID": {"contact_id": "x"},
    "empty UUID": {"contact_id": ""},
    "nil UUID": {"contact_id": "00000000-0000-0000-0000-000000000000"},
    "UUID in braces": {"contact_id": "{" + UUID + "}"},
    "UUID as URN": {"contact_id": f"urn:uuid:{UUID}"},
    "UUID without hyphens": {"contact_id": UUID.replace("-", "")},
    "UUID with a blank": {"contact_id": UUID + " "},
    "UUID with a newline": {"contact_id": UUID + "\n"},
    "UUID in full-width digits": {"contact_id": UUID.replace("6", "６")},
    "null in quotes": {"contact_id": "null"},
    "UUID as a number": {"contact_id": 1},
    "UUID in a list": {"contact_id": [UUID]},
    "empty external_id": {"external_id": ""},
    "blank external_id": {"external_id": "   "},
    "external_id of other blanks": {"external_id": "\u2003\u00a0\u3000"},
    "external_id of 256": {"external_id": "x" * 256},
    "external_id with CR LF": {"external_id": "x\r\nSet-Cookie: a=b"},
    "external_id with a tab": {"external_id": "x\ty"},
    "external_id with ESC": {"external_id": "\x1b[31mx"},
    "external_id with DEL": {"external_id": "x\x7f"},
    "external_id with C1": {"external_id": "x\x85y"},
    "external_id a number": {"external_id": 12345},
    "external_id zero": {"external_id": 0},
    "external_id true": {"external_id": True},
    "external_id false": {"external_id": False},
    "external_id an object": {"external_id": {"$ne": 1}},
    "empty email": {"email": ""},
    "blank email": {"email": "  "},
    "email without domain dot": {"email": "a@b"},
    "email of two at signs": {"email": "a@b@c.org"},
    "email without local part": {"email": "@x.org"},
    "email without domain": {"email": "a@"},
    "email with CR LF": {"email": "a@x.org\r\nBcc: b@x.org"},
    "email with LF": {"email": "a@x.org\n"},
    "email with NUL": {"email": "a\x00@x.org"},
    "email of 300": {"email": "a" * 60 + "@" + "b." * 118 + "org"},
    "email with a space": {"email": "a b@x.org"},
    "email with a name": {"email": "Mike <mike@x.org>"},
    "email of two": {"email": "a@x.org,b@x.org"},
    "email with a dot at the end": {"email": "a.@x.org"},
    "email with a dot at the start": {"email": ".a@x.org"},
    "email with two dots": {"email": "a..b@x.org"},
    "email at two dots": {"email": "a@x..org"},
    "email at a hyphen": {"email": "a@-x.org"},
    "email at a label of 64": {"email": "a@" + "x" * 64 + ".org"},
    "email with bidi": {"email": "a\u202e@x.org"},
    "email at a bad punycode": {"email": "a@xn--\u00e9.org"},
    "email a number": {"email": 1},
    "email in a list": {"email": ["a@x.org"]},
    "good and bad": {"contact_id": UUID, "external_id": ""},
}


@pytest.mark.parametrize("name", IDENTITIES_REFUSED)
def test_an_identifier_outside_the_rules_is_422(shared: Project, name: str) -> None:
    answer = shared.client().send({"event": "a", **IDENTITIES_REFUSED[name]})

    assert (answer.status, answer.code) == (422, "ValidationError")


IDENTITIES_TAKEN = [
    ({"contact_id": UUID.upper()}, UUID),
    (
        {"contact_id": "ffffffff-ffff-ffff-ffff-ffffffffffff"},
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
    ),
    ({"external_id": " x "}, " x "),
    ({"external_id": "null"}, "null"),
    ({"external_id": "A"}, "A"),
    ({"external_id": "x" * 255}, "x" * 255),
    ({"external_id": "é" * 255}, "é" * 255),
    ({"external_id": "e\u0301"}, "e\u0301"),
    ({"external_id": "é"}, "é"),
    ({"external_id": "'; drop table events; --"}, "'; drop table events; --"),
    ({"external_id": '"><img src=x onerror=alert(1)>'}, '"><img src=x onerror=alert(1)>'),
    ({"external_id": "=HYPERLINK(1)"}, "=HYPERLINK(1)"),
    ({"external_id": "\u202ex"}, "\u202ex"),
    ({"external_id": "😀"}, "😀"),
    ({"external_id": "\\"}, "\\"),
    ({"email": "MIKE@X.ORG"}, "mike@x.org"),
    ({"email": " mike@x.org "}, "mike@x.org"),
    ({"email": "mike+tag@x.org"}, "mike+tag@x.org"),
    ({"email": "m.i.k.e@x.org"}, "m.i.k.e@x.org"),
    ({"email": "a@bücher.example"}, "a@xn--bcher-kva.example"),
    ({"email": "a@BÜCHER.example"}, "a@xn--bcher-kva.example"),
    ({"email": "a@bu\u0308cher.example"}, "a@xn--bcher-kva.example"),
    ({"email": "a@xn--bcher-kva.example"}, "a@xn--bcher-kva.example"),
    ({"email": "jose\u0301@x.org"}, "josé@x.org"),
    ({"email": "JOSÉ@x.org"}, "josé@x.org"),
    ({"email": "o'neil@x.org"}, "o'neil@x.org"),
    ({"contact_id": UUID, "external_id": "x", "email": "a@x.org"}, UUID),
]


@pytest.mark.parametrize(("identifiers", "value"), IDENTITIES_TAKEN, ids=ascii)
def test_an_identifier_resolves_to_one_value(
    shared: Project, identifiers: dict[str, str], value: str
) -> None:
    answer = shared.client().send({"event": "a", **identifiers})

    assert (answer.status, answer.data["resolved_identity_value"]) == (202, value)


@pytest.mark.parametrize("address", ["ｍike@x.org", "mike@ｘ.org", "mike@x。org"])
def test_full_width_letters_give_one_normalized_value_or_none(
    shared: Project, address: str
) -> None:
    answers = [shared.client().send({"event": "a", "email": address}) for _ in range(2)]

    assert {answer.status for answer in answers} in ({202}, {422})
    if answers[0].status == 202:
        value = answers[0].data["resolved_identity_value"]
        assert value == answers[1].data["resolved_identity_value"]
        again = shared.client().send({"event": "a", "email": value})
        assert again.data["resolved_identity_value"] == value


KEYS_REFUSED: list[Any] = [
    "",
    "x" * 256,
    "é",
    "a\x00b",
    "a\nb",
    "a\tb",
    "\x7f",
    "😀",
    "\u00a0",
    1,
    True,
    ["a"],
    {"a": "b"},
]


@pytest.mark.parametrize("key", KEYS_REFUSED, ids=ascii)
def test_a_key_outside_the_rule_is_422(shared: Project, key: Any) -> None:
    answer = shared.client().send({"event": "a", "external_id": "x", "idempotency_key": key})

    assert (answer.status, answer.fields) == (422, ["idempotency_key"])


@pytest.mark.parametrize("key", ["a b", "  a", "a ", "x" * 255, "%2e%2e/", "a/b?c#d", "~!\"'\\"])
def test_a_key_inside_the_rule_is_kept_by_its_bytes(shared: Project, key: str) -> None:
    sent = {"event": "a", "external_id": "x", "idempotency_key": key}
    first = shared.client().send(sent)

    assert first.status == 202
    assert shared.client().send(sent).data["id"] == first.data["id"]
    assert shared.client().get(f"/events/{first.data['id']}").data["idempotency_key"] == key


@pytest.mark.parametrize("value", ["", "é", "x" * 256, "a\x7fb", "\xff"])
def test_a_key_header_outside_the_rule_is_422(shared: Project, value: str) -> None:
    answer = shared.client().send({"event": "a", "external_id": "x"}, Idempotency_Key=value)

    assert (answer.status, answer.fields) in ((422, ["Idempotency-Key"]), (400, []))


NOW = datetime.now(UTC)
TIMES_REFUSED: list[Any] = [
    "",
    "yesterday",
    "2026-06-08",
    "2026-06-08T14:15:00",
    "2026-06-08 14:15:00Z",
    "2026-06-08T24:00:00Z",
    "2026-06-08T23:60:00Z",
    "2026-06-08T23:59:60Z",
    "2026-W23-1T14:15:00.123Z",
    "2026-06-08T24:00:00.000Z",
    "2026-02-29T00:00:00Z",
    "2026-00-01T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-06-31T00:00:00Z",
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "10000-01-01T00:00:00Z",
    "-2026-06-08T14:15:00Z",
    "2026-06-08T14:15:00+24:00",
    "2026-06-08T14:15:00+0200",
    "2026-06-08T14:15:00+02",
    "2026-06-08T14:15Z",
    "2026-06-08T14:15:00.Z",
    "2026-06-08T14:15:00,5Z",
    "2026-06-08T14:15:00Z\n",
    " 2026-06-08T14:15:00Z",
    "２０２６-06-08T14:15:00Z",
    "2026-06-08T14:15:00 Z",
    "2026-W23-1T14:15:00Z",
    "1780928100",
    1780928100,
    1780928100.5,
    True,
]


# A time relative to now gets a fixed name: every process has to collect the same tests.
@pytest.mark.parametrize(
    "text",
    [
        *(pytest.param(text, id=ascii(text)) for text in TIMES_REFUSED),
        pytest.param((NOW + timedelta(hours=25)).isoformat(), id="tomorrow"),
        pytest.param((NOW + timedelta(days=3650)).isoformat(), id="in ten years"),
    ],
)
def test_a_time_outside_the_rule_is_422(shared: Project, text: Any) -> None:
    answer = shared.client().send({"event": "a", "external_id": "x", "occurred_at": text})

    assert (answer.status, answer.fields) == (422, ["occurred_at"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-06-08T14:15:00Z", "2026-06-08T14:15:00.000Z"),
        ("2026-06-08t14:15:00z", "2026-06-08T14:15:00.000Z"),
        ("2026-06-08T16:15:00+02:00", "2026-06-08T14:15:00.000Z"),
        ("2026-06-08T14:15:00-00:00", "2026-06-08T14:15:00.000Z"),
        ("2026-06-08T14:15:00.1Z", "2026-06-08T14:15:00.100Z"),
        ("2026-06-08T14:15:00.123456789Z", "2026-06-08T14:15:00.123Z"),
        ("2026-06-08T14:15:00.999999999Z", "2026-06-08T14:15:00.999Z"),
        ("2024-02-29T23:59:59+23:59", "2024-02-29T00:00:59.000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
        ("0001-01-01T23:59:00+23:59", "0001-01-01T00:00:00.000Z"),
        ("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"),
        ("0999-12-31T23:59:59Z", "0999-12-31T23:59:59.000Z"),
    ],
)
def test_a_time_inside_the_rule_is_shown_in_utc(shared: Project, text: str, shown: str) -> None:
    answer = shared.client().send({"event": "a", "external_id": "x", "occurred_at": text})

    assert answer.data["occurred_at"] == shown
    assert shared.client().get(f"/events/{answer.data['id']}").data["occurred_at"] == shown


def test_a_day_ahead_is_fine(shared: Project) -> None:
    ahead = (NOW + timedelta(hours=23)).isoformat()
    answer = shared.client().send({"event": "a", "external_id": "x", "occurred_at": ahead})

    assert answer.status == 202


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)</script>", "a" * 1000, "\u202e\u0000\x1b[31m", "\n\nlevel=ERROR", "é" * 100],
    ids=ascii,
)
def test_input_comes_back_escaped_and_short(shared: Project, name: str) -> None:
    answer = shared.client().send({name: 1, "event": name, "email": name, "external_id": name})

    for detail in answer.json()["error"]["details"]:
        assert len(detail["field"]) <= 64
        assert (detail["field"] + detail["message"]).isprintable()
        assert (detail["field"] + detail["message"]).isascii()
    assert name[:65] not in answer.body.decode() or len(name) < 65


def test_an_address_of_many_bad_characters_is_not_repeated(shared: Project) -> None:
    address = "".join(chr(code) for code in range(0x2500, 0x2580)) + "@x.org"
    message = shared.client().send({"event": "a", "email": address}).json()["error"]["message"]

    assert message.count("\\u25") <= 64 // 6
