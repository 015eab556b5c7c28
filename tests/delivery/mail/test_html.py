"""HTML is split into pieces without loss, and only intended parts change."""

from __future__ import annotations

import html
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.delivery.mail.html_tokens import (
    TokenKind,
    insert_after_body_start,
    insert_before_body_end,
    tokenize,
)
from headrace.delivery.mail.links import (
    LINKS_MAX,
    add_honeypot,
    add_pixel,
    find_links,
    is_trackable,
    rewrite_links,
)
from headrace.delivery.mail.plain_text import html_to_text

OWN = "https://mail.example.org"
PIECES = st.sampled_from(
    [
        *("<", ">", "</", "<!--", "-->", "<!", "<a", " href=", '"', "'", "=", "/", "x", " ", "\n"),
        *('<a href="https://a.example/?x=1&amp;y=2">', "</a>", "<style>", "</style>", "<br/>"),
        *("<p title=it's>", "<body>", "</body>", "&amp;", "<td", "<A HREF=http://b.example>"),
        *("<script>", "</scrip", "{{ x }}", "\x00", "\u00e9", "<img alt='x'>"),
    ]
)
HOSTILE = st.lists(PIECES, max_size=40).map("".join)


@given(HOSTILE)
def test_pieces_are_the_whole_text(text: str) -> None:
    tokens = list(tokenize(text))
    assert "".join(text[one.start : one.end] for one in tokens) == text
    for token in tokens:
        for attribute in token.attributes:
            assert token.start < attribute.start <= attribute.end < token.end


@given(HOSTILE)
def test_rewriting_nothing_changes_nothing(text: str) -> None:
    assert rewrite_links(text, (), lambda _: "N") == text
    links = find_links(text, OWN)
    again = rewrite_links(text, links, lambda target: target)
    assert [one.target for one in find_links(again, OWN)] == [one.target for one in links]


@given(HOSTILE)
def test_every_tracked_link_is_replaced_and_nothing_else(text: str) -> None:
    targets = list(dict.fromkeys(one.target for one in find_links(text, OWN)))
    rewritten = rewritten_all(text, lambda target: f"{OWN}/c/{targets.index(target)}")
    assert find_links(rewritten, OWN) == ()
    numbers = [int(one) for one in _between(rewritten, f"{OWN}/c/")]
    assert set(numbers) == set(range(len(targets)))


def rewritten_all(text: str, tracked: Callable[[str], str] = lambda _: "N") -> str:
    return rewrite_links(text, find_links(text, OWN), tracked)


def _between(text: str, prefix: str) -> list[str]:
    return [part[0] for part in text.split(prefix)[1:]]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('<a class="x" href="https://a.example">y</a>', '<a class="x" href="N">y</a>'),
        ("<a href='https://a.example/?a=1&amp;b=2'>y</a>", "<a href='N'>y</a>"),
        ("<A HREF=https://a.example>y</A>", '<A HREF="N">y</A>'),
        ('<a href=" https://a.example ">y</a>', '<a href="N">y</a>'),
        ('<area href="HTTP://a.example">', '<area href="N">'),
    ],
)
def test_only_the_target_changes(before: str, after: str) -> None:
    assert rewritten_all(before) == after


@pytest.mark.parametrize(
    "link",
    [
        '<a href="mailto:a@example.org">',
        '<a href="javascript:alert(1)">',
        '<a href="#top">',
        '<a href="/relative">',
        '<a href="https://mail.example.org/u/token">',
        '<link href="https://a.example/x.css">',
        '<a data-href="https://a.example">',
        '<a href="https://a.example/ä">',
        '<a href="https://a.example/a b">',
        '<a href="https://">',
        "<!-- <a href='https://a.example'> -->",
        "<style>a[href='https://a.example'] {}</style>",
    ],
)
def test_other_links_stay(link: str) -> None:
    assert rewritten_all(link) == link


def test_target_is_what_the_author_wrote() -> None:
    (link,) = find_links('<a href="https://a.example/?a=1&amp;b=%2F#c">', OWN)
    assert link.target == "https://a.example/?a=1&b=%2F#c"
    assert not is_trackable("https://a.example/" + "x" * 2048)


def test_links_of_a_mail_are_limited() -> None:
    text = "".join(f'<a href="https://a.example/{n}">' for n in range(LINKS_MAX + 10))
    assert len(find_links(text, OWN)) == LINKS_MAX


def test_parts_are_inserted_into_the_body() -> None:
    page = "<!doctype html><html><head><title>x</title></head><body class=a><p>y</p></body></html>"
    assert add_pixel(page, "P").index("<img") == page.index("</body>")
    assert '<body class=a><a href="P"' in add_honeypot(page, "P")
    assert insert_after_body_start("<!doctype html>\n<p>x</p>", "Y") == "<!doctype html>Y\n<p>x</p>"
    assert insert_after_body_start("<p>x</p>", "Y") == "Y<p>x</p>"
    assert insert_before_body_end("<p>x</p>", "Y") == "<p>x</p>Y"


def test_text_of_html() -> None:
    page = """<html><head><title>No</title><style>p { color: red }</style></head><body>
      <div style="display:none">Preheader</div>
      <h1>Hello &amp; welcome</h1><p>Read   <b>this</b>, <a href="https://a.example">here</a>.</p>
      <ul><li>one</li><li>two <img alt="(picture)" src="x"></li></ul>
      <table><tr><td>Sum</td><td>12 &euro;</td></tr><tr><td>Tax</td><td>2 &euro;</td></tr></table>
      <p>a<br>b</p><a href="mailto:help@example.org">help@example.org</a>
      <a href="#x">top</a></body></html>"""
    assert html_to_text(page) == (
        "Hello & welcome\n\nRead this, here (https://a.example).\n\n- one\n- two (picture)\n\n"
        "Sum 12 €\nTax 2 €\n\na\nb\n\nhelp@example.org top"
    )


@given(HOSTILE)
def test_any_html_has_a_text(text: str) -> None:
    found = html_to_text(text)
    assert len(found) <= 4 * len(html.unescape(text)) + 200


@pytest.mark.parametrize(
    "part",
    ["<", "<!--", "<a ", "<a href='", "<a b=", "<style>", "<style></styl", "</", "<a/", "< ", "&"],
)
def test_time_is_linear_in_the_length(part: str) -> None:
    def seconds(count: int) -> float:
        text = part * count
        began = time.process_time()
        kinds = {token.kind for token in tokenize(text)}
        rewritten_all(text)
        html_to_text(text)
        assert kinds <= set(TokenKind)
        return time.process_time() - began

    # The least of several runs: what another process takes only adds to one.
    small = max(min(seconds(5_000) for _ in range(5)), 0.01)
    assert min(seconds(40_000) for _ in range(3)) < small * 32
