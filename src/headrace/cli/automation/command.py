"""The command group."""

from __future__ import annotations

import typer

from headrace.cli.automation.check import check

app = typer.Typer(help="Check automations.", no_args_is_help=True)
app.command()(check)
