"""The fast and the thorough parser of events agree on every body."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.domain.errors import ApiError
from headrace.domain.events import draft as event_draft
from headrace.domain.events.draft import decode_draft
from headrace.domain.events.event_types import Draft, DraftLimits
from headrace.domain.events.fields import MEMBERS
from headrace.domain.events.problems import draft_or_problems

LIMITS = DraftLimits(payload_bytes_max=400, now_us=1_780_928_100_000_000)

Outcome = Draft | tuple[str, str, tuple[Any, ...]]


def outcome(way: Any, body: bytes, limits: DraftLimits = LIMITS) -> Outcome:
    """The draft, or the error response; any other exception is a failure."""
    try:
        draft = way(body, limits)
    except ApiError as error:
        return error.code.value, error.message, error.details
    assert isinstance(draft, Draft)
    return draft


def pick(*values: str) -> st.SearchStrategy[str]:
    return st.sampled_from(values)


SPACE = st.lists(pick(" ", "\t", "\n", "\r"), max_size=2).map("".join)
ODD_SPACE = SPACE | pick("\x0b", "\xa0", "\ufeff", "\x00", "//", "")
ESCAPES = pick(
    *(r"\n", r"\"", r"\\", r"\/", r"\u0041", r"\u0000", r"\ud800", r"\udc00", r"\ud83d\ude00"),
    *(r"\\u0000", r"\\\u0000", r"\\ud800", r"\x", r"\u12", r"\uD83D\uD83D", r"\udc00\ud800"),
)
PIECES = pick("a", "é", "\U0001f600", "{", "}", "[", "]", ",", ":", "payload", "\x01", "\x7f", " ")
TEXTS = st.lists(PIECES | ESCAPES, max_size=6).map(lambda parts: f'"{"".join(parts)}"')
NUMBERS = pick(
    "0", "-0", "1", "1.0", "1e400", "9007199254740993", "01", "1.", ".5", "+1", "NaN", "-"
)
LITERALS = pick("null", "true", "false", "Infinity", "nul", "")


def nested(depth: int) -> str:
    return '{"a":' * depth + "[]" + "}" * depth


VALUES = st.recursive(
    TEXTS | NUMBERS | LITERALS | pick(nested(30), nested(31), nested(32), nested(210)),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda values: f"[{','.join(values)}]")
        | st.lists(st.tuples(TEXTS, SPACE, inner), max_size=3).map(
            lambda members: "{" + ",".join(f"{n}{s}:{s}{v}" for n, s, v in members) + "}"
        )
    ),
    max_leaves=6,
)
GOOD = {
    "event": pick('"order.completed"', '"a"', '"page_1.visited"'),
    "contact_id": pick(
        '"c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"', '"C6717A52-1C61-4B7C-9D0F-6F1F3C5F2A10"'
    ),
    "external_id": pick('"customer 1"', '"é"', '"{[}"', '" x "'),
    "email": pick('"a@one.example"', '"Mike@X.org"', '" a@b.example"', '"ü@bücher.example"'),
    "payload": pick("{}", '{"a": 1.0}', '{ "a" : "}" }', r'{"a":"\"{"}', r'{"\\":"\u00e9"}'),
    "occurred_at": pick('"2026-06-08T14:15:00Z"', '"2026-06-08T14:15:00.123456789+02:00"'),
    "idempotency_key": pick('"k"', '"a b"', '"~"'),
}
BAD = {
    "event": pick('"Order"', '"sendrealm.x"', '"a..b"', '""', "null", "1", r'"\u0061"'),
    "contact_id": pick('"no"', '"00000000-0000-0000-0000-000000000000"', "null", "{}"),
    "external_id": pick('""', '"  "', r'"\n"', "null", "7", r'"\ud800"', r'"a\"b"'),
    "email": pick('"a"', '"a@b@c"', "null", '"a@b.example\\n"'),
    "payload": pick("null", "[]", '"{}"', "1", "{", '{"a":1,"a":2}', '{"a": "' + "x" * 500 + '"}'),
    "occurred_at": pick('"tomorrow"', '"2036-06-08T14:15:00Z"', "null", "5"),
    "idempotency_key": pick('""', '"é"', "null", r'"\t"', '"' + "k" * 256 + '"'),
}


@st.composite
def members(draw: st.DrawFn) -> tuple[str, str]:
    """One member: nearly always of a known name, mostly valid."""
    name = draw(st.sampled_from(MEMBERS))
    kind = draw(st.integers(0, 9))
    value = draw(GOOD[name] if kind < 6 else BAD[name] if kind < 9 else VALUES)
    if name == "payload" and draw(st.booleans()):
        value = draw(VALUES)
    spelled = draw(st.integers(0, 19))
    if spelled == 0:
        return f'"\\u{ord(name[0]):04x}{name[1:]}"', value
    if spelled == 1:
        return draw(TEXTS), value
    return f'"{name}"', value


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    chosen = draw(st.lists(members(), max_size=8))
    if draw(st.integers(0, 3)):
        # Mostly without duplicate names, and with the required ones.
        unique = {'"event"': '"a"', '"external_id"': '"x"'} | dict(chosen)
        chosen = draw(st.permutations(list(unique.items())))
    space = SPACE if draw(st.integers(0, 9)) else ODD_SPACE
    parts = [
        f"{draw(space)}{name}{draw(space)}:{draw(space)}{value}{draw(space)}"
        for name, value in chosen
    ]
    text = f"{draw(space)}{{{','.join(parts)}}}{draw(space)}"
    body = text.encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 0 and body:
        at = draw(st.integers(0, len(body) - 1))
        body = body[:at] + draw(st.binary(max_size=2)) + body[at + 1 :]
    return body


@settings(max_examples=1000)
@given(bodies(), st.sampled_from((None, None, None, "k", "other", "", "é")))
@example(b'{"event":"a","external_id":"x","payload":{"a":1},"payload":{"b":"}"}}', None)
@example(b'{"event":"a","external_id":"x","email":null,"payload":null}', None)
@example(b'{"event":"a","external_id":"x","event":null}', None)
@example(b'{"event":"a","external_id":"x","ev\\u0065nt":"b"}', None)
@example(b'{"event":"a","external_id":"x","payload":"{}"}', None)
@example(b'{"event":"a","external_id":"x\\"\\"\\""}', None)
@example(b'\xef\xbb\xbf{"event":"a","external_id":"x"}', None)
def test_both_parsers_agree(body: bytes, header_key: str | None) -> None:
    limits = DraftLimits(LIMITS.payload_bytes_max, LIMITS.now_us, header_key)
    assert outcome(decode_draft, body, limits) == outcome(draft_or_problems, body, limits)


@settings(max_examples=300)
@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda t: t.encode("utf-8", "replace")))
def test_any_bytes_are_at_most_rejected(body: bytes) -> None:
    assert outcome(decode_draft, body) == outcome(draft_or_problems, body)


@settings(max_examples=300)
@given(bodies())
def test_an_accepted_payload_is_the_text_that_was_sent(body: bytes) -> None:
    found = outcome(decode_draft, body)
    if isinstance(found, Draft):
        assert found.payload.encode() in body or found.payload == "{}"
        sent = json.loads(body).get("payload")
        assert json.loads(found.payload) == ({} if sent is None else sent)
        assert len(found.payload.encode()) <= LIMITS.payload_bytes_max


def test_fast_parser_is_used() -> None:
    """So that the comparison above is not of a function with itself."""
    body = b'{"event":"a","external_id":"x","payload":{"a":"\\u00e9"},"idempotency_key":"k"}'
    sent = event_draft._decode(body)
    assert event_draft._check(sent, body, LIMITS) == draft_or_problems(body, LIMITS)
