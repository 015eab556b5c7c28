"""`headrace alerts`: what is wrong now, in all projects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from headrace.cli.shared.output import AsJson, print_json, print_rows
from headrace.cli.shared.settings import STORE, with_settings
from headrace.cli.shared.stores import in_store
from headrace.config import Settings
from headrace.store.store import Store

if TYPE_CHECKING:
    from headrace.store.upkeep.alerts import Alert


@with_settings(*STORE)
def alerts(settings: Settings, as_json: AsJson = False) -> None:
    """Show open alerts of all projects and of the instance, and what to do about them.

    Example: headrace alerts --json
    """
    from headrace.domain.timestamps import to_text

    async def work(store: Store) -> tuple[list[Alert], dict[int, str]]:
        names = {one.id: one.name for one in await store.projects.list()}
        return list(await store.alerts.current()), names

    found, names = in_store(settings, work)
    shown = [
        {
            "id": one.id,
            "project": names.get(one.project_id),
            "kind": one.kind.value,
            "subject": one.subject,
            "title": one.title,
            "detail": one.detail,
            "fix": one.fix,
            "started_at": to_text(one.started_us or 0),
        }
        for one in found
    ]
    if as_json:
        print_json(shown)
        return
    if not shown:
        typer.echo("No alert is open.")
        return
    columns = ("started_at", "project", "kind", "detail")
    rows = [[str(one[name] or "-") for name in columns] for one in shown]
    print_rows([name.upper() for name in columns], rows)
    for kind in sorted({one.kind for one in found}):
        typer.echo(f"{kind.value}: {next(one.fix for one in found if one.kind is kind)}")
