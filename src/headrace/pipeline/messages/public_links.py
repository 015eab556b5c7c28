"""Links in mails: clicks, opens, unsubscribing. They need a valid token and no key.

A redirect needs only the row of its link, so it works when the message is gone. Hits are written
afterwards, in groups; those that do not fit into the queue are dropped and counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from headrace.domain.contacts.topics import Subscription, Topic
from headrace.domain.messages.kinds import Engagement
from headrace.domain.messages.tokens import OPEN_LINK, MessageKeys, UnsubscribeTarget
from headrace.pipeline.loop import Loop, LoopOptions
from headrace.store.messages.content.links import HONEYPOT_LINK
from headrace.store.messages.feedback.engagement import NewHit
from headrace.store.messages.feedback.unsubscribes import Left
from headrace.store.store import Store

HITS_WAITING_MAX = 10_000
HITS_WRITTEN_MAX = 100
WRITE_SECONDS = 0.2


class Visitor(msgspec.Struct, frozen=True):
    """Who follows a link, as far as a request tells."""

    address: str | None
    user_agent: str
    head: bool = False


class LeavePage(msgspec.Struct, frozen=True, kw_only=True):
    """What the page behind an unsubscribe link shows."""

    target: UnsubscribeTarget
    #: None: the link is about everything, or the topic is gone.
    topic: Topic | None
    #: The recipient's subscriptions to the project's topics; empty when the person is gone.
    choices: Sequence[Subscription] = ()


class PublicLinks:
    """Resolves tokens, and records hits.

    Args:
        keys: of the store.
    """

    def __init__(self, store: Store, keys: MessageKeys) -> None:
        self._store = store
        self._keys = keys
        self._waiting: deque[NewHit] = deque()
        #: Hits dropped because the queue was full.
        self.dropped = 0

    async def click(self, token: str, visitor: Visitor) -> str | None:
        """Where a link leads; None when the token is not of this store, or is the hidden link.

        Raises:
            StoreError: the link cannot be looked up now.
        """
        hit = self._keys.read_tracking(token)
        if hit is None or hit.link == OPEN_LINK:
            return None
        honeypot = hit.link == HONEYPOT_LINK
        target = None if honeypot else await self._store.messages.links.target(hit.link)
        if honeypot or target is not None:
            self._note(hit.message_id, Engagement.CLICK, hit.link, visitor, honeypot=honeypot)
        return target

    def open(self, token: str, visitor: Visitor) -> bool:
        """Record an open; returns whether the token is of this store."""
        hit = self._keys.read_tracking(token)
        if hit is None or hit.link != OPEN_LINK:
            return False
        self._note(hit.message_id, Engagement.OPEN, OPEN_LINK, visitor)
        return True

    async def leave_page(self, token: str) -> LeavePage | None:
        """What an unsubscribe link is about; changes nothing. None: not a token of this store."""
        target = self._keys.read_unsubscribe(token)
        if target is None or target.project_id is None:
            return None
        topic = None
        if target.topic_id is not None:
            topic = await self._store.topics.get(target.project_id, target.topic_id)
        choices = await self._store.messages.unsubscribes.choices(target)
        return LeavePage(target=target, topic=topic, choices=choices or ())

    async def save(
        self, token: str, *, offered: frozenset[str], wanted: frozenset[str]
    ) -> Sequence[Subscription] | None:
        """Write which of the offered topics a recipient wants.

        Returns:
            The offered topics as they are now: None when the token is not of this store, empty when
            the person is gone.
        """
        target = self._keys.read_unsubscribe(token)
        if target is None or target.project_id is None:
            return None
        saved = await self._store.messages.unsubscribes.save(
            target, self._store.clock_us(), offered=offered, wanted=wanted
        )
        return () if saved is None else saved.choices

    async def leave(self, token: str, *, everything: bool, source: str) -> Left | bool:
        """Unsubscribe; False: the token is not of this store, True: the person is gone."""
        target = self._keys.read_unsubscribe(token)
        if target is None:
            return False
        left = await self._store.messages.unsubscribes.leave(
            target, self._store.clock_us(), everything=everything, source=source
        )
        return True if left is None else left

    def _note(
        self,
        message_id: str,
        kind: Engagement,
        link: int,
        visitor: Visitor,
        *,
        honeypot: bool = False,
    ) -> None:
        if len(self._waiting) >= HITS_WAITING_MAX:
            self.dropped += 1
            return
        self._waiting.append(
            NewHit(
                message_id=message_id,
                kind=kind,
                link=link,
                address=visitor.address,
                user_agent=visitor.user_agent,
                head=visitor.head,
                honeypot=honeypot,
            )
        )

    async def flush(self) -> int:
        """Write the next hits; returns how many.

        Raises:
            StoreError: they stay queued.
        """
        group = [self._waiting[place] for place in range(min(len(self._waiting), HITS_WRITTEN_MAX))]
        if group:
            await self._store.messages.engagements.note(group, self._store.clock_us())
            for _ in group:
                self._waiting.popleft()
        return len(group)

    async def run(self) -> None:
        """Write hits until cancelled."""
        options = LoopOptions(name="public_links", pause_s=WRITE_SECONDS)
        await Loop(self._step, options).run()

    async def _step(self) -> float | None:
        return None if await self.flush() < HITS_WRITTEN_MAX else 0.0
