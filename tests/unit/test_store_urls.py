"""Which store an address names, and how the address of a shared store is displayed."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.store.contract.errors import StoreSetupError
from headrace.store.engine.url import StoreUrl, masked, one_host_each


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://db.example/headrace", "postgresql://db.example/headrace"),
        ("postgresql://ada@db.example:5433/headrace", "postgresql://ada@db.example:5433/headrace"),
        ("postgresql://ada:s3cret@db.example/headrace", "postgresql://ada@db.example/headrace"),
        ("postgresql://ada:s3@cret@db.example/headrace", "postgresql://ada@db.example/headrace"),
        ("postgresql://ada:s3/cret@db.example/headrace", "postgresql://ada@..."),
        ("postgresql://ada:s3?cret@db.example/headrace", "postgresql://ada@..."),
        ("postgresql://ada@a,b:1/x?password=s3cret", "postgresql://ada@a,b:1/x?..."),
        ("postgresql://a/x?user=ada&password=s3@cret", "postgresql://a@..."),
        ("postgresql://ada:s3cret@[::1/x", "postgresql://ada@[::1/x"),
        ("postgresql:///headrace", "postgresql:///headrace"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert masked(url) == shown
    assert "cret" not in masked(url)
    assert StoreUrl.parse(url).shown == shown


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://h/d", True),
        ("postgres://h/d", True),
        ("sqlite:///postgresql://x", False),
    ],
)
def test_only_its_schemes_name_a_shared_store(url: str, expected: bool) -> None:
    assert StoreUrl.parse(url).is_shared == expected


@pytest.mark.parametrize(
    "url",
    [
        *("", "postgresqlx://h/d", "postgresql", "mysql://h/d", "headrace.db"),
        *("sqlite:/x.db", "sqlite://x.db", "sqlite:///", "sqlite:///folder/", "Sqlite:///x.db"),
    ],
)
def test_an_invalid_store_url_is_rejected_with_a_valid_example(url: str) -> None:
    with pytest.raises(StoreSetupError, match=r"use sqlite:///path/to/file\.db or postgresql://"):
        StoreUrl.parse(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://h/d", ["postgresql://h/d"]),
        (
            "postgresql://ada:s3,cret@a:1,[::1]:2,c/d?sslmode=require",
            [
                "postgresql://ada:s3,cret@a:1/d?sslmode=require",
                "postgresql://ada:s3,cret@[::1]:2/d?sslmode=require",
                "postgresql://ada:s3,cret@c/d?sslmode=require",
            ],
        ),
        ("postgresql://a,b?x=y", ["postgresql://a?x=y", "postgresql://b?x=y"]),
        ("postgresql:///d?host=a,b", ["postgresql:///d?host=a,b"]),
        ("postgresql://a,b/d?port=1,2", ["postgresql://a,b/d?port=1,2"]),
        ("postgresql://ada:s,3/cret@a,b/d", ["postgresql://ada:s,3/cret@a,b/d"]),
    ],
)
def test_each_host_has_a_url_of_its_own(url: str, expected: list[str]) -> None:
    assert one_host_each(url) == expected


def test_a_link_is_reported_with_its_target_file(tmp_path: Path) -> None:
    link, again = tmp_path / "link.db", tmp_path / "again.db"
    link.symlink_to(tmp_path / "disk" / "headrace.db")
    again.symlink_to("link.db")
    for path in (link, again, tmp_path / "disk" / "headrace.db"):
        assert StoreUrl.parse(f"sqlite:///{path}").path == tmp_path / "disk" / "headrace.db"
    assert StoreUrl.parse("sqlite:///headrace.db").path == Path("headrace.db")
