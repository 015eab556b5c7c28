"""`headrace send` and `headrace events show`."""

import json
from pathlib import Path

import pytest

from tests.support.server import RunningServer, headrace

#: Nothing listens on this port.
NOBODY = "http://127.0.0.1:1"


def client(server: RunningServer) -> dict[str, str]:
    return {"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key}


def test_an_event_is_sent_and_shown_as_it_was(server: RunningServer, tmp_path: Path) -> None:
    payload = '{"total": 49.90, "note":"caf\\u00e9 €", "n": 12345678901234567890}'
    (tmp_path / "payload.json").write_text(payload, "utf-8")
    sent = headrace(
        *("send", "--event", "order.completed", "--email", "a@example.org", "--json"),
        *("--payload", f"@{tmp_path / 'payload.json'}", "--idempotency-key", "a/b ?"),
        env=client(server),
    )
    assert sent.returncode == 0, sent.stderr
    event_id = json.loads(sent.stdout)["data"]["id"]
    ways = [
        headrace("events", "show", event_id, "--json", env=client(server)),
        headrace("events", "show", "--idempotency-key", "a/b ?", "--json", env=client(server)),
        headrace("events", "show", event_id, "--json", "--store", server.store_url),
        headrace(
            *("events", "show", "--idempotency-key", "a/b ?", "--json"),
            *("--store", server.store_url),
        ),
    ]
    for way in ways:
        assert way.returncode == 0, way.stderr
        assert json.loads(way.stdout)["id"] == event_id
        assert payload in way.stdout


def test_an_external_id_is_kept_exactly(server: RunningServer) -> None:
    command = ("send", "--event", "a.b", "--external-id", "  Ann  ", "--json")
    sent = headrace(*command, env=client(server))
    event_id = json.loads(sent.stdout)["data"]["id"]
    shown = headrace("events", "show", event_id, "--json", env=client(server))
    assert json.loads(shown.stdout)["external_id"] == "  Ann  "


def test_a_repeat_is_reported(server: RunningServer) -> None:
    command = ("send", "--event", "a.b", "--external-id", "u1", "--idempotency-key", "once")
    first, second = (headrace(*command, env=client(server)) for _ in range(2))
    assert first.stdout.startswith("accepted as ")
    assert second.stdout.startswith("duplicate")
    assert second.stdout.split()[-1] == first.stdout.split()[-1]


def test_the_payload_can_come_from_standard_input(server: RunningServer) -> None:
    command = ("send", "--event", "a.b", "--external-id", "u1", "--payload", "@-")
    assert headrace(*command, env=client(server), stdin='{"a": 1}').returncode == 0


def test_control_characters_never_reach_the_terminal(server: RunningServer) -> None:
    sent = headrace(
        *("send", "--event", "a.b", "--external-id", "u1", "--idempotency-key", "steers"),
        *("--payload", '{"x": "\x9b2J\x7f"}'),
        env=client(server),
    )
    assert sent.returncode == 0, sent.stderr
    shown = headrace("events", "show", "--idempotency-key", "steers", env=client(server)).stdout
    assert "\\u009b2J\\u007f" in shown
    assert "\x9b" not in shown


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--event", "Order", "--external-id", "u1"), 1, "422 ValidationError: event: must be"),
        (("--event", "a.b"), 1, "422 ValidationError"),
        (
            ("--event", "a.b", "--external-id", "u", "--payload", "{"),
            2,
            "--payload is not valid JSON",
        ),
        (("--event", "a.b", "--external-id", "u", "--payload", "@/none"), 2, "cannot be read"),
        (("--event", "a.b", "--external-id", "u", "--url", "ftp://x"), 2, "not a server URL"),
        (
            ("--event", "a.b", "--external-id", "u", "--url", "http://127.0.0.1:1"),
            1,
            "Cannot connect to",
        ),
        (("--event", "a.b", "--external-id", "u", "--key", "hr_wrong"), 1, "401 Unauthorized"),
        (("--event", "a.b", "--external-id", "u", "--key", "a b\n"), 2, "invalid characters"),
    ],
)
def test_send_rejections(
    server: RunningServer, arguments: tuple[str, ...], code: int, said: str
) -> None:
    refused = headrace("send", *arguments, env=client(server))
    assert refused.returncode == code
    assert said in refused.stderr
    assert server.key not in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_key_is_needed(server: RunningServer) -> None:
    refused = headrace("send", "--event", "a.b", "--external-id", "u", "--url", server.url)
    assert refused.returncode == 2
    assert "HEADRACE_KEY" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 2),
        (("00000000-0000-7000-8000-000000000000", "--idempotency-key", "k"), 2),
        (("not-an-id",), 2),
        (("00000000-0000-7000-8000-000000000000",), 1),
        (("--idempotency-key", "nobody used this"), 1),
    ],
)
def test_show_rejections(server: RunningServer, arguments: tuple[str, ...], code: int) -> None:
    over_http = headrace("events", "show", *arguments, env=client(server))
    from_store = headrace("events", "show", *arguments, "--store", server.store_url)
    assert over_http.returncode == from_store.returncode == code
