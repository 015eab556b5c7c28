"""The worker sends over the relay of its settings."""

from __future__ import annotations

import asyncio
from pathlib import Path

from headrace.config import load_settings
from headrace.stores import open_store
from headrace.worker_process import WorkerProcess
from tests.support import mail
from tests.support.mail_sink import MailSink, mail_sink
from tests.support.places import SqlitePlace
from tests.support.session import StoreSession


async def work_until_sent(place: SqlitePlace, sink: MailSink) -> None:
    settings = load_settings(
        {"store": place.url, "mail_relay": f"smtp://127.0.0.1:{sink.port}"}, {}
    )
    process = WorkerProcess(settings, await open_store(place.url, serve=False))
    await process.start()
    try:
        assert await asyncio.to_thread(sink.taken.wait, 30)
        await process.sender.idle()
    finally:
        await process.stop()


def test_the_worker_sends_what_is_due(tmp_path: Path) -> None:
    place = SqlitePlace(tmp_path)
    session = StoreSession(place)
    project = mail.new_project(session, worker=False)
    domains = session.store.messages.domains
    now_us = session.store.clock_us()
    session.run(
        domains.create(project, "example.org", now_us, dkim=("x", ""), verified_by="me", actor="me")
    )
    message = mail.send_one(session, project, html="<b>Hi</b>", track_opens=True)
    with mail_sink() as sink:
        asyncio.run(work_until_sent(place, sink))
    (sent,) = sink.parsed()
    assert sent["Subject"] == "Hello"
    assert "http://127.0.0.1:8080/o/" in sink.mails[0][1].decode().replace("=\r\n", "")
    assert mail.message_of(session, project, message).sent_us is not None
    session.close()
