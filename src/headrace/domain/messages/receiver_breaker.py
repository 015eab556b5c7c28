"""Breaker of one sending domain at one receiver: rejections of the sender hold back further mail.

closed --(rejections in a row)--> open --(a probe is accepted)--> closed
open --(the probe is rejected)--> open with a longer pause

While it is open, one message at a time probes after each pause. It says nothing about addresses, so
it never suppresses one. An answer about an address or a failure of the relay says nothing about the
sender: only an accepted mail ends a run of rejections.

A relay that accepts everything reports rejections later. These are a run of their own: a mail that
the relay accepted may still be rejected, so one of them does not end it. It ends with a delivery
report, or after several accepted mails without a report between them.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from headrace.domain.messages.settlement import SENDER_REJECTIONS_MAX

#: First pause; it doubles with each rejected probe up to the longest.
PAUSE_FIRST_US = 900_000_000
PAUSE_MAX_US = 4 * 3_600_000_000
#: How long a probe may take before another message probes, and its rejection to be reported.
PROBE_US = 900_000_000
#: Mails accepted since the last report that end a run of reports: while closed, and probes.
ACCEPTED_CLOSED = 20
ACCEPTED_PROBES = 2


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """What a receiver said about the sender."""

    message_id: str
    code: int | None = None
    status: str | None = None
    #: On one line, addresses masked.
    diagnostic: str | None = None
    #: Whether it came back as a report after the relay had accepted the mail.
    reported: bool = False

    @property
    def text(self) -> str:
        """All of it in one line."""
        parts = (str(self.code or ""), self.status or "", self.diagnostic or "")
        return " ".join(part for part in parts if part)


class Acceptance(msgspec.Struct, frozen=True, kw_only=True):
    """A mail that was accepted."""

    message_id: str
    #: Whether the receiver did, by a delivery report; else the relay did.
    reported: bool = False


class ReceiverBreaker(msgspec.Struct, frozen=True, kw_only=True):
    """State of a breaker that has seen a rejection. Times are microseconds since 1970."""

    #: Rejections in a row in responses of the relay.
    rejections: int = 0
    #: Rejections of the current run of reports.
    reported: int = 0
    #: Mails accepted since the last report; probes while reports hold it open.
    accepted: int = 0
    #: Pauses in a row.
    openings: int = 0
    #: None: closed.
    opened_us: int | None = None
    #: Open: when a message may probe.
    until_us: int = 0
    probe_id: str | None = None
    #: The last rejection, and when it was.
    rejection: Rejection
    at_us: int

    @property
    def seen(self) -> int:
        """Rejections of both runs."""
        return self.rejections + self.reported

    @property
    def is_open_by_reports(self) -> bool:
        """Whether it takes more than an accepted mail to close it."""
        return self.opened_us is not None and self.reported >= SENDER_REJECTIONS_MAX

    def probed_by(self, message_id: str, now_us: int) -> ReceiverBreaker:
        """Let a message probe; others wait meanwhile."""
        return msgspec.structs.replace(self, probe_id=message_id, until_us=now_us + PROBE_US)


def after(
    breaker: ReceiverBreaker | None, results: Iterable[Rejection | Acceptance], now_us: int
) -> ReceiverBreaker | None:
    """The breaker after results in their order.

    Args:
        results: rejections of the sender and accepted mails.

    Returns:
        None: closed, without a rejection.
    """
    for result in results:
        if isinstance(result, Rejection):
            breaker = _rejected(breaker, result, now_us)
        elif breaker is not None:
            breaker = _accepted(breaker, result)
    return breaker


def _accepted(breaker: ReceiverBreaker, result: Acceptance) -> ReceiverBreaker | None:
    by_probe = result.message_id == breaker.probe_id
    if result.reported:
        # While it is open, other mail was handed over before it opened.
        ends = breaker.opened_us is None or (breaker.is_open_by_reports and by_probe)
        return _without_reports(breaker) if ends else breaker
    if breaker.is_open_by_reports:
        counted = msgspec.structs.replace(breaker, accepted=breaker.accepted + by_probe)
        return None if counted.accepted >= ACCEPTED_PROBES else counted
    accepted = breaker.accepted + 1
    if breaker.reported == 0 or accepted >= ACCEPTED_CLOSED:
        return None
    return msgspec.structs.replace(_closed(breaker), rejections=0, accepted=accepted)


def _without_reports(breaker: ReceiverBreaker) -> ReceiverBreaker | None:
    if breaker.rejections == 0 or breaker.is_open_by_reports:
        return None
    return msgspec.structs.replace(breaker, reported=0, accepted=0)


def _closed(breaker: ReceiverBreaker) -> ReceiverBreaker:
    return msgspec.structs.replace(breaker, openings=0, opened_us=None, until_us=0, probe_id=None)


def _rejected(
    breaker: ReceiverBreaker | None, rejection: Rejection, now_us: int
) -> ReceiverBreaker:
    before = breaker or ReceiverBreaker(rejection=rejection, at_us=now_us)
    counted = msgspec.structs.replace(
        before,
        rejections=before.rejections + (not rejection.reported),
        reported=before.reported + rejection.reported,
        accepted=0 if rejection.reported else before.accepted,
        rejection=rejection,
        at_us=now_us,
    )
    if before.opened_us is None:
        if max(counted.rejections, counted.reported) < SENDER_REJECTIONS_MAX:
            return counted
        return _paused(counted, now_us, opened_us=now_us)
    if rejection.message_id != before.probe_id:
        # It was handed over before the breaker opened.
        return counted
    return _paused(counted, now_us, opened_us=before.opened_us)


def _paused(breaker: ReceiverBreaker, now_us: int, *, opened_us: int) -> ReceiverBreaker:
    pause_us = min(PAUSE_FIRST_US << min(breaker.openings, 10), PAUSE_MAX_US)
    return msgspec.structs.replace(
        breaker,
        openings=breaker.openings + 1,
        opened_us=opened_us,
        until_us=now_us + pause_us,
        probe_id=None,
    )


class Advice(msgspec.Struct, frozen=True):
    """What a rejection means and what to do about it."""

    meaning: str
    fix: str


_AUTHENTICATION = (
    "Run headrace mail doctor for the domain and publish what it names: SPF, DKIM and DMARC, "
    "aligned with the From address."
)
_BY_STATUS = {
    "5.7.26": Advice(
        "Gmail: the mail is not authenticated, or SPF and DKIM are not aligned with From.",
        _AUTHENTICATION,
    ),
    "5.7.515": Advice(
        "Microsoft: the domain does not meet the rules for senders of much mail.",
        _AUTHENTICATION,
    ),
    "5.7.9": Advice(
        "Yahoo: the mail is not authenticated, or the domain's policy asks to reject it.",
        _AUTHENTICATION,
    ),
    "5.7.25": Advice(
        "The sending address has no name in DNS (PTR), or the name does not lead back to it.",
        "Ask the operator of the relay for a PTR record whose name resolves to the same address.",
    ),
    "5.7.23": Advice(
        "SPF does not allow the sending address.",
        "Add the relay to the SPF record of the bounce domain; headrace mail doctor shows it.",
    ),
    "5.7.20": Advice("No DKIM signature is valid.", _AUTHENTICATION),
    "5.7.27": Advice("SPF fails: Gmail does not accept the sending address.", _AUTHENTICATION),
    "5.7.30": Advice("DKIM fails: Gmail does not accept the signature.", _AUTHENTICATION),
    "5.7.509": Advice("DMARC of the From domain asks to reject this mail.", _AUTHENTICATION),
    "5.7.708": Advice(
        "Microsoft: the sending address may not send yet because of its reputation.",
        "Send through a relay with an established address, or warm the address up slowly.",
    ),
    "5.7.28": Advice(
        "Gmail: too much unsolicited mail comes from this address or domain.",
        "Pause marketing mail, send only to people who asked for it, and start again slowly.",
    ),
}
_LISTED = Advice(
    "The sending address or domain is on a block list.",
    "Look up the list that the response names, remove the cause, and ask for removal from it.",
)
_SPAM = Advice(
    "The mail or its sender is taken for spam.",
    "Check the authentication with headrace mail doctor, remove people who do not react, and check "
    "the links in the mail.",
)
_RELAY = Advice(
    "The server does not accept mail from this sender.",
    "Read the response, and check that the relay may send for the domain (permitted senders).",
)


def advice_on(rejection: Rejection) -> Advice:
    """What a rejection of the sender means: by its enhanced code, else by its text."""
    known = _BY_STATUS.get(rejection.status or "")
    text = (rejection.diagnostic or "").lower()
    if known is not None:
        return known
    if any(word in text for word in ("spamhaus", "block list", "blocklist", "blacklist", "rbl")):
        return _LISTED
    if any(word in text for word in ("spf", "dkim", "dmarc", "authenticat")):
        return Advice("The mail is not authenticated.", _AUTHENTICATION)
    if any(word in text for word in ("spam", "unsolicited", "reputation", "bulk")):
        return _SPAM
    return _RELAY
