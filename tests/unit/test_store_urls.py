"""Which store an address names, and how that of a shared store is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.store.engine.postgres.url import is_postgres, masked, one_host_each
from headrace.stores import sqlite_path


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


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://h/d", True),
        ("postgres://h/d", True),
        ("sqlite:///postgresql://x", False),
        ("postgresqlx://h/d", False),
        ("postgresql", False),
    ],
)
def test_only_its_schemes_name_a_shared_store(url: str, expected: bool) -> None:
    assert is_postgres(url) == expected


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


def test_a_link_names_the_file_that_it_leads_to(tmp_path: Path) -> None:
    link, again = tmp_path / "link.db", tmp_path / "again.db"
    link.symlink_to(tmp_path / "disk" / "headrace.db")
    again.symlink_to("link.db")
    for path in (link, again, tmp_path / "disk" / "headrace.db"):
        assert sqlite_path(f"sqlite:///{path}") == tmp_path / "disk" / "headrace.db"
    assert sqlite_path("sqlite:///headrace.db") == Path("headrace.db")
