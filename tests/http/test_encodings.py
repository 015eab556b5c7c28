"""Compressed bodies: decompressed within limits, rejected when malformed."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections.abc import Callable
from functools import cache

import pytest

from headrace.http.server.zstandard import zstd
from tests.support.http_server import HttpServer, Project
from tests.support.raw_http import Client

MIB = 1024 * 1024
EVENT = b'{"event":"a","external_id":"x"}'
#: Memory that decompression may use, whatever the size of the output.
FLAT_BYTES = 40 * MIB


@cache
def bomb(encoding: str, mebibytes: int) -> bytes:
    """Many mebibytes of zeros, compressed chunk by chunk."""
    packer = zlib.compressobj(9, wbits=31) if encoding == "gzip" else zstd.ZstdCompressor()
    zeros = b" " * MIB
    return b"".join([packer.compress(zeros) for _ in range(mebibytes)]) + packer.flush()


PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd.compress}


@pytest.mark.parametrize("encoding", PACK)
@pytest.mark.parametrize("target", ["/events", "/events/validate"])
def test_a_packed_event_is_as_good_as_a_plain_one(
    client: Client, encoding: str, target: str
) -> None:
    packed = PACK[encoding](EVENT)

    for name in (encoding, encoding.upper(), f" {encoding} "):
        answer = client.post(target, packed, headers={"Content-Encoding": name})
        assert answer.status == 202


@pytest.mark.parametrize("encoding", PACK)
def test_members_in_a_row_are_one_body(client: Client, encoding: str) -> None:
    packed = b"".join(PACK[encoding](EVENT[start : start + 4]) for start in range(0, len(EVENT), 4))

    answer = client.post("/events", packed, headers={"Content-Encoding": encoding})

    assert answer.status == 202


@pytest.mark.parametrize("encoding", PACK)
@pytest.mark.parametrize("body_type", ["application/json", "application/x-ndjson"])
def test_a_batch_is_limited_unpacked(client: Client, encoding: str, body_type: str) -> None:
    text = EVENT if body_type != "application/json" else b'{"events":[' + EVENT + b"]}"
    for more, status in ((0, 200), (1, 413)):
        packed = PACK[encoding](text + b" " * (5 * MIB - len(text) + more))
        headers = {"Content-Encoding": encoding}
        answer = client.post("/events/batch", packed, body_type=body_type, headers=headers)
        assert answer.status == status


@pytest.mark.parametrize("encoding", PACK)
@pytest.mark.parametrize("target", ["/events", "/events/batch", "/events/validate"])
def test_a_bomb_is_413_and_costs_no_memory(
    server: HttpServer, client: Client, encoding: str, target: str
) -> None:
    packed = bomb(encoding, 2000 if encoding == "zstd" else 900)
    before = server.resident_bytes(peak=True)

    answer = client.post(target, packed[: 1000 * 1024], headers={"Content-Encoding": encoding})

    assert (answer.status, answer.code) == (413, "RequestTooLarge")
    assert server.resident_bytes(peak=True) - before < FLAT_BYTES


GZIP = gzip.compress(EVENT)
ZSTD = zstd.compress(EVENT, options={zstd.CompressionParameter.checksum_flag: 1})
BROKEN = {
    "gzip, truncated": ("gzip", GZIP[:-9]),
    "gzip without its sizes": ("gzip", GZIP[:-4]),
    "gzip without its last byte": ("gzip", GZIP[:-1]),
    "gzip, only a head": ("gzip", GZIP[:10]),
    "gzip, a byte": ("gzip", GZIP[:1]),
    "gzip with a bad CRC": ("gzip", GZIP[:-8] + b"\x00\x00\x00\x00" + GZIP[-4:]),
    "gzip with a bad size": ("gzip", GZIP[:-4] + b"\xff\xff\xff\xff"),
    "gzip with garbage behind": ("gzip", GZIP + b"garbage"),
    "gzip with zeros behind": ("gzip", GZIP + b"\x00" * 100),
    "gzip with half a member behind": ("gzip", GZIP + GZIP[:12]),
    "gzip that is plain": ("gzip", EVENT),
    "gzip that is zlib": ("gzip", zlib.compress(EVENT)),
    "gzip that is zstd": ("gzip", ZSTD),
    "gzip with a flipped bit": ("gzip", GZIP[:15] + bytes([GZIP[15] ^ 1]) + GZIP[16:]),
    "gzip of many members": ("gzip", gzip.compress(b"") * 40_000),
    "zstd, truncated": ("zstd", ZSTD[:-5]),
    "zstd without its last byte": ("zstd", ZSTD[:-1]),
    "zstd with a bad checksum": ("zstd", ZSTD[:-4] + b"\x00\x00\x00\x00"),
    "zstd with garbage behind": ("zstd", ZSTD + b"garbage"),
    "zstd that is plain": ("zstd", EVENT),
    "zstd that is gzip": ("zstd", GZIP),
    "zstd of a window of 128 MiB": ("zstd", b"\x28\xb5\x2f\xfd\x00\x88" + b"\x00" * 20),
    "zstd of many frames": ("zstd", zstd.compress(b"") * 80_000),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("target", ["/events", "/events/batch", "/events/validate"])
def test_a_broken_packing_is_400(shared: Project, name: str, target: str) -> None:
    client = shared.client()
    encoding, body = BROKEN[name]
    began = time.monotonic()

    answer = client.post(target, body[: 1000 * 1024], headers={"Content-Encoding": encoding})

    assert (answer.status, answer.code) == (400, "MalformedRequest")
    assert time.monotonic() - began < 2


def test_an_empty_packing_is_an_empty_body(client: Client) -> None:
    for encoding, pack in PACK.items():
        for body in (b"", pack(b"")):
            answer = client.post("/events", body, headers={"Content-Encoding": encoding})
            assert answer.status == 400


@pytest.mark.parametrize(
    "encoding",
    [
        "gzip, gzip",
        "gzip,zstd",
        "br",
        "deflate",
        "compress",
        "x-gzip, gzip",
        "*",
        "",
        "gzip;q=1",
        "\xff",
    ],
)
def test_another_encoding_is_415(shared: Project, encoding: str) -> None:
    body = gzip.compress(gzip.compress(EVENT))
    client = shared.client()
    for target in ("/events", "/events/batch", "/events/validate"):
        answer = client.post(target, body, headers={"Content-Encoding": encoding})
        assert (answer.status, answer.code) == (415, "UnsupportedMediaType")
        assert answer.headers["accept-encoding"] == "gzip, zstd"


def test_identity_reveals_nothing(client: Client) -> None:
    assert client.post("/events", EVENT, headers={"Content-Encoding": "identity"}).status == 202


def test_the_payload_limit_counts_unpacked_bytes(client: Client) -> None:
    text = json.dumps({"event": "a", "external_id": "x", "payload": {"a": "x" * 70_000}})
    answer = client.post(
        "/events", gzip.compress(text.encode()), headers={"Content-Encoding": "gzip"}
    )

    assert (answer.status, answer.code) == (413, "PayloadTooLarge")


@pytest.mark.parametrize("name", ["x-gzip", "X-GZIP", "gzip", "GZip"])
@pytest.mark.parametrize("target", ["/events", "/events/validate", "/contacts"])
def test_gzip_has_an_older_name(shared: Project, name: str, target: str) -> None:
    """RFC 9110, 8.4.1.3: `x-gzip` is the same encoding."""
    event = {"event": "a", "external_id": "x"}
    sent = {"external_id": f"{name} {target}"} if target == "/contacts" else event

    answer = shared.client().post(
        target, gzip.compress(json.dumps(sent).encode()), headers={"Content-Encoding": name}
    )

    assert answer.status in (201, 202)
