"""SQLite statements are derived from PostgreSQL's: one test for each rule."""

from __future__ import annotations

import apsw
import pytest

from headrace.store.engine.dialect import sql, sqlite_values, to_sqlite, without_lane


@pytest.mark.parametrize(
    ("postgres", "sqlite"),
    [
        ("SELECT a FROM t WHERE b = $1 AND c = $12", "SELECT a FROM t WHERE b = ?1 AND c = ?12"),
        ("SELECT $1::bigint + b::text", "SELECT ?1 + b"),
        ("SELECT $1::double precision", "SELECT ?1"),
        ("SELECT a FROM t WHERE ($1::text[] IS NULL)", "SELECT a FROM t WHERE (?1 IS NULL)"),
        ('SELECT a FROM t ORDER BY a COLLATE "C", b', "SELECT a FROM t ORDER BY a, b"),
        ("SELECT 1 FROM t FOR UPDATE", "SELECT 1 FROM t"),
        ("SELECT 1 FROM t FOR NO KEY UPDATE", "SELECT 1 FROM t"),
        ("SELECT 1 FROM t FOR KEY SHARE", "SELECT 1 FROM t"),
        ("SELECT 1 FROM t x FOR UPDATE OF x SKIP LOCKED", "SELECT 1 FROM t x"),
        ("SELECT 1 FROM t FOR SHARE NOWAIT", "SELECT 1 FROM t"),
        (
            "DELETE FROM t WHERE a = ANY($2::bigint[])",
            "DELETE FROM t WHERE a IN (SELECT value FROM json_each(?2))",
        ),
        (
            "DELETE FROM t WHERE a = ANY($2::uuid[])",
            "DELETE FROM t WHERE a IN (SELECT unhex(value) FROM json_each(?2))",
        ),
        (
            "SELECT k.a FROM unnest($1::text[]) AS k (a)",
            "SELECT k.a FROM (SELECT value AS a FROM json_each(?1) j) AS k",
        ),
        (
            "SELECT t.a FROM unnest($1::text[]) AS k (a) JOIN t ON t.a = k.a",
            (
                "SELECT t.a FROM (SELECT value AS a FROM json_each(?1) j) AS k "
                "CROSS JOIN t ON t.a = k.a"
            ),
        ),
        (
            "SELECT k.b FROM unnest($1::int[], $3::bytea[]) AS k (a, b)",
            (
                "SELECT k.b FROM (SELECT value AS a, unhex(json_extract(?3, j.fullkey)) AS b "
                "FROM json_each(?1) j) AS k"
            ),
        ),
        ("SET a = greatest(a, $1), b = LEAST(b, $2)", "SET a = max(a, ?1), b = min(b, ?2)"),
        ("SELECT strpos(lower(a), $1) > 0", "SELECT instr(lower(a), ?1) > 0"),
        ("SELECT 'it''s $1::text FOR UPDATE'", "SELECT 'it''s $1::text FOR UPDATE'"),
    ],
)
def test_each_rule(postgres: str, sqlite: str) -> None:
    assert to_sqlite(postgres) == sqlite


@pytest.mark.parametrize(
    ("postgres", "sqlite"),
    [
        ("DELETE FROM t WHERE lane = $2 AND a = $1", "DELETE FROM t WHERE a = ?1"),
        (
            "SELECT 1 FROM a JOIN b ON a.lane = b.lane AND a.x = b.x",
            "SELECT 1 FROM a JOIN b ON a.x = b.x",
        ),
        (
            "SELECT home_lane FROM t WHERE home_lane = $1 AND a",
            "SELECT home_lane FROM t WHERE home_lane = ?1 AND a",
        ),
    ],
)
def test_conditions_on_lanes_are_left_out_where_sqlite_has_none(postgres: str, sqlite: str) -> None:
    assert without_lane(postgres).postgres == postgres
    assert without_lane(postgres).sqlite == sqlite


def test_columns_of_unnest_must_be_named() -> None:
    with pytest.raises(ValueError, match="gives 2 columns, 1 are named"):
        to_sqlite("SELECT 1 FROM unnest($1::int[], $2::int[]) AS k (a)")


def test_explicit_sqlite_text_is_used_unchanged() -> None:
    statement = sql("SELECT now(), $1", sqlite="SELECT unixepoch(), ?1")
    assert statement.sqlite == "SELECT unixepoch(), ?1"
    assert statement.postgres == "SELECT now(), $1"


def test_value_used_only_in_dropped_text_is_not_bound() -> None:
    assert sql("SELECT $1::int, $2::int", sqlite="SELECT ?1").sqlite_values == 1
    assert sql("SELECT 1").sqlite_values == 0


def test_arrays_keep_their_positions() -> None:
    statement = sql(
        "SELECT k.a, k.b, k.c FROM unnest($1::text[], $2::uuid[], $3::bool[]) AS k (a, b, c)"
    )
    rows = [("x", bytes(16), True), ("it's", bytes(range(16)), False), (None, None, None)]
    values = sqlite_values([list(column) for column in zip(*rows, strict=True)])
    connection = apsw.Connection(":memory:")
    assert connection.execute(statement.sqlite, values).fetchall() == rows
    connection.close()
