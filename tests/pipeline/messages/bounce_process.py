"""A process that reads the mailbox of bounces until it is empty; it can be configured to crash."""

from __future__ import annotations

import asyncio
import sys

from headrace.delivery.mail.bounce_urls import parse_mailbox_url
from headrace.delivery.mail.imap import Mailbox
from headrace.domain.messages.tokens import BounceAddresses
from headrace.pipeline.messages.bounce_mailbox import BounceMailbox
from headrace.pipeline.messages.mail_intake import MailIntake
from headrace.process_names import own_name
from headrace.stores import open_store

#: Between two looks at the mailbox.
POLL_SECONDS = 0.05


async def work(store_url: str, mailbox_url: str, domain: str) -> None:
    store = await open_store(store_url, serve=False, create=False)
    addresses = BounceAddresses(await store.messages.keys.get(), domain)
    url = parse_mailbox_url(mailbox_url)
    mailbox = BounceMailbox(
        url,
        MailIntake(store.messages.notifications, addresses, store.clock_us),
        store.processing,
        owner=own_name(),
        clock_us=store.clock_us,
        wait_s=POLL_SECONDS,
    )
    reading = asyncio.create_task(mailbox.run())
    async with await Mailbox.open(url) as looked:
        while await looked.find():
            await looked.wait(POLL_SECONDS)
    reading.cancel()
    await asyncio.wait([reading])
    await store.close()


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:4]))
