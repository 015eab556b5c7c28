"""Templates: rendering, limits, and publishing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.delivery.mail.css import CssError, inline_css
from headrace.delivery.mail.liquid import (
    OUTPUT_BYTES_MAX,
    MissingVariableError,
    TemplateError,
    parse,
    render,
)
from headrace.delivery.mail.liquid_guard import MarkError, ProtectedMarks
from headrace.delivery.mail.templates import (
    TemplateSource,
    derived_text,
    publish,
    render_source,
)
from headrace.domain.messages.variables import TemplateContact, template_values

CONTACT = TemplateContact(
    id="c1",
    external_id=None,
    email="a@example.org",
    properties={"first_name": "Jo <b>", "plan": "pro", "void": None},
    created_at="2026-06-08T14:15:00.000Z",
)
VALUES = template_values(
    variables={"total": 12.5, "items": [{"name": "a"}, {"name": "b"}]},
    payload={"order_id": 7, "plan": "basic"},
    contact=CONTACT,
    unsubscribe_url="https://mail.example.org/u/t",
    preferences_url="https://mail.example.org/u/t#topics",
)


def written(source: str, values: dict[str, Any] | None = None, *, is_html: bool = True) -> str:
    return render(parse(source, is_html=is_html), VALUES if values is None else values)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ first_name }}", "Jo &lt;b&gt;"),
        # The payload takes precedence over properties; `contact` selects properties.
        ("{{ plan }} {{ contact.properties.plan }}", "basic pro"),
        ("{{ payload.order_id }} {{ order_id }} {{ total }}", "7 7 12.5"),
        ("{{ nothing | default: 'you' }}", "you"),
        ("{{ contact.properties.void | default: 'x' }}", "x"),
        ("{% if nothing %}a{% else %}b{% endif %}", "b"),
        ("{% if nothing == 'x' %}a{% elsif plan == 'basic' %}b{% endif %}", "b"),
        ("{% for i in items %}{{ i.name }}{% endfor %}", "ab"),
        ("{% for i in nothing %}x{% else %}none{% endfor %}", "none"),
        ("{{ unsubscribe_url }}", "https://mail.example.org/u/t"),
        ("{{ 'now' | date: '%Y' }}", "1970"),
        ("{{ '2026-06-08' | date: '%d.%m.' }}", "08.06."),
        ("{% raw %}{{ first_name }}{% endraw %}", "{{ first_name }}"),
        ("{{ first_name | upcase | truncate: 5, '' }}", "JO &lt;B"),
    ],
)
def test_rendering(source: str, expected: str) -> None:
    assert written(source) == expected


def test_text_is_not_escaped() -> None:
    assert written("{{ first_name }}", is_html=False) == "Jo <b>"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("{{ nothing }}", "nothing"),
        ("{{ nothing | upcase }}", "nothing"),
        ("{{ contact.properties.none }}", "contact.properties.none"),
        ("{{ contact.properties.void }}", "contact.properties.void"),
        ("{{ contact.external_id }}", "contact.external_id"),
        ("{{ first_name.__class__ }}", "first_name.__class__"),
        ("{{ items[9].name }}", "items.9.name"),
        ("{% assign x = nothing %}{{ x }}", "nothing"),
    ],
)
def test_missing_variable_is_named(source: str, name: str) -> None:
    with pytest.raises(MissingVariableError) as caught:
        written(source)
    assert caught.value.name == name


GROW = "{% assign x = x | append: x %}"
HOSTILE = [
    "{{" * 100_000,
    "{%" * 100_000,
    "{{" + " " * 200_000 + "}}",
    "{{ a" + " " * 101 + "}}",
    "{% raw %}" * 50_000,
    "{% if a %}" * 100 + "{% endif %}" * 100,
    "{% for i in (1..1000) %}" * 3 + "x" + "{% endfor %}" * 3,
    "{% for i in (1..100000000) %}x{% endfor %}",
    "{% for i in (1..1000) %}{% if true %}{% endif %}{% endfor %}" * 1000,
    "{% assign x = 'aaaa' %}" + GROW * 100,
    "{% assign x = 'aaaa' %}{% for i in (1..1000) %}" + GROW + "{% endfor %}",
    "{% assign x = 'aaaaaaaaaa' %}{{ x" + " | replace: 'a', 'aaaaaaaaaa'" * 9 + " }}",
    "{% assign x = 'a' %}{{ x" + " | replace: '', 'aaaaaaaaaa'" * 9 + " }}",
    "{% assign x = 9999 %}{% for i in (1..1000) %}{% assign x = x | times: x %}{% endfor %}{{x}}",
    "{% assign a = 'x,y' | split: ',' %}" + "{% assign a = a | concat: a %}" * 40,
    "{% capture x %}" + "a" * 1000 + "{% endcapture %}"
    "{% for i in (1..1000) %}{{ x }}{{ x }}{% endfor %}",
    "{{ '" + "a" * 1000 + "' | split: '' | join: '" + "b" * 900 + "' }}",
    "{{ 'x' | date: '" + "%c" * 500 + "' }}",
    "{{ '" + "9" * 1000 + "' | date: '%Y' }}",
    "{{ 1 | divided_by: 0 }}",
    "{{ " + "a[" * 900 + "0" + "]" * 900 + " }}",
    "{% render 'x' %}",
    "{% include '/etc/passwd' %}",
    "{{ first_name | safe }}",
    "{{ first_name | nonsense }}",
    "{% nonsense %}",
    "{% if %}",
    "{{ a | truncate: 'x' }}",
]


@pytest.mark.parametrize("source", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_template_ends_with_an_error(source: str) -> None:
    with pytest.raises(TemplateError):
        written(source, {"first_name": "x", "a": "x"})


PARTS = st.sampled_from(
    [
        *("{{", "}}", "{%", "%}", " ", "a", "'x'", "|", "default:", "append: a", "for i in b"),
        *("endfor", "if a", "endif", "else", "{% raw %}", "{% endraw %}", "assign a = a", "<"),
        *("{{ a }}", "{% for i in b %}", "{% endfor %}", "{{ i | times: 9 }}", "(1..9)", "\n"),
        *("{{ b | join: a }}", "{% comment %}", "{% endcomment %}", "-%}", "{{-", "\x00", "🙂"),
    ]
)


@given(source=st.lists(PARTS, max_size=25).map("".join), is_html=st.booleans())
def test_any_template_is_rendered_or_rejected(source: str, *, is_html: bool) -> None:
    try:
        found = written(source, {"a": "<i>", "b": [1, "2"]}, is_html=is_html)
    except TemplateError:
        return
    assert len(found.encode()) <= OUTPUT_BYTES_MAX
    if is_html:
        assert "<i>" not in found.replace("<i>" if "<i>" in source else "\x01", "")


@given(value=st.text(max_size=50))
def test_no_value_is_markup(value: str) -> None:
    found = written("<p>{{ a }}</p>", {"a": value})
    assert not set('<>"') & set(found.removeprefix("<p>").removesuffix("</p>"))


def test_variables_and_those_that_are_required() -> None:
    template = parse(
        "{{ a }}{{ b | default: 'x' }}{% if c %}{{ c }}{{ d }}{% endif %}"
        "{% for i in e %}{{ i }}{{ i.x }}{% endfor %}{% assign f = g %}{{ f }}"
        "{% unless h %}{% else %}{{ h }}{% endunless %}{{ contact.properties.plan }}",
        is_html=True,
    )
    assert template.variables == ("a", "b", "c", "contact.properties.plan", "d", "e", "g", "h")
    assert template.required == ("a", "contact.properties.plan", "d", "g")


@given(source=st.lists(PARTS, max_size=25).map("".join))
def test_marks_are_restored_in_place(source: str) -> None:
    try:
        aside = ProtectedMarks(source)
    except MarkError:
        return
    assert aside.restore(aside.html) == source
    assert aside.restore(aside.words) == source


@pytest.mark.anyio
async def test_css_is_inlined_and_liquid_stays() -> None:
    source = (
        "<style>td { color: {{ color | default: 'red' }} } @media print { td { color: black } }"
        '</style><table>{% for i in items %}<tr><td class="a {% if i.x %}x{% endif %}">'
        '<a href="{{ i.url | default: "https://a.example" }}">{{ i.name }}</a></td></tr>'
        "{% endfor %}</table>"
    )
    found = await inline_css(source)
    assert "style=\"color: {{ color | default: 'red' }};\"" in found
    assert "@media print" in found
    assert "<table>{% for" in found
    assert "{% endfor %}</tbody></table>" in found
    assert 'href="{{ i.url | default: "https://a.example" }}"' in found
    assert 'class="a {% if i.x %}x{% endif %}"' in found
    values = {"items": [{"name": "N", "x": True}]}
    assert '<a href="https://a.example">N</a>' in written(found, values)


@pytest.mark.anyio
async def test_html_that_the_inliner_cannot_handle_is_rejected() -> None:
    style = "<style>p { color: red }</style>"
    with pytest.raises(CssError, match="more than 10000 elements"):
        await inline_css(style + "<div>" * 10_001)
    # Each paragraph reopens all open elements: a gigabyte from 40 KB.
    with pytest.raises(CssError, match=r"memory|takes too long"):
        await inline_css(style + "".join(f"<p><b a={n}>x" for n in range(4000)))
    for tag in (
        '<p {% if a %}class="a"{% else %}class="b"{% endif %}>',
        "<p {{ attributes }}>",
        '<p style="{% if a %}color: red{% endif %}">',
    ):
        with pytest.raises(CssError, match="Liquid is between"):
            await inline_css(style + tag)
    assert await inline_css("<p>no style</p>") == "<p>no style</p>"


@pytest.mark.anyio
async def test_publishing_produces_the_version_to_send() -> None:
    draft = TemplateSource(
        subject="Hi {{ first_name }}",
        preview="{{ order_id }} is on its way",
        html="<style>p { color: red }</style><p>Hello {{ first_name }}</p>"
        '<a href="{{ unsubscribe_url }}">Leave</a>',
    )
    found = await publish(draft)
    assert found.problems == ()
    assert found.warnings == ()
    assert found.required == ("first_name", "order_id", "unsubscribe_url")
    assert '<p style="color: red;">' in found.source.html
    assert found.source.text == "Hello {{ first_name }}\n\nLeave ({{ unsubscribe_url }})"
    mail = render_source(found.source, VALUES, 0)
    assert mail.subject == "Hi Jo <b>"
    assert mail.preview == "7 is on its way"
    assert "Hello Jo &lt;b&gt;" in mail.html
    assert "Leave (https://mail.example.org/u/t)" in mail.text


def test_subject_is_one_line() -> None:
    source = TemplateSource(subject="a {{ x }}", text="t")
    mail = render_source(source, {"x": "b\r\nBcc: c@example.org\u2028d"}, 0)
    assert mail.subject == "a b Bcc: c@example.org d"


@pytest.mark.anyio
async def test_publishing_names_every_problem() -> None:
    found = await publish(
        TemplateSource(subject=" ", html="{{ x", text="{{ contact.frist_name }}{% nonsense %}")
    )
    assert [one.field for one in found.problems] == [
        "subject_template",
        "rendered_html",
        "rendered_text",
    ]
    found = await publish(TemplateSource(subject="x", text="{{ contact.first_name }}"))
    assert "a contact has created_at, email" in found.problems[0].message
    found = await publish(TemplateSource(subject="x"))
    assert found.problems[0].field == "rendered_html"


@pytest.mark.anyio
async def test_publishing_warns_of_likely_mistakes() -> None:
    html = "<p>" + "x" * 110_000 + '</p><a href="https://a.example/?m={{ contact.email }}">y</a>'
    found = await publish(TemplateSource(subject="x", html=html))
    messages = [one.message for one in found.warnings]
    assert any("personal data" in one for one in messages)
    assert any("Gmail" in one for one in messages)
    found = await publish(TemplateSource(subject="x", html="<style>p{}</style>" + "<div>" * 11_000))
    assert "CSS is not inlined" in found.warnings[0].message


def test_text_is_derived_around_liquid() -> None:
    html = "<p>{% if a %}<b>A {{ b | default: '<x>' }}</b>{% endif %}</p><p>c</p>"
    assert derived_text(html) == "{% if a %}A {{ b | default: '<x>' }}{% endif %}\n\nc"
