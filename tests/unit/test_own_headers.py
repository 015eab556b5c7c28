"""Own headers of webhooks: what may be sent, and what becomes of the mask."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.domain.deliveries.own_headers import (
    HEADERS_MAX,
    MASK,
    UnknownHeaderError,
    check_headers,
    merged,
    parse_lines,
)


def checked(members: dict[str, Any], *, stored: bool = True) -> tuple[Any, dict[str, str]]:
    problems: dict[str, str] = {}
    return check_headers(members, problems.__setitem__, stored=stored), problems


def test_usual_headers_are_taken_as_they_are() -> None:
    members = {"Authorization": "Bearer a b", "x-api-key": "k\tk", "User-Agent": "x", "X_y": "~!"}
    assert checked(members) == (tuple(members.items()), {})
    assert checked({}) == ((), {})


@pytest.mark.parametrize(
    "name",
    [
        *("Host", "hOST", "connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding"),
        *("Upgrade", "Expect", "Accept-Encoding", "HTTP2-Settings"),
        *("Content-Length", "content-type", "Content-Encoding", "Proxy-Authorization"),
        *("Proxy-Connection", "webhook-id", "Webhook-Signature", "webhook-anything"),
    ],
)
def test_what_headrace_decides_cannot_be_set(name: str) -> None:
    assert checked({name: "x"}) == (
        (),
        {
            f"headers.{name}": "cannot be set; it describes the message, the connection or the "
            "signature"
        },
    )


@pytest.mark.parametrize(
    "name", ["", " x", "x ", "a b", "a:b", "a\r\nb", "a\nb: c", "é", "\x00", "x" * 101, "a\u2028"]
)
def test_names_are_tokens(name: str) -> None:
    found, problems = checked({name: "x"})
    assert found == ()
    ((field, problem),) = problems.items()
    assert field.isprintable()
    assert "invalid name" in problem


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", " x", "x ", "a\r\nb: c", "a\nb", "a\rb", "a\x00", "a\x0b", "é", "a\u2028b"),
        *("\t", "x\t", "a\x7f", "secret\ud800"),
        *("s" * 4097, 1, None, True, ["x"], {"a": "b"}),
    ],
)
def test_values_cannot_add_a_line_and_are_not_repeated(value: object) -> None:
    found, problems = checked({"X-Key": value})
    assert found == ()
    ((field, problem),) = problems.items()
    assert field == "headers.X-Key"
    assert "secret" not in problem


def test_count_and_size_are_limited() -> None:
    assert checked({f"x-{n}": "v" for n in range(HEADERS_MAX)})[1] == {}
    assert "at most 20" in checked({f"x-{n}": "v" for n in range(HEADERS_MAX + 1)})[1]["headers"]
    assert "8192" in checked({f"x-{n}": "v" * 4096 for n in range(2)})[1]["headers"]


def test_names_are_compared_without_case() -> None:
    assert list(checked({"X-A": "1", "x-a": "2"})[1]) == ["headers.x-a"]


def test_the_mask_keeps_a_stored_value() -> None:
    wanted, problems = checked({"x-a": MASK, "X-B": "new"})
    assert problems == {}
    held = (("X-A", "old"), ("X-C", "gone"))
    assert merged(wanted, held) == (("x-a", "old"), ("X-B", "new"))
    with pytest.raises(UnknownHeaderError, match="x-a"):
        merged(wanted, ())
    assert list(checked({"x-a": MASK}, stored=False)[1]) == ["headers.x-a"]


def test_lines_of_a_form() -> None:
    text = "Authorization: Bearer a:b\r\n\r\n  X-A :1\n"
    assert parse_lines(text) == ({"Authorization": "Bearer a:b", "X-A": "1"}, [])
    members, problems = parse_lines("s3cr3t\nX-A: 1\nX-A: 2")
    assert members == {"X-A": "1"}
    assert len(problems) == 2
    assert "s3cr3t" not in "".join(problems)
