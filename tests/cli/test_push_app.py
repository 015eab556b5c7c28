"""`headrace push-app`: apps created in the store of a running server."""

from __future__ import annotations

import json
import uuid

from tests.support.commands import headrace_here
from tests.support.server import RunningServer, headrace


def test_an_app_is_created_and_listed(server: RunningServer) -> None:
    store = ("--store", server.store_url)
    arguments = ("push-app", "create", "Shop", "--origin", "https://Shop.example.org/", *store)
    done = headrace(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["origins"] == ["https://shop.example.org"]
    assert len(made["public_key"]) == 87
    listed = headrace_here("push-app", "list", "--json", *store)
    assert [each["app_id"] for each in json.loads(listed.stdout)] == [made["app_id"]]
    assert made["app_id"] in headrace_here("push-app", "list", *store).stdout
    again = headrace_here(*arguments)
    assert (again.returncode, "another push app" in again.stderr) == (1, True)
    bad = headrace_here("push-app", "create", "Other", "--origin", "shop", *store)
    assert (bad.returncode, bad.stderr.count("\n")) == (2, 1)
    devices = headrace_here("push-app", "devices", made["app_id"], "--json", *store)
    assert json.loads(devices.stdout) == []
    unknown = headrace_here("push-app", "devices", "nosuchapp0", *store)
    assert (unknown.returncode, "no push app" in unknown.stderr) == (1, True)
    for wrong in ((), (made["app_id"], "--contact", str(uuid.uuid4()))):
        failed = headrace_here("push-app", "devices", *wrong, *store)
        assert (failed.returncode, failed.stderr.count("\n")) == (2, 1)
