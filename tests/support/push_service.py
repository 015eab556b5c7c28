"""A real push service on loopback, and subscriptions of browsers that decrypt what it got."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Subscription:
    """A browser's side of a subscription."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._auth = hashlib.sha256(endpoint.encode()).digest()[:16]

    @property
    def p256dh(self) -> str:
        key = self._key.public_key()
        return encoded(key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))

    @property
    def auth(self) -> str:
        return encoded(self._auth)

    def decrypt(self, body: bytes) -> bytes:
        """The payload of a push, by RFC 8291 and RFC 8188."""
        salt, size, length = body[:16], int.from_bytes(body[16:20], "big"), body[20]
        sender, record = body[21 : 21 + length], body[21 + length :]
        assert len(record) <= size
        own = decoded(self.p256dh)
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender)
        shared = self._key.exchange(ec.ECDH(), point)
        secret = _hkdf(self._auth, shared, b"WebPush: info\0" + own + sender, 32)
        key = _hkdf(salt, secret, b"Content-Encoding: aes128gcm\0", 16)
        nonce = _hkdf(salt, secret, b"Content-Encoding: nonce\0", 12)
        plain = AESGCM(key).decrypt(nonce, record, None)
        text, mark, padding = plain.rpartition(b"\x02")
        assert mark
        assert not padding.strip(b"\0")
        return text


def _hkdf(salt: bytes, secret: bytes, info: bytes, size: int) -> bytes:
    first = hmac.digest(salt, secret, hashlib.sha256)
    return hmac.digest(first, info + b"\x01", hashlib.sha256)[:size]


def verified_claims(authorization: str) -> dict[str, Any]:
    """Claims of a VAPID token whose signature is valid.

    Raises:
        InvalidSignature: it is not.
    """
    parts = dict(part.strip().split("=", 1) for part in authorization[6:].split(","))
    assert authorization.startswith("vapid ")
    text, _, signature = parts["t"].rpartition(".")
    raw = decoded(signature)
    assert len(raw) == 64
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decoded(parts["k"]))
    key.verify(der, text.encode(), ec.ECDSA(hashes.SHA256()))
    header, claims = (json.loads(decoded(part)) for part in text.split("."))
    assert header == {"typ": "JWT", "alg": "ES256"}
    return dict(claims)


@dataclass(frozen=True)
class Received:
    """One push that the service got."""

    path: str
    headers: dict[str, str]
    body: bytes
    #: Number of the connection.
    connection: int


@dataclass(frozen=True)
class Answer:
    """A response; status 0: hang up instead."""

    status: int = 201
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class PushService:
    """Records every push; `answer` decides the response to the n-th, from 1."""

    def __init__(self, answer: Callable[[int, Received], Answer] | None = None) -> None:
        self.answer = answer or (lambda _number, _push: Answer())
        self.received: list[Received] = []
        self.port = 0
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._connections = 0

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def subscription(self, name: str) -> Subscription:
        return Subscription(f"{self.origin}/push/{name}")

    def note(self, push: Received) -> Answer:
        with self._arrived:
            self.received.append(push)
            number = len(self.received)
            self._arrived.notify_all()
        return self.answer(number, push)

    def connected(self) -> int:
        with self._lock:
            self._connections += 1
            return self._connections

    def wait_for(self, count: int, timeout_s: float = 20.0) -> list[Received]:
        """The pushes once there are so many."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.received) >= count, timeout_s)
            return list(self.received)


@contextmanager
def push_service(
    answer: Callable[[int, Received], Answer] | None = None,
) -> Iterator[PushService]:
    """Listen on loopback."""
    service = PushService(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def setup(self) -> None:
            super().setup()
            self.number = service.connected()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = service.note(Received(self.path, headers, body, self.number))
            if not answer.status:
                self.close_connection = True
                return
            self.send_response_only(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    service.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
