"""Every setting: flag, environment variable, type, unit and default in one table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

PREFIX = "HEADRACE_"


class SettingError(ValueError):
    """An invalid setting; the message names it, what was expected and what was found."""


class Setting(msgspec.Struct, frozen=True):
    """One setting; `HEADRACE_<NAME>` sets it, `HEADRACE_<NAME>_FILE` names a file that holds it."""

    name: str
    type: type
    default: Any
    help: str
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()


SETTINGS = (
    Setting("store", str, "sqlite:///headrace.db", "URL of the store."),
    Setting(
        "secret_key",
        str,
        "",
        "Key that seals secrets in the store; after it, separated by commas, older keys that still "
        "open them.",
    ),
    Setting(
        "postgres_connections_max",
        int,
        10,
        "PostgreSQL connections per process, besides the few that commit events.",
        2,
        200,
    ),
    Setting(
        "postgres_statements_kept",
        int,
        200,
        "Prepared statements cached per PostgreSQL connection; 0 behind PgBouncer that pools "
        "transactions.",
        0,
        10_000,
    ),
    Setting("host", str, "127.0.0.1", "Address to listen on."),
    Setting("port", int, 8080, "Port to listen on; 0 lets the system choose.", 0, 65535),
    Setting(
        "disk_free_min_bytes",
        int,
        256 * 1024 * 1024,
        "Ingest is rejected while the disk of the embedded store has fewer free bytes.",
        0,
    ),
    Setting("log_level", str, "info", "Minimum log level: debug, info, warning, error."),
    Setting("log_format", str, "auto", "json, console, or auto: console at a terminal."),
    Setting(
        "handlers",
        str,
        "",
        "Python modules with handlers: dotted names separated by commas.",
    ),
    Setting(
        "webhook_allow_networks",
        str,
        "",
        "Private networks that webhooks may call, such as 127.0.0.0/8,10.1.0.0/16.",
    ),
    Setting(
        "backoffice",
        str,
        "on",
        "Whether the pages for operators at /backoffice are served: on or off.",
        choices=("on", "off"),
    ),
    Setting(
        "public_url",
        str,
        "",
        "Public address of the server, such as https://events.example.org.",
    ),
    Setting(
        "mail_relay",
        str,
        "capture:",
        "Where mail is sent: capture: stores it and sends nothing; else "
        "smtp+starttls://user:password@host:587, smtps:// or smtp://.",
    ),
    Setting(
        "mail_connections_max",
        int,
        4,
        "Mails that one worker sends at the same time; after a crash at most this many have an "
        "unknown outcome.",
        1,
        100,
    ),
    Setting(
        "mail_bounce_domain",
        str,
        "",
        "Domain of the bounce addresses; without it bounces go to the sender.",
    ),
    Setting(
        "mail_bounce_imap",
        str,
        "",
        "Mailbox that bounces are read from, such as imaps://user:password@host/INBOX.",
    ),
    Setting(
        "mail_bounce_listen",
        str,
        "",
        "Where bounces are accepted, such as lmtp://127.0.0.1:2424; smtp:// for a mail server.",
    ),
    Setting(
        "mail_ses_topics",
        str,
        "",
        "ARNs of the SNS topics that Amazon SES publishes to, separated by commas.",
    ),
    Setting(
        "mail_postmark_login",
        str,
        "",
        "user:password in the address of the webhook given to Postmark.",
    ),
    Setting(
        "mail_resend_secrets",
        str,
        "",
        "Signing secrets of webhooks of Resend, whsec_…, separated by commas.",
    ),
    Setting("alert_webhook_url", str, "", "Webhook that gets the start and end of each alert."),
    Setting("alert_webhook_secret", str, "", "Secret that signs it, such as whsec_…"),
    Setting(
        "alert_mail_to",
        str,
        "",
        "Addresses that get the same by mail, separated by commas; needs a relay.",
    ),
    Setting("alert_mail_from", str, "", "Sender of these mails."),
    Setting(
        "push_hosts",
        str,
        "fcm.googleapis.com,*.push.services.mozilla.com,*.push.apple.com,*.notify.windows.com",
        "Push services that may be called: hosts, *. and a name for all hosts under it, or origins "
        "such as http://127.0.0.1:8090.",
    ),
    Setting(
        "push_subject",
        str,
        "",
        "Contact for push services: a mailto: or https: URL; without it the public URL if that is "
        "https.",
    ),
    Setting(
        "push_registrations_max",
        int,
        10_000,
        "New devices that one address may register in an hour.",
        1,
    ),
    Setting(
        "push_devices_max",
        int,
        1_000_000,
        "Devices that one push app may have.",
        1,
    ),
    Setting(
        "compat",
        str,
        "segment",
        "Client libraries of other services that are served, separated by commas: segment; empty "
        "for none.",
    ),
    Setting(
        "trusted_proxies",
        str,
        "",
        "Networks of trusted proxies, whose X-Forwarded-For is used, such as 10.0.0.0/8.",
    ),
    Setting("url", str, "http://127.0.0.1:8080", "Server that send, import, export and tail use."),
    Setting("key", str, "", "API key for those commands."),
)
#: Values of the setting `compat`: services whose client libraries are served.
COMPAT_FAMILIES = ("segment",)
_BY_NAME = {setting.name: setting for setting in SETTINGS}
#: Read elsewhere: fail points of tests, and the secret of `headrace listen`.
_OTHER_VARIABLES = frozenset({"HEADRACE_FAIL_POINT", "HEADRACE_LISTEN_SECRET"})


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Checked values of all settings."""

    store: str
    secret_key: str
    postgres_connections_max: int
    postgres_statements_kept: int
    host: str
    port: int
    disk_free_min_bytes: int
    log_level: str
    log_format: str
    handlers: str
    webhook_allow_networks: str
    backoffice: str
    public_url: str
    mail_relay: str
    mail_connections_max: int
    mail_bounce_domain: str
    mail_bounce_imap: str
    mail_bounce_listen: str
    mail_ses_topics: str
    mail_postmark_login: str
    mail_resend_secrets: str
    alert_webhook_url: str
    alert_webhook_secret: str
    alert_mail_to: str
    alert_mail_from: str
    push_hosts: str
    push_subject: str
    push_registrations_max: int
    push_devices_max: int
    compat: str
    trusted_proxies: str
    url: str
    key: str


def load_settings(flags: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """Combine flags (None: not given), environment and defaults, in that order.

    Raises:
        SettingError: a value cannot be used, or a `HEADRACE_` variable is unknown.
    """
    _reject_unknown(environ)
    values = {}
    for setting in SETTINGS:
        value = flags.get(setting.name)
        values[setting.name] = (
            _from_environment(setting, environ) if value is None else _checked(setting, value)
        )
    return Settings(**values)


def compat_families(text: str) -> frozenset[str]:
    """The services named by the setting `compat`.

    Raises:
        SettingError: one of them is unknown.
    """
    families = frozenset(name for part in text.split(",") if (name := part.strip().lower()))
    for name in sorted(families.difference(COMPAT_FAMILIES)):
        message = (
            f"{_named(_BY_NAME['compat'])} must be names out of {', '.join(COMPAT_FAMILIES)}, "
            f"separated by commas, got {name!r}"
        )
        raise SettingError(message)
    return families


def variable(setting: Setting) -> str:
    """Name of a setting's environment variable."""
    return PREFIX + setting.name.upper()


def flag(setting: Setting) -> str:
    """Name of a setting's flag."""
    return "--" + setting.name.replace("_", "-")


def _named(setting: Setting) -> str:
    return f"{flag(setting)} ({variable(setting)})"


def _reject_unknown(environ: Mapping[str, str]) -> None:
    known = {variable(setting) for setting in SETTINGS} | _OTHER_VARIABLES
    for name in environ:
        if name.startswith(PREFIX) and name.removesuffix("_FILE") not in known:
            message = f"{name} is not a setting of headrace; known: {', '.join(sorted(known))}"
            raise SettingError(message)


def _from_environment(setting: Setting, environ: Mapping[str, str]) -> Any:
    name = variable(setting)
    if name in environ and f"{name}_FILE" in environ:
        message = f"{name} and {name}_FILE are both set; keep one"
        raise SettingError(message)
    if f"{name}_FILE" in environ:
        path = Path(environ[f"{name}_FILE"])
        try:
            return _checked(setting, path.read_text("utf-8").strip())
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
            message = f"{name}_FILE: {path} cannot be read: {reason}"
            raise SettingError(message) from None
    return _checked(setting, environ.get(name, setting.default))


def _checked(setting: Setting, value: Any) -> Any:
    if setting.choices and value not in setting.choices:
        message = f"{_named(setting)} must be {' or '.join(setting.choices)}, got {value!r}"
        raise SettingError(message)
    if setting.type is not int:
        text = str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            message = f"{_named(setting)} is not UTF-8"
            raise SettingError(message) from None
        return text
    try:
        number = int(value)
    except ValueError:
        message = f"{_named(setting)} must be a whole number, got {value!r}"
        raise SettingError(message) from None
    too_low = setting.minimum is not None and number < setting.minimum
    if too_low or (setting.maximum is not None and number > setting.maximum):
        most = "" if setting.maximum is None else f" and at most {setting.maximum}"
        message = f"{_named(setting)} must be at least {setting.minimum}{most}, got {number}"
        raise SettingError(message)
    return number
