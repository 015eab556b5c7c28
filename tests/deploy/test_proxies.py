"""The examples of proxies, in front of a real server, by real nginx and Caddy."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import httpx
import pytest

from tests.deploy.conftest import DEPLOY, PUBLIC_URL
from tests.support.ports import free_port
from tests.support.server import RunningServer

HOST = PUBLIC_URL.removeprefix("https://")
TLS = Path(__file__).parents[1] / "delivery" / "tls"
#: Not the address of the proxy, which is trusted.
CLIENT_ADDRESS = "127.0.0.5"
START_SECONDS_MAX = 30.0
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
CADDY = shutil.which("caddy")
_NGINX_MAIN = """
daemon off;
{user}
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/headrace.conf;
}}
"""
_CADDY_OPTIONS = """
{{
	admin off
	auto_https off
	storage file_system {folder}
}}
"""


def changed(text: str, *changes: tuple[str, str]) -> str:
    """The example with other names and ports; each of them must be in it."""
    for old, new in changes:
        assert old in text, f"{old} is not in the example"
        text = text.replace(old, new)
    return text


def nginx_command(folder: Path, port: int, server_port: int) -> list[str]:
    site = changed(
        (DEPLOY / "nginx" / "headrace.conf").read_text("utf-8"),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("127.0.0.1:8080", f"127.0.0.1:{server_port}"),
        ("/etc/ssl/headrace/fullchain.pem", str(TLS / "receiver.pem")),
        ("/etc/ssl/headrace/privkey.pem", str(TLS / "receiver.key")),
    )
    (folder / "headrace.conf").write_text(site, "utf-8")
    user = "user root;" if os.geteuid() == 0 else ""
    main = folder / "nginx.conf"
    main.write_text(_NGINX_MAIN.format(folder=folder, user=user), "utf-8")
    assert NGINX is not None
    return [NGINX, "-c", str(main), "-e", str(folder / "error.log")]


def caddy_command(folder: Path, port: int, server_port: int) -> list[str]:
    certificate = f"tls {TLS / 'receiver.pem'} {TLS / 'receiver.key'}"
    site = changed(
        (DEPLOY / "caddy" / "Caddyfile").read_text("utf-8"),
        (f"{HOST} {{", f"{PUBLIC_URL}:{port} {{\n\tbind 127.0.0.1\n\t{certificate}\n"),
        ("reverse_proxy 127.0.0.1:8080", f"reverse_proxy 127.0.0.1:{server_port}"),
    )
    path = folder / "Caddyfile"
    path.write_text(_CADDY_OPTIONS.format(folder=folder) + site, "utf-8")
    assert CADDY is not None
    return [CADDY, "run", "--config", str(path), "--adapter", "caddyfile"]


Commands = Callable[[Path, int, int], list[str]]
PROXIES = [
    pytest.param(nginx_command, marks=pytest.mark.skipif(NGINX is None, reason="no nginx here")),
    pytest.param(caddy_command, marks=pytest.mark.skipif(CADDY is None, reason="no Caddy here")),
]


@pytest.fixture(scope="module", params=PROXIES, ids=("nginx", "caddy"))
def proxy(
    request: pytest.FixtureRequest,
    server: RunningServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[httpx.Client]:
    """A client of the proxy, from an address of its own."""
    commands: Commands = request.param
    folder, port = tmp_path_factory.mktemp("proxy"), free_port()
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            commands(folder, port, server.port),
            stdout=output,
            stderr=output,
            env=os.environ | {"HOME": str(folder)},
        )
    try:
        wait_for_port(process, port, folder / "output")
        with httpx.Client(
            base_url=f"https://127.0.0.1:{port}",
            transport=httpx.HTTPTransport(verify=False, local_address=CLIENT_ADDRESS),
            headers={"host": HOST, "authorization": f"Bearer {server.key}"},
            timeout=30,
        ) as client:
            yield client
    finally:
        process.terminate()
        process.wait(10)


def wait_for_port(process: subprocess.Popen[bytes], port: int, output: Path) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process.poll() is None, output.read_text("utf-8")
        assert time.monotonic() < deadline, output.read_text("utf-8")
        time.sleep(0.02)


def ask(
    client: httpx.Client, method: str, path: str, content: bytes = b"", **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = client.build_request(
        method,
        path,
        content=content or None,
        headers={"content-type": "application/json"} | named,
        extensions={"sni_hostname": HOST},
    )
    return client.send(request)


def event(number: int, size: int = 10) -> bytes:
    payload = {"filling": "x" * size}
    found = {"event": "proxy.tried", "external_id": f"u{number}", "payload": payload}
    return json.dumps(found).encode()


def test_an_event_is_accepted(proxy: httpx.Client) -> None:
    assert ask(proxy, "POST", "/events", event(1)).status_code == 202
    packed = gzip.compress(event(2))
    assert ask(proxy, "POST", "/events", packed, content_encoding="gzip").status_code == 202


def test_large_batches_pass_and_larger_ones_are_answered_by_headrace(proxy: httpx.Client) -> None:
    lines = b"\n".join(event(number, 45_000) for number in range(100))
    media = "application/x-ndjson"
    response = ask(proxy, "POST", "/events/batch", lines, content_type=media)
    assert response.status_code == 200
    assert response.json()["accepted"] == 100
    response = ask(proxy, "POST", "/events/batch", lines * 2, content_type=media)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "RequestTooLarge"


def test_a_live_stream_is_passed_on_at_once(proxy: httpx.Client) -> None:
    request = proxy.build_request("GET", "/events/stream", extensions={"sni_hostname": HOST})
    response = proxy.send(request, stream=True)
    try:
        lines = response.iter_lines()
        assert any(line.startswith(": connected") for line in lines)
        sent = ask(proxy, "POST", "/events", event(3)).json()["data"]["id"]
        assert any(line == f"id: {sent}" for line in lines)
    finally:
        response.close()


def test_the_address_of_the_client_is_the_real_one(
    proxy: httpx.Client, server: RunningServer
) -> None:
    """One that the client invents does not count."""
    form = b"email=nobody%40example.org&password=wrong"
    response = ask(
        proxy,
        "POST",
        "/backoffice/sign-in",
        form,
        content_type="application/x-www-form-urlencoded",
        origin=PUBLIC_URL,
        x_forwarded_for="203.0.113.9",
    )
    assert response.status_code == 422, response.text
    connection = apsw.Connection(str(server.store_path), flags=apsw.SQLITE_OPEN_READONLY)
    found = connection.execute(
        "SELECT detail FROM audit WHERE action = 'session.refused' ORDER BY rowid DESC LIMIT 1"
    ).get
    connection.close()
    assert json.loads(found) == {"address": CLIENT_ADDRESS}


def test_metrics_are_not_public(proxy: httpx.Client) -> None:
    assert ask(proxy, "GET", "/metrics").status_code == 404
    assert ask(proxy, "GET", "/healthz").status_code == 200
