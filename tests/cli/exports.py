"""An export that is imported into the store it came from, on any store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.server import RunningServer, headrace
from tests.support.waiting import wait_until


def check_export_comes_back(server: RunningServer, tmp_path: Path) -> None:
    """Every line is a duplicate by its id, with or without key, processed or not.

    Lines whose events are not there are stored: once, however often they are imported.
    """
    sent = [
        {"event": "back.again", "external_id": "ann", "payload": {"n": 1}},
        {"event": "back.again", "email": "Bo@Example.net", "idempotency_key": "own"},
        {"event": "back.again", "external_id": "ann", "occurred_at": "2026-01-02T03:04:05.678901Z"},
    ]
    ids = [server.ask("/events", each)["data"]["id"] for each in sent]
    wait_until(
        lambda: {server.ask(f"/events/{each}")["data"]["status"] for each in ids} == {"processed"},
        "they are processed",
    )
    plain, importable = tmp_path / "plain.ndjson", tmp_path / "importable.ndjson"
    for file, options in ((plain, ()), (importable, ("--importable",))):
        of_store = ("--store", server.store_url, "--output", str(file))
        assert headrace("export", *options, *of_store).returncode == 0
        count = len(file.read_text("utf-8").splitlines())
        assert count >= len(sent)
        report = _import(server, file)
        assert (report["deduplicated"], report["accepted"]) == (count, 0), file
        assert report["mismatched"] == 0

    lines = plain.read_text("utf-8").splitlines()
    known = next(line for line in lines if ids[0] in line)
    other = known.replace(ids[0], ids[0][:-4] + "0000")
    assert other != known
    some = tmp_path / "some.ndjson"
    some.write_text(f"{other}\n{known}\n{json.dumps(sent[0])}\n", "utf-8")
    report = _import(server, some)
    assert (report["deduplicated"], report["accepted"]) == (1, 2)
    report = _import(server, some)
    assert (report["deduplicated"], report["accepted"]) == (3, 0)


def _import(server: RunningServer, file: Path) -> dict[str, Any]:
    env = {"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key}
    done = headrace("import", str(file), "--json", env=env)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report
