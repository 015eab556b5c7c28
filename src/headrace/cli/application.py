"""All commands under one name. Each module imports what it needs when its command runs."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from headrace.cli.access import key, operator, policy, project
from headrace.cli.automation import command as automation
from headrace.cli.contacts import contacts, groups
from headrace.cli.deliveries import dead_letters, webhooks
from headrace.cli.doctor import command as doctor
from headrace.cli.events import events, export, listen, rejections, send, tail, trigger
from headrace.cli.importing import command as importing
from headrace.cli.messages import domain, mail, messages, suppressions, template
from headrace.cli.push import push, push_app
from headrace.cli.running import serve, worker
from headrace.cli.shared.failure import CommandFailed, ExitCode, usage
from headrace.cli.shared.output import printable
from headrace.cli.upkeep import alerts, backup, bench, compact, copy, migrate, secrets
from headrace.config import SettingError
from headrace.version import VERSION

app = typer.Typer(
    name="headrace",
    help="Accept customer events durably, store each once and deliver it to every subscriber.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"headrace {VERSION}")
        raise typer.Exit


@app.callback()
def main(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Accept customer events durably, store each once and deliver it to every subscriber."""
    del version


app.command("serve")(serve.serve)
app.command("api")(serve.api)
app.command("worker")(worker.worker)
app.command("migrate")(migrate.migrate)
app.command("copy")(copy.copy)
app.command("compact")(compact.compact)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("hold")(backup.hold)
app.command("release")(backup.release)
app.add_typer(secrets.app, name="secrets")
app.command("doctor")(doctor.doctor)
app.add_typer(project.app, name="project")
app.add_typer(key.app, name="key")
app.add_typer(policy.app, name="policy")
app.add_typer(operator.app, name="operator")
app.add_typer(domain.app, name="domain")
app.add_typer(template.app, name="template")
app.add_typer(messages.app, name="messages")
app.add_typer(suppressions.app, name="suppressions")
app.add_typer(mail.app, name="mail")
app.add_typer(push_app.app, name="push-app")
app.add_typer(push.app, name="push")
app.command("send")(send.send)
app.command("trigger")(trigger.trigger)
app.command("tail")(tail.tail)
app.command("listen")(listen.listen)
app.add_typer(events.app, name="events")
app.add_typer(rejections.app, name="rejections")
app.add_typer(contacts.app, name="contacts")
app.add_typer(groups.topics, name="topics")
app.add_typer(groups.audiences, name="audiences")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(automation.app, name="automation")
app.command("import")(importing.import_)
app.command("export")(export.export)
app.command("alerts")(alerts.alerts)
app.command("bench")(bench.bench)


def run() -> None:
    """Run a command; every failure that a user can cause ends in one line and an exit code.

    A mail server that calls `headrace mail bounce` keeps the mail only if the exit code is 75. With
    another one it would return or drop the mail, so a wrong option or setting is 75 as well.
    """
    try:
        _run()
    except SystemExit as ended:
        if sys.argv[1:3] == ["mail", "bounce"] and ended.code not in {None, ExitCode.DONE}:
            sys.exit(ExitCode.TRY_AGAIN)
        raise


def _run() -> None:
    from headrace.store.contract.errors import StoreError, StoreSetupError

    try:
        _check_arguments(sys.argv[1:])
        app()
    except CommandFailed as error:
        _end(str(error), error.code)
    except (SettingError, StoreSetupError) as error:
        _end(str(error), ExitCode.USAGE)
    except StoreError as error:
        _end(str(error), ExitCode.FAILED)
    except BrokenPipeError:
        # The reader of our output has gone; the interpreter must not fail on the flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.FAILED)
    except OSError as error:
        # A full disk or a missing permission: the system's own message is enough.
        name = "" if error.filename is None else f": {error.filename}"
        _end(f"{error.strerror or error}{name}", ExitCode.FAILED)


def _check_arguments(arguments: list[str]) -> None:
    """Reject what is no text: it could be neither sent nor stored.

    Raises:
        CommandFailed: names the argument.
    """
    for number, argument in enumerate(arguments, 1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            shown = argument.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            raise usage(f"Argument {number} is not UTF-8: {printable(shown)[:64]}") from None


def _end(message: str, code: ExitCode) -> None:
    if message:
        typer.echo(f"headrace: {message}", err=True)
    sys.exit(code)
