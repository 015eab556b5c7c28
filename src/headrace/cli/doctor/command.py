"""The doctor command."""

from __future__ import annotations

import platform
from collections.abc import Sequence

import typer

from headrace.cli.doctor.finding import Finding, Level, ok
from headrace.cli.doctor.mail import check_mail
from headrace.cli.doctor.store import check_store
from headrace.cli.doctor.surroundings import check_files, check_port
from headrace.cli.shared.failure import CommandFailed
from headrace.cli.shared.output import AsJson, print_json, printable
from headrace.cli.shared.settings import BOUNCES, with_settings
from headrace.config import Settings


@with_settings(
    *("store", "secret_key", "host", "port", "disk_free_min_bytes"),
    *("public_url", "mail_relay", "mail_bounce_domain", *BOUNCES),
)
def doctor(settings: Settings, as_json: AsJson = False) -> None:
    """Check store, disk, clock, port and mail, and print advice. Works beside a running server.

    Example: headrace doctor --store sqlite:///headrace.db
    """
    findings = [
        *(_release(), *check_store(settings), check_files(), check_port(settings)),
        *check_mail(settings),
    ]
    report(findings, as_json=as_json)


def report(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Print findings.

    Raises:
        CommandFailed: one of them failed.
    """
    failed = sum(finding.level is Level.FAIL for finding in findings)
    if as_json:
        print_json({"ok": not failed, "checks": findings})
    else:
        for finding in findings:
            typer.echo(_line(finding))
    if failed:
        raise CommandFailed("" if as_json else f"{failed} of {len(findings)} checks failed")


def _release() -> Finding:
    from headrace.version import VERSION

    return ok("release", f"headrace {VERSION}, Python {platform.python_version()}")


def _line(finding: Finding) -> str:
    advice = f" -> {finding.advice}" if finding.advice else ""
    return printable(f"{finding.level:4}  {finding.check:10}  {finding.found}{advice}")
