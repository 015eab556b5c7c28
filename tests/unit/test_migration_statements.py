"""Migrations are split into statements, never inside a string."""

from __future__ import annotations

import pytest

from headrace.store.migrations import Migration, migrations


@pytest.mark.parametrize("step", migrations("postgres"), ids=lambda step: step.name)
def test_no_statement_is_cut_inside_a_text(step: Migration) -> None:
    statements = step.statements()
    assert statements
    assert [
        each for each in statements if each.count("'") % 2 or each.count("(") != each.count(")")
    ] == []
    assert {each.split()[0] for each in statements} <= {
        "CREATE",
        "ALTER",
        "INSERT",
        "UPDATE",
        "DROP",
    }


def test_comments_and_blanks_are_no_statements() -> None:
    step = Migration(
        1, "x", "-- first; and more\nCREATE TABLE a ();\n\nINSERT INTO a -- why;\nDEFAULT VALUES;\n"
    )
    assert step.statements() == ["CREATE TABLE a ()", "INSERT INTO a \nDEFAULT VALUES"]


def test_the_body_of_a_function_is_not_cut() -> None:
    body = "$$\nBEGIN\n    RETURN 1;\nEND\n$$"
    step = Migration(1, "x", f"CREATE FUNCTION a() AS {body};\nINSERT INTO a VALUES ('$1');\n")
    assert step.statements() == [f"CREATE FUNCTION a() AS {body}", "INSERT INTO a VALUES ('$1')"]
