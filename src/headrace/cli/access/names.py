"""Names given on the command line."""

from __future__ import annotations

from headrace.cli.shared.failure import usage
from headrace.domain.access.names import name_problem


def check_name(text: str, what: str) -> str:
    """Return a name that is fit for display.

    Raises:
        CommandFailed: empty, too long, or with invisible characters.
    """
    if problem := name_problem(text):
        raise usage(f"{what} {problem}")
    return text
