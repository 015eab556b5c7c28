"""Arguments that a shell passes by mistake: no text, empty values, closed streams."""

import json
import os
import subprocess

import pytest

from tests.support.server import HEADRACE, RunningServer, clean_environment, headrace

NOT_UTF8 = os.fsencode("x") + b"\xff"


def run(*arguments: str | bytes, redirect: str = "", **variables: str | bytes) -> tuple[int, str]:
    """Run a command; `redirect` is for its streams. Returns its exit code and standard error."""
    command = [os.fsencode(each) for each in (*HEADRACE, *arguments)]
    script = f'"$@" {redirect}'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *command],
        env={**clean_environment(), **variables},
        capture_output=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize(
    "arguments",
    [
        (NOT_UTF8,),
        ("send", "--event", NOT_UTF8, "--external-id", "u"),
        ("import", NOT_UTF8),
        ("export", "--output", NOT_UTF8),
        ("key", "create", "--project", NOT_UTF8),
        ("send", b"--ev\xff"),
        ("policy", "set", "--project", "default", "placeholder_identifiers", b"\xc3("),
    ],
)
def test_arguments_that_are_not_utf8_end_in_one_line(arguments: tuple[str | bytes, ...]) -> None:
    code, said = run(*arguments)
    assert (code, said.count("\n")) == (2, 1), said
    assert "is not UTF-8" in said


def test_a_setting_that_is_not_utf8_ends_in_one_line() -> None:
    code, said = run("send", "--event", "a", "--external-id", "u", HEADRACE_KEY=NOT_UTF8)
    assert (code, said) == (2, "headrace: --key (HEADRACE_KEY) is not UTF-8\n")


@pytest.mark.parametrize(
    ("arguments", "shell"),
    [
        (("import", "-"), "<&-"),
        (("send", "--event", "a", "--external-id", "u", "--payload", "@-"), "<&-"),
        (("automation", "check", "-"), "<&-"),
    ],
)
def test_closed_standard_input_ends_in_one_line(arguments: tuple[str, ...], shell: str) -> None:
    code, said = run(*arguments, redirect=shell, HEADRACE_KEY="hr_x")
    assert (code, said) == (2, "headrace: Standard input is closed.\n")


@pytest.mark.parametrize(
    ("arguments", "shell", "says"),
    [
        ((), "<&-", "headrace: Standard input is closed.\n"),
        (("--recipient", NOT_UTF8), "", "headrace: Argument 4 is not UTF-8: x\\xff\n"),
    ],
)
def test_a_mail_server_keeps_the_mail_after_a_mistake_of_the_shell(
    arguments: tuple[str | bytes, ...], shell: str, says: str
) -> None:
    code, said = run("mail", "bounce", *arguments, redirect=shell, HEADRACE_KEY="hr_x")
    assert (code, said) == (75, says)


def test_an_export_without_standard_output_ends_in_one_line(server: RunningServer) -> None:
    code, said = run("export", "--store", server.store_url, redirect=">&-")
    assert (code, said) == (2, "headrace: Standard output is closed.\n")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (
            ("send", "--event", "a.b", "--external-id", "u", "--idempotency-key", ""),
            "--idempotency-key",
        ),
        (
            ("send", "--event", "a.b", "--email", "a@b.example", "--external-id", ""),
            "--external-id",
        ),
        (("send", "--event", "a.b", "--external-id", "u", "--email="), "--email"),
        (("send", "--event", "a.b", "--external-id", "u", "--payload", ""), "--payload"),
        (("send", "--event", "a.b", "--external-id", "u", "--occurred-at", ""), "--occurred-at"),
        (("send", "--event", "a.b", "--external-id", "u", "--key", ""), "--key"),
        (("export", "--since", ""), "--since"),
        (("export", "--event", ""), "--event"),
        (("tail", "--event", ""), "--event"),
        (("events", "show", ""), "ID"),
        (("dead-letters", "replay", "--cause", "", "--all"), "--cause"),
    ],
)
def test_empty_values_are_rejected_by_name(
    server: RunningServer, arguments: tuple[str, ...], named: str
) -> None:
    done = headrace(*arguments, env={"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key})
    assert done.returncode == 2
    assert f"{named} is empty" in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1


def test_a_reused_key_with_other_content_is_reported(server: RunningServer) -> None:
    env = {"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key}
    send = ("send", "--event", "a.b", "--external-id", "u", "--idempotency-key", "reused")
    headrace(*send, env=env)

    again = headrace(*send, "--payload", json.dumps({"n": 1}), env=env)

    assert again.returncode == 0
    assert "other content" in again.stderr
    assert headrace(*send, env=env).stderr == ""
