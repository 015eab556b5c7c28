"""What receivers do with mail of one sending domain, for the API, the pages and the command."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.domain.messages.receiver_breaker import Advice, advice_on
from headrace.store.messages.receivers import Figures, OpenBreaker, Receivers

DAYS_DEFAULT = 30
DAYS_MAX = 366
_DAY_US = 86_400_000_000


class HeldReceiver(msgspec.Struct, frozen=True, kw_only=True):
    """A receiver that rejects the sending domain, with what to do about it."""

    open: OpenBreaker
    advice: Advice


class Deliverability(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of a sending domain and the receivers that reject it."""

    total: Figures
    #: Newest first; days without mail are absent.
    by_day: Sequence[Figures]
    #: Most mail first.
    by_receiver: Sequence[Figures]
    held: Sequence[HeldReceiver]


async def read_deliverability(
    receivers: Receivers, project_id: int, domain: str, now_us: int, days: int = DAYS_DEFAULT
) -> Deliverability:
    """Read the last `days` days (UTC), today included.

    Raises:
        StoreError: they cannot be read.
    """
    since_us = max(now_us - (days - 1) * _DAY_US, 0)
    by_day = await receivers.by_day(project_id, domain, since_us)
    held = await receivers.open_breakers(project_id)
    return Deliverability(
        total=_total(by_day),
        by_day=by_day,
        by_receiver=await receivers.by_receiver(project_id, domain, since_us),
        held=[
            HeldReceiver(open=one, advice=advice_on(one.breaker.rejection))
            for one in held
            if one.domain == domain
        ],
    )


def _total(figures: Sequence[Figures]) -> Figures:
    return Figures(
        name="",
        sent=sum(one.sent for one in figures),
        delivered=sum(one.delivered for one in figures),
        bounced=sum(one.bounced for one in figures),
        complained=sum(one.complained for one in figures),
        blocked=sum(one.blocked for one in figures),
    )
