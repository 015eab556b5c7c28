"""`headrace automation check`: problems of a definition, before it is sent anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.input import standard_input
from headrace.cli.shared.output import AsJson, print_json, printable

if TYPE_CHECKING:
    from headrace.domain.automations.definition.parsing import Document
    from headrace.domain.automations.definition.publish_checks import Report
    from headrace.domain.automations.problems import Problem

_STDIN = "-"


def check(
    file: Annotated[
        str, typer.Argument(help="JSON file with the automation; - reads standard input.")
    ],
    as_json: AsJson = False,
) -> None:
    """List all problems that would prevent an automation from being published.

    The file contains a definition, or an object with `name` and `definition`. No store or server
    is needed, so whether its templates, domains, topics, audiences and apps exist is not checked.

    Example: headrace automation check examples/abandoned-checkout.json
    """
    from headrace.domain.automations.definition.parsing import parse_document
    from headrace.domain.automations.definition.publish_checks import Report, check_for_publish

    document = parse_document(read_file(file))
    if document.definition is None:
        report = Report(tuple(document.problems.found), ())
    else:
        report = check_for_publish(document.definition, document.field, document.problems)
    if as_json:
        print_json(
            {
                "ok": not report.problems,
                "name": document.name,
                "sha256": document.sha256 if document.text else None,
                "problems": report.problems,
                "problems_left_out": document.problems.left_out,
                "warnings": report.warnings,
                "rewritten": document.rewritten,
            }
        )
    else:
        _print(document, report)
    if report.problems:
        raise CommandFailed("" if as_json else _verdict(len(document.problems)))


def read_file(file: str) -> bytes:
    """The file, or as much of it as proves that it is too large."""
    from headrace.domain.automations.limits import DOCUMENT_BYTES_MAX

    if file == _STDIN:
        return standard_input().read(DOCUMENT_BYTES_MAX + 1)
    try:
        with Path(file).open("rb") as source:
            return source.read(DOCUMENT_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        message = f"Cannot read {printable(file)}: {reason}"
        raise usage(message) from None


def _print(document: Document, report: Report) -> None:
    for word in document.rewritten:
        typer.echo(f"rewritten  {word.field}: {printable(word.was)} is now {word.now}")
    for each in report.problems:
        typer.echo(problem_line("problem", each))
    if document.problems.left_out:
        typer.echo(f"problem    and {document.problems.left_out} more")
    for each in report.warnings:
        typer.echo(problem_line("warning", each))
    if not report.problems and document.definition is not None:
        name = f"{document.name!r}" if document.name else "The automation"
        steps = len(document.definition.steps)
        plural = "" if steps == 1 else "s"
        typer.echo(printable(f"{name} can be published: {steps} step{plural}, no problems."))
        typer.echo(
            "Whether what it refers to exists (templates, domains, topics, audiences, push apps) "
            "is checked when it is published."
        )


def problem_line(level: str, problem: Problem) -> str:
    """One line about a problem or warning."""
    where = problem.field or "the file"
    step = f" (step {problem.step})" if problem.step else ""
    return printable(f"{level:9}  {where}{step}: {problem.message} [{problem.code}]")


def _verdict(count: int) -> str:
    problems = "1 problem keeps" if count == 1 else f"{count} problems keep"
    return f"{problems} the automation from being published."
