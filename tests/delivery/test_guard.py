"""Accepted URLs, by their text."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.delivery.contract import FailureCause
from headrace.delivery.webhook.guard import (
    BLOCKED_PORTS,
    AddressRefusedError,
    UrlRefusedError,
    check_url,
)
from tests.delivery.samples import LOOPBACK

MALFORMED = [
    "",
    "example.com/hook",
    "//example.com/hook",
    "https:example.com",
    "https:///hook",
    "https://",
    "https://:443/",
    "file:///etc/passwd",
    "ftp://example.com/",
    "gopher://example.com/_x",
    "javascript:alert(1)",
    "unix:///var/run/docker.sock",
    "https://user:pw@example.com/",
    "https://user@example.com/",
    "https://@example.com/",
    "https://example.com\\@127.0.0.1/",
    "https:\\\\example.com/",
    "https://example.com/a b",
    " https://example.com/",
    "https://example.com/\n",
    "https://exa\tmple.com/",
    "https://example.com/\x00",
    "https://example.com/\u2028",
    "https://example.com/\xa0",
    "https://example.com/#part",
    "https://example.com#@127.0.0.1/",
    "https://exam%70le.com/",
    "https://127.0.0.1%2f@example.com/",
    "https://example..com/",
    "https://.example.com/",
    "https://-example.com/",
    "https://exa$mple.com/",
    "https://" + "a" * 64 + ".com/",
    "https://" + "a." * 127 + "com/",
    "https://example.com/" + "a" * 2048,
    "https://example.com:0/",
    "https://example.com:65536/",
    "https://example.com:99999999/",
    "https://example.com:+80/",
    "https://example.com:8_0/",
    "https://example.com:\u0668\u0660/",
    "https://example.com:80:80/",
    "https://[::1",
    "https://::1/",
    "https://[fe80::1%25eth0]/",
    "https://[example.com]/",
    "https://[127.0.0.1]/",
    "https://[1:2:3:4:5:6:7:8:9]/",
    "https://xn--a/",
    "https://xn--\u00e9.example/",
    "https://exa\u00admple\u2024com/",
    "https://example.com/caf\u00e9",
    "https://example.com/%zz",
    "https://example.com/<script>",
]

#: Texts that name preparation turns into 127.0.0.1, and that are treated as such.
DISGUISED_ADDRESSES = [
    "127.0.0.1.",
    "\uff11\uff12\uff17.0.0.1",
    "127\u30020\u30020\u30021",
    "\u2460\u2461\u2466.0.0.1",
]

#: Notations of 127.0.0.1 and others that resolvers parse as addresses.
ODD_ADDRESSES = [
    "2130706433",
    "127.1",
    "127.0.1",
    "0x7f.1",
    "0x7f000001",
    "0X7F000001",
    "0177.0.0.1",
    "017700000001",
    "127.0.0.01",
    "0x7f.0x0.0x0.0x1",
    "0x",
    "1.2.3.4.5",
    "256.256.256.256",
    "0",
    "example.0x1",
    "example.123",
]

ADDRESSES = [
    "http://127.0.0.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://10.0.0.1:8443/",
    "https://[::]/",
    "https://[::1]/",
    "https://[::ffff:169.254.169.254]/",
    "https://[0:0:0:0:0:ffff:7f00:1]/",
    "https://[64:ff9b::a9fe:a9fe]/",
    "https://[2002:7f00:1::]/",
    "https://[fd00:ec2::254]/",
    "https://[ff02::1]/",
]


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_url_is_rejected(text: str) -> None:
    with pytest.raises(UrlRefusedError) as refused:
        check_url(text)
    assert refused.value.cause is FailureCause.URL_REFUSED
    assert refused.value.cause.permanent


@pytest.mark.parametrize("host", ODD_ADDRESSES)
def test_unusual_notation_of_an_address_is_rejected_even_if_the_address_is_allowed(
    host: str,
) -> None:
    with pytest.raises(UrlRefusedError):
        check_url(f"http://{host}/", LOOPBACK)


@pytest.mark.parametrize("host", DISGUISED_ADDRESSES)
def test_a_disguised_address_is_checked_in_its_normalized_form(host: str) -> None:
    with pytest.raises(AddressRefusedError):
        check_url(f"http://{host}/")
    assert check_url(f"http://{host}/", LOOPBACK).text == "http://127.0.0.1/"


@pytest.mark.parametrize("text", ADDRESSES)
def test_private_address_is_rejected(text: str) -> None:
    with pytest.raises(AddressRefusedError) as refused:
        check_url(text)
    assert refused.value.cause is FailureCause.ADDRESS_REFUSED
    assert refused.value.cause.permanent


@pytest.mark.parametrize("port", sorted(BLOCKED_PORTS - {0}))
def test_port_of_another_service_is_rejected(port: int) -> None:
    with pytest.raises(UrlRefusedError, match=str(port)):
        check_url(f"https://example.com:{port}/")


@pytest.mark.parametrize("port", [80, 443, 8000, 8080, 8443, 3000, 5000, 9000, 32768, 65535])
def test_usual_ports_are_fine(port: int) -> None:
    assert check_url(f"https://example.com:{port}/").port == port


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://Example.COM:443/Hook?a=B", "https://example.com/Hook?a=B"),
        ("http://example.com:80/", "http://example.com/"),
        ("http://example.com:443/", "http://example.com:443/"),
        ("https://example.com.?x=1", "https://example.com/?x=1"),
        ("https://b\u00fccher.example/", "https://xn--bcher-kva.example/"),
        ("https://B\u00dcCHER.example/", "https://xn--bcher-kva.example/"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        ("https://\uff45xample.com/", "https://example.com/"),
        ("https://my_service.internal/", "https://my_service.internal/"),
        ("https://localhost:9000/", "https://localhost:9000/"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://[2606:4700:4700:0::1111]:8443/", "https://[2606:4700:4700::1111]:8443/"),
        ("https://a.example/x;y=1/%C3%A9?q=[1]&b=@:!$'()*+,", None),
        ("https://0x7f.example.com/", None),
        ("https://123.example.com/", None),
    ],
)
def test_valid_url_is_normalized(text: str, canonical: str | None) -> None:
    assert check_url(text).text == (canonical or text)


@given(st.text(max_size=40))
def test_any_text_is_accepted_or_rejected(text: str) -> None:
    for candidate in (text, f"http://{text}", f"http://{text}/", f"http://a.example/{text}"):
        _accepted_or_refused(candidate)


HOSTILE = st.text(alphabet="htps:/\\@#?[].%0127fxX-_ \t\u3002\uff11\u00e9a", max_size=30)


@given(HOSTILE)
def test_accepted_url_is_parsed_the_same_by_other_parsers(text: str) -> None:
    _accepted_or_refused(f"http://{text}")


def _accepted_or_refused(text: str) -> None:
    try:
        url = check_url(text)
    except (UrlRefusedError, AddressRefusedError):
        return
    read = urlsplit(url.text)
    port = read.port or {"http": 80, "https": 443}[read.scheme]
    assert (read.scheme, read.hostname, port) == (url.scheme, url.host, url.port)
    assert (read.username, read.password, read.fragment) == (None, None, "")
    assert f"{url.scheme}://{url.authority}{url.target}" == url.text
    # Both are sent unchanged in the head of a request.
    assert re.fullmatch(r"[!-~]+", url.authority + url.target)
    assert check_url(url.text).text == url.text
