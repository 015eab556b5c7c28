"""Bodies that are invalid JSON, or barely valid."""

from __future__ import annotations

import time

import pytest

from tests.support.http_server import Project

REST = b'"external_id":"x"'


def event(members: bytes) -> bytes:
    return b'{"event":"a",' + REST + (b"," + members if members else b"") + b"}"


GOOD = event(b"")
MALFORMED = {
    "empty": b"",
    "spaces": b" \t\r\n ",
    "null": b"null",
    "true": b"true",
    "array": b"[]",
    "array of an event": b"[" + GOOD + b"]",
    "string": b'"x"',
    "number": b"123",
    "two documents": GOOD + GOOD,
    "two lines": GOOD + b"\n" + GOOD,
    "garbage after": GOOD + b"x",
    "brace after": GOOD + b"}",
    "NUL after": GOOD + b"\x00",
    "NUL before": b"\x00" + GOOD,
    "comma after": GOOD + b",",
    "trailing comma": b'{"event":"a",' + REST + b",}",
    "leading comma": b'{,"event":"a",' + REST + b"}",
    "no comma": b'{"event":"a" ' + REST + b"}",
    "no colon": b'{"event" "a",' + REST + b"}",
    "line comment": b"// x\n" + GOOD,
    "comment inside": event(b'/* x */"payload":{}'),
    "single quotes": b"{'event':'a','external_id':'x'}",
    "no quotes": b"{event:'a'}",
    "open": GOOD[:-1],
    "open string": b'{"event":"a',
    "open escape": b'{"event":"a\\',
    ".5": event(b'"payload":{"n":.5}'),
    "5.": event(b'"payload":{"n":5.}'),
    "leading zero": event(b'"payload":{"n":01}'),
    "minus zero one": event(b'"payload":{"n":-01}'),
    "plus": event(b'"payload":{"n":+1}'),
    "hex": event(b'"payload":{"n":0x1F}'),
    "underscore": event(b'"payload":{"n":1_000}'),
    "1e": event(b'"payload":{"n":1e}'),
    "minus": event(b'"payload":{"n":-}'),
    "NaN": event(b'"payload":{"n":NaN}'),
    "Infinity": event(b'"payload":{"n":Infinity}'),
    "-Infinity": event(b'"payload":{"n":-Infinity}'),
    "nan": event(b'"payload":{"n":nan}'),
    "True": event(b'"payload":{"n":True}'),
    "undefined": event(b'"payload":{"n":undefined}'),
    "NaN outside": event(b'"occurred_at":NaN'),
    "raw newline in a string": event(b'"payload":{"n":"a\nb"}'),
    "raw tab in a string": event(b'"payload":{"n":"a\tb"}'),
    "raw NUL in a string": event(b'"payload":{"n":"a\x00b"}'),
    "raw 0x1F in a string": event(b'"payload":{"n":"a\x1fb"}'),
    "raw newline in a name": event(b'"payload":{"a\nb":1}'),
    "escape \\x": event(b'"payload":{"n":"\\x41"}'),
    "escape \\'": event(b'"payload":{"n":"\\\'"}'),
    "escape \\u12": event(b'"payload":{"n":"\\u12"}'),
    "escape \\u12G4": event(b'"payload":{"n":"\\u12G4"}'),
    "byte order mark": b"\xef\xbb\xbf" + GOOD,
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-16LE": GOOD.decode().encode("utf-16-le"),
    "UTF-32": GOOD.decode().encode("utf-32"),
    "latin-1": event('"payload":{"n":"é"}'.encode("latin-1")),
    "overlong slash": event(b'"payload":{"n":"\xc0\xaf"}'),
    "overlong NUL": event(b'"payload":{"n":"\xc0\x80"}'),
    "three byte overlong": event(b'"payload":{"n":"\xe0\x80\xaf"}'),
    "four byte overlong": event(b'"payload":{"n":"\xf0\x80\x80\xaf"}'),
    "stray 0xFF": event(b'"payload":{"n":"\xff"}'),
    "stray continuation": event(b'"payload":{"n":"\x80"}'),
    "encoded surrogate": event(b'"payload":{"n":"\xed\xa0\x80"}'),
    "surrogate pair as CESU-8": event(b'"payload":{"n":"\xed\xa0\xbd\xed\xb8\x80"}'),
    "past the last plane": event(b'"payload":{"n":"\xf4\x90\x80\x80"}'),
    "five bytes": event(b'"payload":{"n":"\xf8\x88\x80\x80\x80"}'),
    "cut character": event(b'"payload":{"n":"\xe2\x82"}'),
    "0xFF in a name of the payload": event(b'"payload":{"\xff":1}'),
    "0xFF outside of strings": b"\xff" + GOOD,
    "no-break space": b"\xc2\xa0" + GOOD,
    "form feed": b"\x0c" + GOOD,
    "vertical tab": GOOD + b"\x0b",
    "member event twice": b'{"event":"a","event":"b",' + REST + b"}",
    "member event twice, the same": b'{"event":"a","event":"a",' + REST + b"}",
    "member twice, once escaped": b'{"event":"a","\\u0065vent":"b",' + REST + b"}",
    "member twice, once null": b'{"event":"a","event":null,' + REST + b"}",
    "payload twice": event(b'"payload":{},"payload":{"a":1}'),
    "payload twice, once null": event(b'"payload":{"a":1},"payload":null'),
    "payload twice, once escaped": event(b'"payload":{},"p\\u0061yload":{"a":1}'),
    "key twice": event(b'"idempotency_key":"a","idempotency_key":"b"'),
    "unknown member twice": event(b'"x":1,"x":2'),
    "a million [": b"[" * 1_000_000,
    "a million { in the payload": event(b'"payload":' + b'{"a":' * 150_000),
    "depth 1,000": event(b'"payload":' + b'{"a":' * 1000 + b"1" + b"}" * 1000),
    "depth 1,000 in an unknown member": event(b'"x":' + b"[" * 1000 + b"]" * 1000),
    "quotes only": b'"' * 1000,
    "brackets of two kinds": event(b'"payload":{"a":[}]'),
}
#: Well-formed, but not allowed.
INVALID = {
    "depth 33": event(b'"payload":' + b'{"a":' * 32 + b"{}" + b"}" * 32),
    "depth 33 of lists": event(b'"payload":{"a":' + b"[" * 32 + b"]" * 32 + b"}"),
    "NUL in a value": event(b'"payload":{"a":"\\u0000"}'),
    "NUL in a name": event(b'"payload":{"\\u0000":1}'),
    "NUL deep": event(b'"payload":{"a":[{"b":["x\\u0000"]}]}'),
    "lone high surrogate": event(b'"payload":{"a":"\\ud83d"}'),
    "lone low surrogate": event(b'"payload":{"a":"\\ude00"}'),
    "reversed surrogates": event(b'"payload":{"a":"\\ude00\\ud83d"}'),
    "two high surrogates": event(b'"payload":{"a":"\\ud83d\\ud83d\\ude00"}'),
    "surrogate in a name": event(b'"payload":{"\\uD83D":1}'),
    "high surrogate at the end": event(b'"payload":{"a":"x\\uDBFF"}'),
    "high surrogate before an escape": event(b'"payload":{"a":"\\uD83D\\n"}'),
    "payload null in quotes": event(b'"payload":"null"'),
    "payload array": event(b'"payload":[]'),
    "payload string": event(b'"payload":"{}"'),
    "payload number": event(b'"payload":1'),
    "payload true": event(b'"payload":true'),
    "surrogate in external_id": b'{"event":"a","external_id":"\\ud800"}',
    "NUL in external_id": b'{"event":"a","external_id":"a\\u0000b"}',
    "surrogate in event": b'{"event":"\\udfff","external_id":"x"}',
    "surrogate in an unknown name": event(b'"\\ud800":1'),
    "a thousand unknown members": event(b",".join(b'"x%d":1' % n for n in range(1000))),
}
#: Stored exactly as sent.
KEPT = {
    "depth 32": b'{"a":' * 31 + b"{}" + b"}" * 31,
    "1e400": b'{"n":1e400}',
    "-1e400": b'{"n":-1E+400}',
    "1e-400": b'{"n":1e-400}',
    "exponent of 20 digits": b'{"n":1e99999999999999999999}',
    "integer of 5,000 digits": b'{"n":' + b"7" * 5000 + b"}",
    "fraction of 5,000 digits": b'{"n":0.' + b"7" * 5000 + b"}",
    "2^53+1": b'{"n":9007199254740993}',
    "2^63": b'{"n":9223372036854775808}',
    "2^64": b'{"n":18446744073709551616}',
    "-2^63-1": b'{"n":-9223372036854775809}',
    "minus zero": b'{"n":-0,"m":-0.0}',
    "1.0 and 1.10": b'{"n":1.0,"m":1.10,"o":1E5}',
    "duplicate members": b'{"a":1,"a":2,"b":{"c":1,"c":1}}',
    "white space": b'{ "a"\t:\r\n[ 1 ,\n2 ] }',
    "order": b'{"z":1,"a":2,"m":3}',
    "escapes": b'{"a":"\\u0041\\/\\b\\f\\n\\r\\t\\"\\\\"}',
    "surrogate pair": b'{"a":"\\ud83d\\ude00"}',
    "surrogate pair in a name": b'{"\\uD83D\\uDE00":1}',
    "escaped backslash before u0000": b'{"a":"\\\\u0000"}',
    "escaped backslash before ud800": b'{"a":"\\\\ud800"}',
    "brackets in strings": b'{"a":"' + b"[{" * 500 + b'"}',
    "quotes and brackets": b'{"a":"\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[","b":"\\\\"}',
    "noncharacters": '{"a":"\uffff\ufffe\U0010ffff"}'.encode(),
    "bidi": '{"a":"\u202eabc\u2066"}'.encode(),
    "line separators": '{"a":"\u2028\u2029"}'.encode(),
    "DEL and C1": '{"a":"\x7f\x85"}'.encode(),
    "10,000 combining marks": ('{"a":"e' + "\u0301" * 10_000 + '"}').encode(),
    "byte order mark inside": '{"a":"\ufeff"}'.encode(),
    "empty name": b'{"":{"":[]}}',
    "members called as fields": b'{"event":1,"payload":{"payload":2},"idempotency_key":[]}',
    "__proto__": b'{"__proto__":{"a":1},"constructor":null}',
    "<script>": b'{"a":"<script>alert(1)</script>","b":"{{7*7}}"}',
    "10,000 members": b"{" + b",".join(b'"%d":0' % n for n in range(6000)) + b"}",
    "limit": b'{"a":"' + b"x" * (65536 - 8) + b'"}',
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_json_is_400(shared: Project, name: str) -> None:
    answer = shared.client().post("/events", MALFORMED[name])

    assert (answer.status, answer.code) == (400, "MalformedJson")


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_json_is_rejected_in_a_batch(shared: Project, name: str) -> None:
    """Alone on a line it spoils only that line; inside an array it can spoil the request."""
    client = shared.client()
    lines = MALFORMED[name].count(b"\n") + 1
    ndjson = client.post(
        "/events/batch",
        GOOD + b"\n" + MALFORMED[name] + b"\n" + GOOD,
        body_type="application/x-ndjson",
    )
    if "two documents" not in name and "two lines" not in name and lines == 1:
        assert ndjson.status == 200
        assert ndjson.json()["accepted"] == 2
    array = client.post("/events/batch", b'{"events":[' + MALFORMED[name] + b"]}")
    assert array.status in (200, 400, 422)
    if array.status == 200 and name not in ("two documents", "two lines", "empty", "comma after"):
        assert array.json()["accepted"] == 0


@pytest.mark.parametrize("name", INVALID)
def test_json_past_the_rules_is_422(shared: Project, name: str) -> None:
    answer = shared.client().post("/events", INVALID[name])

    assert (answer.status, answer.code) == (422, "ValidationError")


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_event_does_not_affect_its_neighbours(shared: Project, name: str) -> None:
    body = b'{"events":[' + b",".join([GOOD, INVALID[name], GOOD]) + b"]}"

    answer = shared.client().post("/events/batch", body)

    assert [item["status"] for item in answer.data] == [202, 422, 202]


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("way", ["single", "null beside", "batch", "lone surrogate beside"])
def test_a_payload_is_kept_byte_for_byte(shared: Project, name: str, way: str) -> None:
    """This also holds where a neighbour or a null selects the slow parser."""
    client = shared.client()
    payload = KEPT[name]
    text = event(b'"payload":' + payload + (b',"email":null' if way == "null beside" else b""))
    if way in ("single", "null beside"):
        data = client.post("/events", text).data
    else:
        other = INVALID["lone high surrogate"] if way != "batch" else GOOD
        data = client.post("/events/batch", b'{"events":[' + other + b" , " + text + b" ]}").data
        data = data[1]["data"]

    shown = client.get(f"/events/{data['id']}").body

    assert b'"payload":' + payload + b',"occurred_at"' in shown


def test_a_payload_past_the_limit_is_413_with_both_sizes(shared: Project) -> None:
    payload = b'{"a":"' + "é".encode() * 32765 + b'"}'
    answer = shared.client().post("/events", event(b'"payload":' + payload))
    assert (answer.status, answer.code) == (413, "PayloadTooLarge")
    message = answer.json()["error"]["message"]
    assert "65536" in message
    assert str(len(payload)) in message


@pytest.mark.parametrize(
    "body_type",
    [
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "application/json; charset=latin-1",
        'application/json; charset="iso-8859-1"',
        "application/xml",
        "application/jsonp",
        "application/json, text/plain",
        "json",
        "*/*",
        "application/x-ndjson",
        "\x80\xff",
    ],
)
def test_another_media_type_is_415(shared: Project, body_type: str) -> None:
    answer = shared.client().post("/events", GOOD, body_type=body_type)

    assert (answer.status, answer.code) == (415, "UnsupportedMediaType")


@pytest.mark.parametrize(
    "body_type",
    [
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        'Application/JSON ; charset="utf-8"',
    ],
)
def test_json_in_utf_8_may_be_named_so(shared: Project, body_type: str) -> None:
    assert shared.client().post("/events", GOOD, body_type=body_type).status == 202


def test_absurd_bodies_are_judged_quickly(shared: Project) -> None:
    """A megabyte that is slow to parse must not block other requests."""
    names = ",".join(f'"idempotency_kex{n:05}":1' for n in range(30_000))
    bodies = {
        "unknown members": event(names.encode()),
        "one long name": event(b'"' + b"e" * 1_000_000 + b'":1'),
        "brackets": b'{"payload":' + b"[]," * 300_000,
        "deep": event(b'"payload":' + b"[" * 500_000 + b"]" * 500_000),
        "quotes": event(b'"payload":{"a":"' + b'\\"' * 500_000 + b'"}'),
        "backslashes": event(b'"payload":{"a":"' + b"\\\\" * 500_000 + b'"}'),
        "digits": event(b'"payload":{"a":' + b"1" * 1_000_000 + b"}"),
        "digits for a name": b'{"event":' + b"1" * 1_000_000 + b"}",
        "escapes": event(b'"payload":{"a":"' + b"\\u00e9" * 160_000 + b'"}'),
        "spaces": b" " * 1_000_000,
        "address": b'{"event":"a","email":"' + b"a." * 400_000 + b'@x.org"}',
        "address of at signs": b'{"event":"a","email":"' + b"@" * 500 + b'"}',
        "time": b'{"event":"a","external_id":"x","occurred_at":"' + b"9" * 900_000 + b'"}',
        "name": b'{"event":"' + b"a." * 400_000 + b'!","external_id":"x"}',
    }
    client = shared.client()
    for name, body in bodies.items():
        began = time.monotonic()
        assert client.post("/events", body).status in (400, 413, 422), name
        assert time.monotonic() - began < 1.5, name
