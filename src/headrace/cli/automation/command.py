"""The command group."""

from __future__ import annotations

import typer

from headrace.cli.automation import definitions, operations, pausing, runs, versions
from headrace.cli.automation.check import check
from headrace.cli.automation.explain import explain

app = typer.Typer(
    help="Create, publish and check automations, and see their runs.", no_args_is_help=True
)
app.command("list")(definitions.list_)
app.command()(definitions.create)
app.command()(definitions.publish)
app.command()(definitions.show)
app.command()(pausing.pause)
app.command()(pausing.resume)
app.command()(definitions.archive)
app.command()(versions.versions)
app.command()(versions.diff)
app.command()(versions.restore)
app.command()(versions.duplicate)
app.command()(runs.runs)
app.command()(runs.run)
app.command()(runs.rejected)
app.command()(runs.stats)
app.command()(operations.cancel_run)
app.command()(operations.retry_run)
app.command()(operations.cancel_runs)
app.command()(operations.retry_runs)
app.command()(versions.migrate_runs)
app.command()(operations.forget_entries)
app.command()(explain)
app.command()(check)
