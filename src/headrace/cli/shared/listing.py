"""Lists of the API, read page by page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from headrace.cli.shared.http_client import Client, ask, client_of
from headrace.cli.shared.output import print_json, print_rows
from headrace.config import Settings

LIMIT_MAX = 10_000
_PAGE = 200

#: The `--limit` option of lists.
Limit = Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="Maximum number of results.")]


def listed(client: Client, path: str, query: Mapping[str, str], limit: int) -> list[dict[str, Any]]:
    """Up to `limit` items of a list, in its order; empty values of `query` are left out.

    Raises:
        CommandFailed: the server rejects the request or cannot be reached.
    """
    given = {name: value for name, value in query.items() if value}
    found: list[dict[str, Any]] = []
    cursor = ""
    while len(found) < limit:
        page = given | {"limit": str(min(_PAGE, limit - len(found)))}
        if cursor:
            page["cursor"] = cursor
        response = ask(client, "GET", f"{path}?{urlencode(page)}").json()
        found += response["data"]
        cursor = response["next_cursor"] or ""
        if not cursor:
            break
    return found


def print_list(
    settings: Settings,
    path: str,
    query: Mapping[str, str],
    columns: Sequence[str],
    *,
    limit: int,
    as_json: bool,
) -> None:
    """Print a list of the API: all fields as JSON, or some of them as columns."""
    found = listed(client_of(settings), path, query, limit)
    if as_json:
        print_json(found)
        return
    rows = [[cell(each.get(name)) for name in columns] for each in found]
    print_rows([name.upper() for name in columns], rows)


def cell(value: Any) -> str:
    """A value in a column."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
