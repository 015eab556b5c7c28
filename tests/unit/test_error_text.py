"""The command line's message for an error response."""

import json

import pytest

from headrace.cli.shared.http_client import error_text
from headrace.domain.errors import FieldProblem, invalid
from headrace.http.server.wire import error_body


@pytest.mark.parametrize(
    ("problems", "expected"),
    [
        ([("", "one of a and b is required")], "one of a and b is required"),
        ([("email", "is wrong")], "email: is wrong"),
        (
            [("", "one of a and b is required"), ("x", "is unknown")],
            "one of a and b is required (and 1 more) (one of a and b is required; x: is unknown)",
        ),
    ],
)
def test_problem_appears_once_without_empty_fields(
    problems: list[tuple[str, str]], expected: str
) -> None:
    body = error_body(invalid(*(FieldProblem(*each) for each in problems)))
    assert error_text(json.loads(body)) == f"ValidationError: {expected}"
