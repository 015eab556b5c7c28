"""Turns rows of the settings table into flags of commands, so that every setting has one."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Annotated, Any

import typer

from headrace.cli.shared.failure import usage
from headrace.config import SETTINGS, Setting, Settings, flag, load_settings, variable

#: Names of settings, grouped by what a command does.
STORE = ("store", "secret_key", "postgres_connections_max", "postgres_statements_kept")
#: The mail relay, and the base address of links in mail.
MAIL = (
    *("public_url", "mail_relay", "mail_connections_max", "mail_bounce_domain"),
    *("mail_bounce_imap", "mail_ses_topics", "mail_postmark_login"),
)
#: How mail that came back is accepted over the network.
INTAKE = ("mail_bounce_listen", "mail_resend_secrets")
#: All ways in which mail and webhooks come back.
BOUNCES = ("mail_bounce_imap", "mail_ses_topics", "mail_postmark_login", *INTAKE)
#: Web Push.
PUSH = ("push_hosts", "push_subject")
SERVER = (
    "host",
    "port",
    *STORE,
    "disk_free_min_bytes",
    "webhook_allow_networks",
    "backoffice",
    *MAIL,
    *INTAKE,
    *PUSH,
    "push_registrations_max",
    "push_devices_max",
    "compat",
    "trusted_proxies",
    *("alert_webhook_url", "alert_webhook_secret", "alert_mail_to", "alert_mail_from"),
    "log_level",
    "log_format",
)
SERVE = (*SERVER, "handlers")
WORKER = (*STORE, "handlers", "webhook_allow_networks", *MAIL, *PUSH, "log_level", "log_format")
#: Public address of the server, for links to hand out.
LINK = ("public_url", "url")
CLIENT = ("url", "key")

_BY_NAME = {setting.name: setting for setting in SETTINGS}


def with_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command flags for these settings.

    The command gets the checked `Settings` as its first argument; its other parameters are its
    own flags and arguments.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        _, *own = inspect.signature(command, eval_str=True).parameters.values()

        def run(context: typer.Context, **values: Any) -> None:
            _reject_empty(context, values)
            flags = {name: values.pop(name) for name in names}
            command(load_settings(flags, os.environ), **values)

        parameters = [
            inspect.Parameter(
                "context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
            ),
            *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own),
            *(_flag(_BY_NAME[name]) for name in names),
        ]
        # Typer reads order from the signature and types from the annotations.
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        run.__doc__ = command.__doc__
        run.__name__ = command.__name__
        run.__module__ = command.__module__
        return run

    return decorate


def _reject_empty(context: typer.Context, values: dict[str, Any]) -> None:
    """Reject an optional value that was given but is empty, mostly an unset variable of the shell.

    Taken as not given, `--idempotency-key "$KEY"` would send an event without a key.

    Raises:
        CommandFailed: names the option.
    """
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if values.get(name) == "" and source is not None and source.name == "COMMANDLINE":
            label = parameter.opts[0]
            if not label.startswith("-"):
                label = (parameter.metavar or label).strip("[]").upper()
            raise usage(f"{label} is empty. Is a variable not set? Omit it if none is meant.")


def given(settings: Settings, name: str) -> bool:
    """Whether the setting was given, rather than left at its default."""
    return bool(getattr(settings, name) != _BY_NAME[name].default)


def _flag(setting: Setting) -> inspect.Parameter:
    default = "" if setting.default == "" else f" [default: {setting.default}]"
    option = typer.Option(
        flag(setting),
        help=f"{setting.help} [env: {variable(setting)}]{default}",
        show_default=False,
        rich_help_panel="Settings",
    )
    annotation = Annotated[setting.type | None, option]  # type: ignore[name-defined]
    return inspect.Parameter(
        setting.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )
