"""A real Postfix on loopback, with folders of its own. Its master runs as root only."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.ports import free_port

SBIN = Path("/usr/lib/postfix/sbin")
_OWNER = "daemon"
_MAIN = """\
compatibility_level = 3.6
queue_directory = {root}/queue
data_directory = {root}/data
daemon_directory = {sbin}
command_directory = /usr/sbin
shlib_directory = /usr/lib/postfix
meta_directory = {root}/conf
mail_owner = daemon
setgid_group = mail
default_privs = nobody
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = postfix.example
mydestination = postfix.example
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
local_recipient_maps = inline:{{ known=yes }}
message_size_limit = 100000
relayhost = [127.0.0.1]:{next_port}
disable_dns_lookups = yes
smtpd_sender_restrictions = check_sender_access inline:{{ blocked.example=REJECT }}
smtpd_recipient_restrictions = check_recipient_access
    inline:{{ {{later@postfix.example=450 4.7.1 greylisted}} }},
    permit_mynetworks, reject
maillog_file = {root}/data/log
maillog_file_prefixes = {root}
"""
_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
smtp unix - - n - - smtp
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
_QUEUES = (
    *("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming"),
    *("maildrop", "pid", "private", "public", "saved", "trace"),
)


def why_not() -> str | None:
    """Why it cannot be started here; None when it can."""
    if not (SBIN / "master").exists():
        return "Debian's Postfix is not installed: make mail-server"
    return None if os.geteuid() == 0 else "the master of Postfix runs as root only"


@dataclass(frozen=True)
class Postfix:
    """A running server."""

    port: int
    log: Path


@contextmanager
def postfix(root: Path, next_port: int) -> Iterator[Postfix]:
    """Start it; mail for other domains, bounces included, is relayed to `next_port`.

    Args:
        root: an empty folder below one that every user may enter.
        next_port: of an SMTP server on loopback.
    """
    port = free_port()
    for name in ("conf", "data", *(f"queue/{one}" for one in _QUEUES)):
        (root / name).mkdir(parents=True)
        if name not in {"conf", "queue/pid"}:
            shutil.chown(root / name, _OWNER)
    uid = pwd.getpwnam(_OWNER).pw_uid
    root.chmod(0o755)
    log = root / "data" / "log"
    log.touch()
    os.chown(log, uid, -1)
    main = _MAIN.format(root=root, sbin=SBIN, next_port=next_port)
    (root / "conf" / "main.cf").write_text(main)
    (root / "conf" / "master.cf").write_text(_MASTER.format(port=port))
    process = subprocess.Popen(
        [SBIN / "master", "-c", root / "conf"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.defpath},
    )
    try:
        _wait_for(port, process, log)
        yield Postfix(port, log)
    finally:
        # It leads its own session, which includes its daemons.
        process.terminate()
        process.wait(10)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as connection:
                if connection.recv(3) == b"220":
                    return
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f"Postfix does not answer:\n{log.read_text()}")
