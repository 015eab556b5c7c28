"""`headrace operator`: tokens are shown once, and only the last one is valid."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.domain.access.operators import TOKEN_CHARACTERS, split_token


def headrace(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")}
    return subprocess.run(
        [sys.executable, "-m", "headrace", *arguments, "--store", f"sqlite:///{folder}/h.db"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=60,
    )


def test_create_prints_the_token_alone_and_the_store_keeps_no_secret(tmp_path: Path) -> None:
    done = headrace(tmp_path, "operator", "create", "--email", "You@X.org")

    token = done.stdout.removesuffix("\n")
    assert (done.returncode, len(token)) == (0, TOKEN_CHARACTERS)
    assert split_token(token.encode()) is not None
    assert "you@x.org" in done.stderr
    secret = token.rpartition("_")[2].encode()
    files = [path.read_bytes() for path in tmp_path.iterdir() if path.is_file()]
    assert not any(secret in data for data in files)


def test_an_address_has_one_operator_whose_token_can_be_replaced(tmp_path: Path) -> None:
    first = headrace(tmp_path, "operator", "create", "--email", "you@x.org", "--json")
    again = headrace(tmp_path, "operator", "create", "--email", "YOU@x.org")
    reset = headrace(tmp_path, "operator", "reset-token", "--email", "you@x.org", "--json")
    listed = headrace(tmp_path, "operator", "list", "--json")

    assert (again.returncode, again.stdout) == (1, "")
    assert "reset-token" in again.stderr
    assert json.loads(first.stdout)["token"] != json.loads(reset.stdout)["token"]
    (operator,) = json.loads(listed.stdout)
    assert (operator["id"], operator["email"]) == (json.loads(reset.stdout)["id"], "you@x.org")
    assert "token" not in operator


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("create", "--email", "nobody"), 2),
        (("create",), 2),
        (("reset-token", "--email", "absent@x.org"), 2),
        (("reset-password", "--email", "absent@x.org"), 2),
        (("reset-password", "--email", "nobody"), 2),
    ],
)
def test_an_impossible_request_ends_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], status: int
) -> None:
    done = headrace(tmp_path, "operator", *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert "Traceback" not in done.stderr


def test_a_password_is_set_by_a_link_that_is_printed_alone(tmp_path: Path) -> None:
    made = headrace(tmp_path, "operator", "create", "--email", "you@x.org", "--json")
    public = ("--public-url", "https://events.example.org")
    again = headrace(tmp_path, "operator", "reset-password", "--email", "You@X.org", *public)
    absent = headrace(tmp_path, "operator", "reset-password", "--email", "absent@x.org")

    first = json.loads(made.stdout)["sign_in"]
    second = again.stdout.removesuffix("\n")
    assert first.startswith("http://127.0.0.1:8080/backoffice/welcome/")
    assert second.startswith("https://events.example.org/backoffice/welcome/")
    assert first.rpartition("/")[2] != second.rpartition("/")[2]
    files = [path.read_bytes() for path in tmp_path.iterdir() if path.is_file()]
    assert not any(second.rpartition("/")[2].encode() in data for data in files)
    assert (absent.returncode, absent.stdout) == (1, "")
