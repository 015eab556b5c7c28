"""Interprets responses of mail servers for a message, its address and its relay.

The first digit of the basic code says whether it is permanent, as in RFC 5321; the enhanced code
decides what it is about, and the text only if neither does. A rejection of the sender must never be
read as a bad address, so a response not known to be about the address does not affect it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

#: Characters of a server's text that are kept.
TEXT_CHARACTERS_MAX = 500


class Phase(StrEnum):
    """Phase of a session in which a response or an error occurred."""

    CONNECT = "connect"
    #: From the greeting to the end of EHLO and STARTTLS.
    GREETING = "greeting"
    AUTH = "auth"
    #: MAIL FROM; also RSET on a reused connection.
    MAIL = "mail"
    RCPT = "rcpt"
    #: From DATA until the final dot is written: the server cannot have accepted the mail.
    DATA = "data"
    #: After the final dot.
    FINAL = "final"


class ReplyClass(StrEnum):
    """Outcome of an attempt; a closed list, stored with the attempt."""

    SENT = "sent"
    #: The relay cannot be used now. Counts for its breaker; the address is not affected.
    RELAY_UNAVAILABLE = "relay_unavailable"
    #: The relay rejects the credentials: the queue is held until an operator acts.
    RELAY_AUTH = "relay_auth"
    #: Temporary rejection, for example by greylisting.
    DEFERRED = "deferred"
    #: Too fast for that receiver.
    THROTTLED = "throttled"
    MAILBOX_FULL = "mailbox_full"
    ADDRESS_BAD = "address_bad"
    #: The domain cannot be reached; final only the second time.
    DOMAIN_BAD = "domain_bad"
    TOO_LARGE = "too_large"
    CONTENT_REFUSED = "content_refused"
    #: Rejected for authentication, reputation or policy; the address is not affected.
    SENDER_REFUSED = "sender_refused"
    #: One side broke the protocol: retried on a new connection.
    PROTOCOL = "protocol"
    #: It is unknown whether the relay accepted it.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Reply:
    """One response of a server."""

    #: Basic code, 200 to 599; 0 when there was no valid response.
    code: int
    #: Text without the enhanced code, at most `TEXT_CHARACTERS_MAX`, without control characters.
    text: str
    #: Enhanced code such as `5.1.1`; None when there is none.
    status: str | None = None


_RELAY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{19,99}")
_ENHANCED = re.compile(r"([245])\.([0-9]{1,3})\.([0-9]{1,3})(?![0-9.])")
_NOT_SHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")
_ADDRESS = re.compile(r"[^\s<>@:;,\"()]{1,64}@([^\s<>@:;,\"()]{1,255})")

_RATE = re.compile(
    r"\brate|too many|too fast|too much mail|throttl|slow ?down|unusual|exceeded .{0,40}limit"
    r"|limit exceeded|over the limit|temporarily deferred|concurren|connection limit",
    re.IGNORECASE,
)
_NO_SUCH_USER = re.compile(
    r"(?:no such|unknown|invalid|nonexist\w*|non-exist\w*) (?:local )?"
    r"(?:user|recipient|mailbox|account|address|person)"
    r"|(?:user|recipient|mailbox|account|address)(?: <[^>]{0,320}>)?:?"
    r" (?:is )?(?:unknown|not found|invalid|disabled|does(?: not|n't) exist|not exist|no longer)"
    r"|(?:user|recipient|mailbox|account|address) .{0,320}(?:does(?: not|n't) exist|not found)"
    r"|no mailbox here|not a known user|unrouteable address|user doesn't have",
    re.IGNORECASE,
)
_FULL = re.compile(
    r"mailbox.{0,40} full|over ?quota|quota exceeded|exceeded .{0,20}quota|inbox full",
    re.IGNORECASE,
)

_AUTH_CODES = frozenset({530, 534, 535, 538})
_BEFORE_MAIL = frozenset({Phase.CONNECT, Phase.GREETING, Phase.AUTH})
#: Meaning of a basic code alone; other permanent codes count against the sender.
_BY_CODE = {
    **dict.fromkeys((500, 501, 502, 503, 504, 555), ReplyClass.PROTOCOL),
    551: ReplyClass.ADDRESS_BAD,
    552: ReplyClass.TOO_LARGE,
    **dict.fromkeys((521, 556), ReplyClass.DOMAIN_BAD),
}
_ADDRESS_DETAILS = frozenset({(1, 1), (1, 2), (1, 3), (1, 6), (1, 10), (2, 1)})
_ABOUT_ADDRESS = frozenset({ReplyClass.ADDRESS_BAD, ReplyClass.DOMAIN_BAD, ReplyClass.MAILBOX_FULL})


def read_reply(code: int, text: str) -> Reply:
    """Make a response safe to store and show.

    Args:
        code: basic code as received.
        text: everything after the codes of all lines, joined by line ends.
    """
    if not 200 <= code <= 599:
        return Reply(0, shown_text(text))
    match = _ENHANCED.match(text.lstrip())
    if match is None:
        return Reply(code, shown_text(text))
    # Each line repeats the enhanced code, which the text does not need.
    lines = (line.removeprefix(match[0]).strip() for line in text.splitlines())
    return Reply(code, shown_text(" ".join(lines)), match[0])


def relay_id_of(text: str | None) -> str | None:
    """The id that a relay gave to an accepted mail: the one long word with a digit in its response.

    Providers use it in their webhooks. Numbers of mail servers are shorter, and are used again.
    """
    words = (word.strip("<>()[]:;,.='\"") for word in (text or "").split())
    found = [word for word in words if _RELAY_ID.fullmatch(word) and any(map(str.isdigit, word))]
    return found[0] if len(found) == 1 else None


def shown_text(text: str) -> str:
    """A server's text on one line, local parts of addresses masked, at most 500 characters."""
    cut = _NOT_SHOWN.sub(" ", text[: TEXT_CHARACTERS_MAX * 4]).strip()
    return _ADDRESS.sub(r"***@\1", cut)[:TEXT_CHARACTERS_MAX]


def classify(phase: Phase, reply: Reply) -> ReplyClass:
    """Interpret a response.

    Args:
        phase: of the command.
        reply: as `read_reply` returns it; code 0 means no valid response.
    """
    code = reply.code
    if code < 400:
        return _without_rejection(phase, code)
    if code in _AUTH_CODES:
        return ReplyClass.RELAY_AUTH
    if phase in _BEFORE_MAIL:
        rejected = phase is Phase.AUTH and code >= 500
        return ReplyClass.RELAY_AUTH if rejected else ReplyClass.RELAY_UNAVAILABLE
    found = _for_good(reply) if code >= 500 else _for_now(reply)
    if phase is Phase.MAIL and found in _ABOUT_ADDRESS:
        # It is about the sender: no recipient was named yet.
        return ReplyClass.SENDER_REFUSED if code >= 500 else ReplyClass.DEFERRED
    return found


def _without_rejection(phase: Phase, code: int) -> ReplyClass:
    if phase is not Phase.FINAL:
        return ReplyClass.PROTOCOL
    # After the final dot a server may have accepted the mail even if it sent something other than
    # 2xx.
    return ReplyClass.SENT if 200 <= code < 300 else ReplyClass.UNKNOWN


def _detail(reply: Reply) -> tuple[int, int] | None:
    """Subject and detail of the enhanced code; None when it is unspecific (x.0.0)."""
    match = _ENHANCED.fullmatch(reply.status or "")
    if match is None or (match[2], match[3]) == ("0", "0"):
        return None
    return int(match[2]), int(match[3])


def _for_now(reply: Reply) -> ReplyClass:
    detail = _detail(reply)
    if detail == (2, 2) or (detail is None and _FULL.search(reply.text)):
        return ReplyClass.MAILBOX_FULL
    if detail == (5, 3) or _RATE.search(reply.text):
        return ReplyClass.THROTTLED
    if reply.code == 421:
        # With 4.7.x a receiver rejects the sender, otherwise a relay closes for everyone.
        rejected = detail is not None and detail[0] == 7
        return ReplyClass.THROTTLED if rejected else ReplyClass.RELAY_UNAVAILABLE
    if reply.code == 454:
        return ReplyClass.RELAY_UNAVAILABLE
    return ReplyClass.DEFERRED


def _for_good(reply: Reply) -> ReplyClass:
    detail = _detail(reply)
    found = None if detail is None else _by_detail(detail)
    if found is not None:
        return found
    if reply.code in {550, 553} and _NO_SUCH_USER.search(reply.text):
        return ReplyClass.ADDRESS_BAD
    if reply.code in {550, 552, 553} and _FULL.search(reply.text):
        return ReplyClass.MAILBOX_FULL
    return _BY_CODE.get(reply.code, ReplyClass.SENDER_REFUSED)


def _by_detail(detail: tuple[int, int]) -> ReplyClass | None:
    """Meaning of an enhanced code; None when the basic code and the text have to decide."""
    if detail in _ADDRESS_DETAILS:
        return ReplyClass.ADDRESS_BAD
    if detail in {(2, 3), (3, 4)}:
        return ReplyClass.TOO_LARGE
    if detail == (2, 2):
        return ReplyClass.MAILBOX_FULL
    if detail in {(1, 7), (1, 8)}:
        # Both are about the sender's address.
        return ReplyClass.SENDER_REFUSED
    return {
        4: ReplyClass.DOMAIN_BAD,
        5: ReplyClass.PROTOCOL,
        6: ReplyClass.CONTENT_REFUSED,
        7: ReplyClass.SENDER_REFUSED,
    }.get(detail[0])
