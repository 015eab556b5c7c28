"""Mail commands beside a running server: templates, messages, suppressions, emergency stop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import headrace_here
from tests.support.server import RunningServer, headrace
from tests.support.waiting import wait_until

LATER = "2027-10-01T00:00:00Z"


def run(server: RunningServer, *arguments: str) -> Any:
    done = headrace_here(*arguments, "--json", "--store", server.store_url)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def text_of(server: RunningServer, *arguments: str) -> str:
    done = headrace_here(*arguments, "--store", server.store_url)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(server: RunningServer, *arguments: str, code: int = 2) -> str:
    done = headrace_here(*arguments, "--store", server.store_url)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def mail(server: RunningServer, to: str, **members: Any) -> str:
    body = {"from": "x@example.org", "to": [to], "subject": "Hello", "text": "Hi."}
    return str(server.ask("/emails", {**body, **members})["data"]["messages"][0]["id"])


def wait_for(server: RunningServer, message_id: str, status: str) -> None:
    target = f"/messages/{message_id}"
    wait_until(
        lambda: server.ask(target)["data"]["status"] == status, f"{message_id} is not {status}"
    )


def test_a_suppressed_address_shows_why_nothing_was_sent(server: RunningServer) -> None:
    added = run(server, "suppressions", "add", "Ann@B.example", "--reason", "asked us")
    assert (added["email"], added["scope"], added["created_by"]) == ("ann@b.example", "all", "cli")
    listed = run(server, "suppressions", "list", "--email", "ANN@b.example")
    assert listed == [added]
    assert "ann@b.example" in text_of(server, "suppressions", "list", "--reason", "manual")
    message_id = mail(server, "ann@b.example")
    wait_for(server, message_id, "skipped")

    shown = text_of(server, "messages", "show", message_id)
    assert "the address is on the suppression list" in shown
    assert "  suppression    skip   suppressed_manual, scope all" in shown.splitlines()
    assert "attempts: none" in shown
    (line,) = text_of(server, "messages", "list", "--email", "ann@b.example").splitlines()[1:]
    assert line.split()[2:4] == ["skipped", "ann@b.example"]
    assert len(run(server, "suppressions", "remove", "ann@b.example")) == 1
    refused(server, "suppressions", "remove", "ann@b.example", code=1)
    refused(server, "suppressions", "add", "nobody")
    refused(server, "suppressions", "remove", "x")


def test_a_suppression_list_is_imported_and_exported(server: RunningServer, tmp_path: Path) -> None:
    file = tmp_path / "bounces.csv"
    text = "Email Address;CLEAN_TIME\nimported@b.example;2024-01-02 03:04:05\nnobody;\n"
    file.write_bytes(text.encode("utf-16"))
    done = headrace_here("suppressions", "import", str(file), "--store", server.store_url)
    assert (done.returncode, done.stdout) == (1, "1 added, 0 already listed, 1 rejected\n")
    assert done.stderr.startswith("line 3: the address 'nobody' ")
    written = tmp_path / "out.csv"
    text_of(server, "suppressions", "export", "--output", str(written))
    assert "imported@b.example,hard_bounce,all" in written.read_text("utf-8")
    assert "imported@b.example" in text_of(server, "suppressions", "export")
    assert run(server, "suppressions", "import", str(written))["added"] == 0
    refused(server, "suppressions", "export", "--output", str(written), code=1)
    file.write_bytes(b"email\n\xe9@b.example\n")
    refused(server, "suppressions", "import", str(file), code=1)
    run(server, "suppressions", "remove", "imported@b.example")


def test_a_sent_message_shows_its_attempt(server: RunningServer) -> None:
    message_id = mail(server, "bob@b.example")
    wait_for(server, message_id, "sent")
    shown = text_of(server, "messages", "show", message_id).splitlines()
    assert shown[0] == "The relay accepted it."
    assert "composed: done" in shown
    assert "guardrails, at the last hand-over:" in shown
    assert any(line.startswith("  1  ") and " sent" in line for line in shown)
    refused(server, "messages", "cancel", message_id, code=1)
    refused(server, "messages", "show", "x")
    refused(server, "messages", "show", "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10", code=1)
    refused(server, "messages", "list", "--email", "nobody")


def test_commands_are_processes_with_codes(server: RunningServer) -> None:
    """The other tests of this file run commands in their own process."""
    store = ("--store", server.store_url)
    listed = headrace("suppressions", "list", "--json", *store)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert isinstance(json.loads(listed.stdout), list)
    failed = headrace("suppressions", "remove", "nobody@b.example", *store)
    wrong = headrace("suppressions", "add", "nobody", *store)
    for done, code in ((failed, 1), (wrong, 2)):
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
        assert "Traceback" not in done.stderr


def test_a_template_is_made_of_files_and_published(server: RunningServer, tmp_path: Path) -> None:
    html = tmp_path / "welcome.html"
    html.write_text("<p>Hello {{ first_name | default: 'you' }}</p>")
    made = run(server, "template", "create", "Welcome", "--subject", "Hi", "--html", str(html))
    assert (made["status"], made["versions"]) == ("draft", 0)
    refused(server, "template", "create", "Welcome", "--subject", "Hi", code=1)
    published = run(server, "template", "publish", "Welcome")
    assert published["version_number"] == 1
    assert run(server, "template", "list", "--status", "active")[0]["name"] == "Welcome"
    html.write_bytes(b"\xff")
    refused(server, "template", "create", "Other", "--subject", "Hi", "--html", str(html))
    html.write_text("{% if %}")
    wrong = ("template", "create", "Broken", "--subject", "Hi", "--html", str(html), "--publish")
    assert "rendered_html" in refused(server, *wrong)
    refused(server, "template", "publish", "Nothing", code=1)


def test_a_waiting_message_is_cancelled(server: RunningServer) -> None:
    message_id = mail(server, "eve@b.example", scheduled_at=LATER)
    assert run(server, "messages", "cancel", message_id)["status"] == "cancelled"
    assert [one["id"] for one in run(server, "messages", "list", "--status", "cancelled")] == [
        message_id
    ]


def test_unknown_messages_are_settled(server: RunningServer) -> None:
    assert text_of(server, "messages", "settle", "--all", "--as", "failed") == (
        "Settled as failed: 0\n"
    )
    message_id = mail(server, "kim@b.example", scheduled_at=LATER)
    refused(server, "messages", "settle", message_id, "--as", "sent", code=1)
    refused(server, "messages", "settle", message_id)
    refused(server, "messages", "settle", "--as", "sent")


def test_sending_is_stopped_and_resumed(server: RunningServer) -> None:
    assert text_of(server, "mail", "pause") == "sending_paused: none -> mail\n"
    message_id = mail(server, "dan@b.example")
    shown = run(server, "messages", "show", message_id)
    assert [one["reason"] for one in shown["guardrails"]] == ["sending_paused"]
    assert text_of(server, "mail", "resume") == "sending_paused: mail -> none\n"
    wait_for(server, message_id, "sent")


def test_domains_are_stopped_one_by_one(server: RunningServer) -> None:
    assert run(server, "mail", "pause", "--domain", "Example.org")["to"] == ["example.org"]
    assert run(server, "mail", "pause", "--domain", "a.example")["to"] == [
        "a.example",
        "example.org",
    ]
    assert run(server, "mail", "resume", "--domain", "a.example")["to"] == ["example.org"]
    assert run(server, "mail", "pause")["to"] == ["mail", "example.org"]
    assert run(server, "mail", "resume")["to"] == ["example.org"]
    assert run(server, "mail", "resume", "--channel", "all")["to"] == "none"
    refused(server, "mail", "pause", "--domain", "localhost")
    refused(server, "mail", "pause", "--channel", "fax")


def test_mail_doctor_checks_the_set_up(server: RunningServer) -> None:
    assert "mail relay" in text_of(server, "mail", "doctor", "--project", "default")
    refused(server, "mail", "doctor", "--domain", "other.invalid", code=1)
    refused(server, "mail", "doctor", "--domain", "localhost")


def test_a_domain_without_records_is_not_verified(server: RunningServer) -> None:
    run(server, "domain", "create", "list.invalid", "--verified")
    listed = run(server, "domain", "list")
    assert [(one["name"], one["status"], one["verified_by"]) for one in listed] == [
        ("list.invalid", "verified", "cli")
    ]
    refused(server, "domain", "verify", "other.invalid", code=1)


@pytest.mark.parametrize(
    ("settings", "check", "level", "found"),
    [
        ((), "mail relay", "ok", "none is sent"),
        (("--mail-relay", "ftp://x"), "mail relay", "fail", "HEADRACE_MAIL_RELAY must be"),
        (("--mail-relay", "smtp://r.example"), "mail links", "warn", "this machine alone"),
        (
            ("--mail-relay", "smtp://r.example", "--public-url", "http://127.0.0.1:8080"),
            "mail links",
            "warn",
            "this machine alone",
        ),
        (
            ("--mail-relay", "smtp://r.example", "--public-url", "http://h.example"),
            "mail links",
            "warn",
            "not encrypted",
        ),
        (
            ("--mail-relay", "smtp://r.example", "--public-url", "https://h.example"),
            "mail links",
            "ok",
            "https://h.example",
        ),
    ],
)
def test_doctor_says_where_mail_goes(
    server: RunningServer, settings: tuple[str, ...], check: str, level: str, found: str
) -> None:
    port = ("--port", str(server.port))
    done = headrace_here("doctor", "--json", "--store", server.store_url, *port, *settings)
    checks = {one["check"]: one for one in json.loads(done.stdout)["checks"]}
    assert checks[check]["level"] == level
    assert found in checks[check]["found"]


def dsn(message_id: str) -> str:
    return (
        "From: MAILER-DAEMON@relay.example\nTo: x@example.org\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
        "--b\nContent-Type: message/delivery-status\n\n"
        f"Reporting-MTA: dns; relay.example\nOriginal-Envelope-Id: {message_id}\n\n"
        "Final-Recipient: rfc822; cleo@b.example\nAction: failed\nStatus: 5.1.1\n\n--b--\n"
    )


def test_a_bounce_is_passed_on_and_listed(server: RunningServer) -> None:
    message_id = mail(server, "cleo@b.example")
    wait_for(server, message_id, "sent")
    env = {"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key}
    done = headrace("mail", "bounce", "--recipient", "x@y.org", env=env, stdin=dsn(message_id))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"hard: suppressed (message {message_id})\n"
    again = headrace("mail", "bounce", "--json", env=env, stdin=dsn(message_id))
    (listed,) = run(server, "mail", "notifications", "--message", message_id)
    assert json.loads(again.stdout)["id"] == listed["id"]
    assert (listed["kind"], listed["effect"], listed["intake"]) == ("hard", "suppressed", "command")
    line = text_of(server, "mail", "notifications", "--kind", "hard").splitlines()[1]
    assert line.split()[1:3] == ["hard", "suppressed"]
    assert run(server, "mail", "notifications", "--effect", "delivered") == []
    refused(server, "mail", "notifications", "--message", "x")


@pytest.mark.parametrize(
    "env",
    [
        {"HEADRACE_URL": "http://127.0.0.1:1", "HEADRACE_KEY": "hr_x"},
        {"HEADRACE_KEY": "hr_wrong"},
        {},
    ],
)
def test_a_bounce_that_is_not_taken_stays_with_the_mail_server(
    server: RunningServer, env: dict[str, str]
) -> None:
    """75 makes a mail server keep the mail; any other status would return or drop it."""
    done = headrace(
        "mail", "bounce", env={"HEADRACE_URL": server.url, **env}, stdin="x" * 3_000_000
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (75, "", 1), done.stderr


@pytest.mark.parametrize(
    ("options", "env", "says"),
    [
        (("--recipient", ""), {}, "--recipient is empty"),
        (("--recipent", "x@y.org"), {}, "--recipent"),
        ((), {"HEADRACE_URL": "nowhere", "HEADRACE_KEY": "hr_x"}, "not a server URL"),
        ((), {"HEADRACE_KYE": "x"}, "HEADRACE_KYE is not a setting"),
    ],
)
def test_a_bounce_stays_with_the_mail_server_if_the_command_is_set_up_wrongly(
    options: tuple[str, ...], env: dict[str, str], says: str
) -> None:
    done = headrace("mail", "bounce", *options, env=env, stdin="a mail")
    assert (done.returncode, done.stdout) == (75, "")
    assert says in done.stderr
