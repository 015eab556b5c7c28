"""The `headrace` command."""

from __future__ import annotations


def main() -> None:
    """Entry point of the installed command."""
    from headrace.cli.application import run

    run()
