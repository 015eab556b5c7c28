"""HTML of mails for display: it sends no request and runs nothing."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.backoffice.messages.mail_html import quiet

_REQUESTS = {"srcset", "background", "poster", "data", "action", "formaction", "ping", "target"}
_DROPPED = {"script", "base", "meta", "link", "iframe", "object", "embed"}


class Requests(HTMLParser):
    """An independent HTML parser that records what would send a request or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DROPPED:
            self.found.append(tag)
        for name, value in attrs:
            inline = name == "src" and (value or "").startswith("data:image/")
            nowhere = name in {"href", "xlink:href"} and value == "#"
            asks = name in _REQUESTS or name.startswith("on") or name in {"src", "href"}
            if asks and not (inline or nowhere):
                self.found.append(f"{tag} {name}={value}")


@pytest.mark.parametrize(
    ("authored", "shown"),
    [
        ("<p>a &amp; b</p>", "<p>a &amp; b</p>"),
        ("<img src='https://x.example/p.gif' alt=a>", '<img alt="a">'),
        ("<img src='data:image/png;base64,AA=='>", '<img src="data:image/png;base64,AA==">'),
        ("<img src='data:text/html,x'>", "<img>"),
        ("<A HREF='https://x.example/?a=1&amp;b=2' target=_top>x</A>", None),
        ("<p onclick='alert(1)' style='color:red'>x</p>", '<p style="color:red">x</p>'),
        ("<!doctype html><!-- note -->x", "<!doctype html>x"),
        ("<b>x</b><img src='https://x.example/p.gif", "<b>x</b>"),
        ("1 < 2 and <3", "1 < 2 and <3"),
        ("a<script>alert(1)</script>b", "ab"),
        ("<meta http-equiv=refresh content='0;url=/u'>x", "x"),
        ("<base href='https://x.example/'>x", "x"),
        ("<iframe src='/o/token'>inside</iframe>x", "x"),
        ("<link rel=stylesheet href='https://x.example/s.css'>x", "x"),
        ("<svg><image xlink:href='https://x.example/p'/></svg>", "<svg><image></svg>"),
        ("<p title='a\"b'>x</p>", '<p title="a&quot;b">x</p>'),
    ],
)
def test_markup_that_sends_requests_is_removed(authored: str, shown: str | None) -> None:
    expected = '<a href="#" title="https://x.example/?a=1&amp;b=2">x</A>'
    assert quiet(authored) == (expected if shown is None else shown)


_PIECES = st.sampled_from(
    [
        *("<img ", "<a ", "<p ", "<script>", "</script>", "<style>", "</style>", "<!--", "-->"),
        *("src=", "href=", "srcset=", "onload=", "target=", "action=", "style="),
        *("'", '"', ">", "/>", " ", "x", "https://x.example/p", "data:image/gif;base64,", "<", "="),
    ]
)


@given(st.lists(_PIECES, max_size=25).map("".join))
def test_authored_content_makes_no_request(authored: str) -> None:
    reader = Requests()
    reader.feed(quiet(authored))
    reader.close()
    assert reader.found == []
