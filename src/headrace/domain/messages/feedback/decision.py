"""Decides what a failure says about the address, from its status code and the server's text.

The codes are read as `smtp_replies` reads the response to a mail. Text about the sender's
reputation outranks every code: such a failure must never be read as a bad address.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from headrace.domain.messages.feedback.form import FeedbackKind
from headrace.domain.messages.smtp_replies import (
    TEXT_CHARACTERS_MAX,
    Phase,
    Reply,
    ReplyClass,
    classify,
    read_reply,
    shown_text,
)

_TYPE = re.compile(r"\s*[A-Za-z0-9-]{1,30}\s*;\s*")
_CODE = re.compile(r"[\"'\[(]?\s*#?([245][0-9]{2})(?![0-9.])[ \t:#-]*")
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_REPUTATION = re.compile(
    r"spam|block ?list|black ?list|dnsbl|\brbl\b|blocked|banned|reputation|\bdmarc\b|\bdkim\b"
    r"|\bspf\b|(?<!not )listed (?:in|by|at|on)|unauthenticated|authentication requirement"
    r"|unsolicited|bulk mail|sender (?:denied|rejected|blocked)|reverse dns|\bptr\b"
    r"|(?:local|security|message) policy|policy (?:reason|violation)|sending (?:quota|limit)",
    re.IGNORECASE,
)
#: In German, French, and as servers say it that use no enhanced codes.
_ABSENT = re.compile(
    r"(?:empf(?:ä|ae)nger|benutzer|postfach|adresse) .{0,100}(?:unbekannt|nicht gefunden|existiert)"
    r"|unbekannte[rs]? (?:empf|benutzer|postfach|adresse)|existiert nicht"
    r"|(?:utilisateur|destinataire|adresse|compte) .{0,100}(?:inconnue?|introuvable|existe pas)"
    r"|address (?:not found|couldn't be found)|wasn't found at|no mailbox here|no such user"
    r"|couldn't be found|unrouteable address|user unknown|unknown user|user doesn't have"
    r"|no such (?:mailbox|address|recipient)"
    r"|wurde nicht gefunden|account (?:that you tried to reach )?(?:does not exist|is disabled)",
    re.IGNORECASE,
)
_FULL = re.compile(
    r"postfach .{0,60}voll|speicherplatz|bo[iî]te .{0,60}pleine|quota|mailbox .{0,40}full"
    r"|out of (?:disk )?space|inbox .{0,40}full",
    re.IGNORECASE,
)
_LATER = re.compile(
    r"queue too long|retry time(?:out)?|timed? ?out|connection (?:refused|dropped)"
    r"|could(?:n't| not) (?:find|connect|reach)|host (?:or domain name )?not found|no route"
    r"|mailbox unavailable|temporar|delivery time expired|message expired|name service error"
    r"|domain .{0,80}(?:not found|couldn't be found|does(?: not|n't) exist)",
    re.IGNORECASE,
)
_KINDS = {
    ReplyClass.ADDRESS_BAD: FeedbackKind.HARD,
    ReplyClass.MAILBOX_FULL: FeedbackKind.SOFT,
    ReplyClass.DOMAIN_BAD: FeedbackKind.SOFT,
    ReplyClass.DEFERRED: FeedbackKind.SOFT,
    ReplyClass.RELAY_UNAVAILABLE: FeedbackKind.SOFT,
    ReplyClass.THROTTLED: FeedbackKind.BLOCKED,
    ReplyClass.RELAY_AUTH: FeedbackKind.BLOCKED,
    ReplyClass.SENDER_REFUSED: FeedbackKind.BLOCKED,
    ReplyClass.TOO_LARGE: FeedbackKind.BLOCKED,
    ReplyClass.CONTENT_REFUSED: FeedbackKind.BLOCKED,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """What a failure says."""

    kind: FeedbackKind
    reason: ReplyClass | None
    #: Enhanced code; the more specific of the report's own and the server's.
    status: str | None
    #: The server's text on one line, addresses masked; None without one.
    text: str | None
    #: Whether a code or a known text decided, not the basic code alone.
    sure: bool


def judge(status: str, diagnostic: str) -> Failure:
    """Judge a failed delivery.

    Args:
        status: enhanced code as reported; anything else counts as none.
        diagnostic: the server's response as reported, with or without `smtp;` and codes before it.
    """
    reply = read_diagnostic(diagnostic)
    reported = match[0] if (match := _STATUS.match(status.strip())) else None
    chosen = reply.status if _specific(reply.status) else (reported or reply.status)
    text = reply.text or None
    reputation = _about_sender(reported) or _about_sender(reply.status)
    if reputation or _REPUTATION.search(reply.text):
        return Failure(FeedbackKind.BLOCKED, ReplyClass.SENDER_REFUSED, chosen, text, sure=True)
    known = _from_text(reply.text, chosen)
    if known is not None:
        return Failure(_KINDS[known], known, chosen, text, sure=True)
    code = reply.code or _basic_code(chosen)
    if code < 400 or (reply.code == 0 and not _specific(chosen)):
        return Failure(FeedbackKind.UNKNOWN, None, chosen, text, sure=False)
    found = classify(Phase.RCPT, Reply(code, reply.text, chosen))
    kind = _KINDS.get(found, FeedbackKind.UNKNOWN)
    if found is ReplyClass.ADDRESS_BAD and code < 500:
        kind = FeedbackKind.SOFT
    sure = _specific(chosen) or found is not ReplyClass.SENDER_REFUSED
    return Failure(kind, found, chosen, text, sure=sure)


def read_diagnostic(diagnostic: str) -> Reply:
    """Read `smtp; 550-5.1.1 text 550 5.1.1 text`; the code is 0 when there is none."""
    rest = diagnostic[: TEXT_CHARACTERS_MAX * 4].strip()
    kind = _TYPE.match(rest)
    rest = rest[kind.end() :] if kind else rest
    found = _CODE.match(rest)
    if found is None:
        match = _STATUS.match(rest)
        return Reply(0, shown_text(rest), match[0] if match else None)
    reply = read_reply(int(found[1]), rest[found.end() :])
    # Each line of a response repeats both codes.
    again = rf" {found[1]}[ -](?:{re.escape(reply.status or '')} ?)?"
    return Reply(reply.code, re.sub(again, " ", reply.text), reply.status)


def _specific(status: str | None) -> bool:
    return status is not None and not status.endswith(".0.0")


def _about_sender(status: str | None) -> bool:
    return status is not None and status.split(".")[1] == "7"


def _basic_code(status: str | None) -> int:
    return int(status[0]) * 100 + 50 if status else 0


def _from_text(text: str, status: str | None) -> ReplyClass | None:
    """Meaning of a known text, where the enhanced code is unspecific.

    Status 5.5.0 counts as unspecific: large receivers send it for mailboxes that do not exist.
    """
    if _specific(status) and status != "5.5.0":
        return None
    if _FULL.search(text):
        return ReplyClass.MAILBOX_FULL
    temporary = status is not None and status.startswith("4")
    if _LATER.search(text):
        return ReplyClass.DEFERRED
    return ReplyClass.ADDRESS_BAD if _ABSENT.search(text) and not temporary else None
