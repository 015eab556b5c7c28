"""The building blocks of pages."""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ET
from pathlib import Path

import argon2
import pytest
from starlette.requests import Request

from headrace.backoffice.shell.addresses import client_address, throttled_address
from headrace.backoffice.shell.browsers import browser_words
from headrace.backoffice.shell.charts import Series, bar_chart, line_chart, sparkline
from headrace.backoffice.shell.forms import Fields
from headrace.backoffice.shell.json_view import VALUES_MAX, json_view
from headrace.backoffice.shell.masking import masked
from headrace.backoffice.shell.passwords import (
    NOBODY_HASH,
    WAITING_MAX,
    Passwords,
    TooManyAtOnceError,
)
from headrace.backoffice.shell.setup import proxy_networks, public_origin
from headrace.backoffice.shell.templating import byte_size, duration, number, time_element
from headrace.config import SettingError
from headrace.domain.access.sign_in import LINK_PATH, Role, link_address

TEMPLATES = Path(__file__).parents[2] / "src" / "headrace" / "backoffice" / "templates"


def asked_by(peer: str, forwarded: str) -> Request:
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    return Request({"type": "http", "client": (peer, 1), "headers": headers})


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("198.51.100.1", "", "198.51.100.1"),
        ("198.51.100.1", "203.0.113.9", "198.51.100.1"),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "1.2.3.4, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", ", ".join(["10.0.0.3"] * 500), "10.0.0.3"),
        ("", "203.0.113.9", ""),
    ],
)
def test_an_address_is_believed_as_far_as_proxies_are(
    peer: str, forwarded: str, found: str
) -> None:
    trusted = proxy_networks("10.0.0.0/8")
    assert client_address(asked_by(peer, forwarded), trusted) == found


def test_an_ipv6_customer_is_one_network() -> None:
    assert throttled_address("2001:db8::1") == throttled_address("2001:db8::ffff:1")
    assert throttled_address("2001:db8::1") != throttled_address("2001:db8:0:1::1")
    assert throttled_address("::ffff:192.0.2.1") == "192.0.2.1"
    assert throttled_address("no address") == "no address"


@pytest.mark.parametrize("url", ["https://a.example", "https://A.example/", "http://a.example:81"])
def test_a_public_address_is_scheme_and_host(url: str) -> None:
    assert public_origin(url) == url.lower().rstrip("/")
    assert link_address(url, "t") == f"{url.rstrip('/')}{LINK_PATH}t"


@pytest.mark.parametrize("url", ["a.example", "ftp://a.example", "https://", "https://a/b"])
def test_no_public_address(url: str) -> None:
    with pytest.raises(SettingError):
        public_origin(url)


def test_the_hash_for_unknown_accounts_has_the_same_cost() -> None:
    passwords = Passwords()
    real = asyncio.run(passwords.hash("correct horse battery"))
    assert argon2.extract_parameters(real) == argon2.extract_parameters(NOBODY_HASH)
    with pytest.raises(argon2.exceptions.VerifyMismatchError):
        argon2.PasswordHasher().verify(NOBODY_HASH, "correct horse battery")
    assert asyncio.run(passwords.matches(real, "correct horse battery"))
    assert not asyncio.run(passwords.matches(real, "correct horse batter"))
    assert not asyncio.run(passwords.matches(None, "correct horse battery"))
    assert not asyncio.run(passwords.matches("no hash at all", "x"))
    passwords.close()


def test_only_so_many_passwords_wait() -> None:
    async def many() -> list[bool | BaseException]:
        passwords = Passwords()
        tries = [passwords.matches("no hash", "x") for _ in range(WAITING_MAX + 5)]
        answers = await asyncio.gather(*tries, return_exceptions=True)
        passwords.close()
        return answers

    answers = asyncio.run(many())
    assert sum(isinstance(answer, TooManyAtOnceError) for answer in answers) == 5
    assert answers.count(False) == WAITING_MAX


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("ann@example.org", "a•••@e•••.org"),
        ("a@bc", "a•••@b•••"),
        ("@", "@•••"),
        ("Ann", "A•••"),
        ("", ""),
        (42, "4•••"),
    ],
)
def test_masked_text_keeps_little(value: object, shown: str) -> None:
    assert masked(value) == shown


def test_json_is_shown_unchanged() -> None:
    text = (
        '{"a": 1.0, "a": 1e400, "b": [true, null, "<b>é</b>"], "c": {}, "n": 12345678901234567890}'
    )
    page = str(json_view(text))
    for kept in ("1.0", "1e400", "12345678901234567890", "&lt;b&gt;é&lt;/b&gt;", "true", "null"):
        assert kept in page
    assert page.count("&#34;a&#34;") == 2
    assert "<b>" not in page
    assert "2 members" not in page
    assert "5 keys" in page


@pytest.mark.parametrize("text", ["no json <b>", "[" * 100_000, "[" + "1," * VALUES_MAX + "1]"])
def test_json_that_cannot_be_folded_is_shown_as_text(text: str) -> None:
    page = str(json_view(text))
    assert page.startswith("<pre>")
    assert "<b>" not in page


def test_long_text_is_folded() -> None:
    assert "text of 1000 characters" in str(json_view('"' + "x" * 1000 + '"'))


@pytest.mark.parametrize("values", [[], [0, 0], [5], [1, 2, 3], [1e9, 0, 3]])
def test_plots_are_drawn_whatever_the_numbers(values: list[float]) -> None:
    labels = [f"{slot}:00" for slot in range(len(values))]
    series = [Series("good", "good", values), Series("bad", "bad", values)]
    charts = [make("<t>", series, labels, "<s>", str) for make in (bar_chart, line_chart)]
    for drawn, label in [(sparkline(values, "<t>"), "<t>"), *((c.svg, "<t>. <s>") for c in charts)]:
        root = ET.fromstring(str(drawn))  # noqa: S314 - our own
        assert root.get("aria-label") == label
        assert "style" not in str(drawn)


def test_words_for_numbers() -> None:
    assert [duration(n) for n in (5, 12_000, 1_500_000, 61_000_000, 3_700_000_000, None)] == [
        "5 µs",
        "12 ms",
        "1.5 s",
        "1 min 1 s",
        "1 h 1 min",
        "-",
    ]
    assert [byte_size(n) for n in (5, 1536, 5 * 1024**4)] == ["5 B", "1.5 KiB", "5 TiB"]
    assert number(1234567) == "1\u202f234\u202f567"
    assert "2026-06-08 14:15:00 UTC" in str(time_element(1_780_928_100_000_000))
    assert "never" in str(time_element(None))


def test_a_browser_in_words() -> None:
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    assert browser_words(firefox) == "Firefox on Linux"
    assert browser_words("curl/8.0") == "curl/8.0"
    assert browser_words("") == "unknown"


def test_fields_are_read_with_limits() -> None:
    fields = Fields([("a", "1"), ("a", " 2\x00 "), ("n", "007"), ("m", "9" * 40), ("u", "٣")])
    assert (fields.text("a"), fields.raw("a"), fields.all("a")) == (
        "2",
        " 2\x00 ",
        ["1", " 2\x00 "],
    )
    assert [fields.number(name) for name in ("n", "m", "u", "absent")] == [7, None, None, None]
    assert fields.one_of("a", ("2", "3")) == "2"
    assert fields.one_of("n", ("2", "3")) == ""


def test_roles_include_those_below() -> None:
    order = list(Role)
    for high, role in enumerate(order):
        assert [role.includes(other) for other in order] == [low <= high for low in range(3)]


@pytest.mark.parametrize("template", sorted(TEMPLATES.iterdir()), ids=lambda path: path.name)
def test_no_template_says_what_is_safe(template: Path) -> None:
    """Templates contain no filter or block that switches escaping off."""
    text = template.read_text("utf-8")
    ways_out = (
        "|safe",
        "| safe",
        "autoescape",
        "style=",
        "onclick",
        "<style",
        '="//',
        '="javascript',
    )
    for way_out in (*ways_out, 'src="http', 'href="http', 'action="http'):
        assert way_out not in text, way_out
