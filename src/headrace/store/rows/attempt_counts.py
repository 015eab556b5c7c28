"""The one row in which counts of attempts are kept."""

from __future__ import annotations

import msgspec

from headrace.store.contract_delivery_counts import AttemptCounts

#: Its name in the table `meta`.
NAME = "attempt_counts"


def counts_of(text: str | None) -> AttemptCounts:
    """Counts from their text; what no release has written counts as nothing."""
    if text is None:
        return AttemptCounts()
    try:
        return msgspec.json.decode(text, type=AttemptCounts)
    except msgspec.MsgspecError:
        return AttemptCounts()


def text_with(text: str | None, more: AttemptCounts) -> str:
    """The text after something was counted."""
    counts = counts_of(text)
    counts.add(more)
    return msgspec.json.encode(counts).decode()
