"""`headrace domain`: domains created in the store of a running server."""

from __future__ import annotations

import json

from tests.support.commands import headrace_here
from tests.support.server import RunningServer, headrace


def test_a_domain_is_created_with_its_records(server: RunningServer) -> None:
    arguments = ("domain", "create", "Example.org", "--store", server.store_url)
    relay = ("--mail-relay", "smtps://user:secret@relay.example.net")
    done = headrace(*arguments, "--verified", "--json", *relay)

    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert (made["name"], made["status"]) == ("example.org", "verified")
    values = {record["purpose"]: record["value"] for record in made["records"]}
    assert values["spf"] == "v=spf1 a:relay.example.net ~all"
    assert values["dkim"].startswith("v=DKIM1;")
    again = headrace_here(*arguments)
    assert again.returncode != 0
    assert "already" in again.stderr


def test_an_invalid_domain_or_relay_is_reported_in_one_line(server: RunningServer) -> None:
    store = ("--store", server.store_url)
    done = headrace_here("domain", "create", "localhost", *store)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    for command in (("domain", "create", "example.net"), ("worker",)):
        done = headrace(*command, "--mail-relay", "ftp://u:secret@x", *store)
        assert done.returncode == 2
        assert "HEADRACE_MAIL_RELAY must be" in done.stderr
        assert "secret" not in done.stderr
        assert "Traceback" not in done.stderr


def test_a_warm_up_plan_is_set_shown_and_ended(server: RunningServer) -> None:
    store = ("--store", server.store_url)
    assert headrace_here("domain", "create", "warm.example", *store).returncode == 0
    command = ("domain", "warm-up", "warm.example")
    assert "has no warm-up plan" in headrace_here(*command, *store).stdout
    begun = headrace_here(*command, "--start", "20", "--days", "10", *store)
    assert "day 1 of 10" in begun.stdout, begun.stderr
    assert "0 of 20 mails sent today" in begun.stdout
    changed = json.loads(headrace_here(*command, "--days", "30", "--json", *store).stdout)
    assert (changed["daily_start"], changed["days"], changed["ceiling"]) == (20, 30, 20)
    assert "day 1 of 30" in headrace_here(*command, *store).stdout
    assert "has no warm-up plan" in headrace_here(*command, "--off", *store).stdout
    assert headrace_here(*command, "--off", "--days", "3", *store).returncode == 2
    assert headrace_here(*command, "--start", "0", *store).returncode == 2
    assert headrace_here("domain", "warm-up", "none.example", *store).returncode == 1
