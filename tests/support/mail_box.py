"""A mailbox in a process of its own: filled by SMTP, read by IMAP."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from imaplib import IMAP4
from smtplib import SMTP

from tests.support.ports import free_port

USER, PASSWORD = "bounces@example.org", 'a "pass" word'
_COMMAND = "import sys; from mail_devel.__main__ import main; sys.exit(main())"
START_SECONDS_MAX = 30.0
_FLAGS = re.compile(rb"FLAGS \(([^)]*)\)")


@dataclass(frozen=True)
class MailBox:
    """A running server with one mailbox for every address."""

    smtp_port: int
    imap_port: int

    @property
    def url(self) -> str:
        """As in the setting of bounces."""
        return (
            f"imap://bounces%40example.org:a%20%22pass%22%20word@127.0.0.1:{self.imap_port}/INBOX"
        )

    def deliver(self, content: bytes, to: str = "b@example.org") -> None:
        """Deliver a mail."""
        with SMTP("127.0.0.1", self.smtp_port) as client:
            client.sendmail("", [to], content)

    def flags(self, folder: str = "INBOX") -> list[frozenset[str]]:
        """The flags of each mail in a folder."""
        with IMAP4("127.0.0.1", self.imap_port) as client:
            client.login(USER, PASSWORD)
            client.select(folder, readonly=True)
            _, found = client.fetch("1:*", "(FLAGS)")
        rows = (_FLAGS.search(row) for row in found if isinstance(row, bytes))
        return [frozenset(row[1].decode().split()) for row in rows if row]


@contextmanager
def mail_box() -> Iterator[MailBox]:
    """Start it, empty."""
    box = MailBox(free_port(), free_port())
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", _COMMAND, "--host", "127.0.0.1", "--no-http"),
            *("--user", USER, "--password", PASSWORD),
            *("--imap-port", str(box.imap_port), "--smtp-port", str(box.smtp_port)),
            *("--smtps-port", str(free_port())),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(box.imap_port, process)
        _wait_for(box.smtp_port, process)
        yield box
    finally:
        process.kill()
        process.wait(10)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as connection:
                if connection.recv(1):
                    return
        except OSError:
            time.sleep(0.02)
    raise AssertionError("the mailbox does not answer")
