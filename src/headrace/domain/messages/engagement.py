"""Judges whether a person, a proxy or a machine opened or clicked.

Judged once the burst is over (`engagement_settle_seconds` after a hit), over all hits of the last
minutes that share a message or an address with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from headrace.domain.messages.kinds import Engagement, Verdict, VerdictReason

Network = IPv4Network | IPv6Network

#: Hits of one address so close together, on so many links or messages, are a machine's.
BURST_US = 2_000_000
BURST_DIFFERENT = 3
#: How long before and after a honeypot or a burst its network is tainted.
TAINT_US = 600_000_000
#: No person reads a mail so soon after the receiving server accepted it.
TOO_EARLY_US = 2_000_000
#: Hits that are judged together; the oldest beyond it do not count.
HITS_MAX = 200
USER_AGENT_CHARACTERS_MAX = 512

_PREFETCH_AGENT = "Mozilla/5.0"
_DECLARED = re.compile(
    r"bot\b|crawl|spider|scanner|slurp|preview|fetch|monitor|headless|python|curl/|wget"
    r"|go-http|java/|okhttp|libwww|httpclient|barracuda|proofpoint|mimecast|safelinks|urldefense",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """One request to a tracked link or pixel."""

    message_id: str
    kind: Engagement
    #: Number of the link; 0 for the pixel.
    link: int
    at_us: int
    #: IP address as text; None once it is forgotten.
    address: str | None
    user_agent: str = ""
    head: bool = False
    #: The hidden first link, which no person sees.
    honeypot: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """The verdict; without a reason for a person."""

    verdict: Verdict
    reason: VerdictReason | None = None


PERSON = Judgement(verdict=Verdict.PERSON)


def judge_hit(
    hit: Hit,
    others: Iterable[Hit],
    *,
    sent_us: int | None,
    scanners: tuple[Network, ...] = (),
    prefetchers: tuple[Network, ...] = (),
) -> Judgement:
    """Judge one hit.

    Args:
        hit: the hit.
        others: hits of the same message, and of the same address, within `TAINT_US` of it; the hit
            itself may be among them.
        sent_us: when the receiving server or relay accepted the mail; None: not yet, or unknown.
        scanners: networks of link scanners, as the operator lists them.
        prefetchers: networks that Apple publishes for Mail Privacy Protection; where the operator
            lists none, its user agent alone decides.
    """
    address = _parsed(hit.address)
    near = (*tuple(others)[-HITS_MAX:], hit)
    machine = {
        VerdictReason.HEAD_REQUEST: hit.head,
        VerdictReason.HONEYPOT: _tainted(hit, [one for one in near if one.honeypot]),
        VerdictReason.SCANNER_NETWORK: _within(address, scanners),
        VerdictReason.DECLARED_BOT: _DECLARED.search(_agent(hit)) is not None,
        VerdictReason.PREFETCH_PROXY: _prefetched(hit, address, prefetchers),
        VerdictReason.BURST: _tainted(hit, [one for one in near if _in_burst(one, near)]),
        VerdictReason.TOO_EARLY: sent_us is None or hit.at_us < sent_us + TOO_EARLY_US,
    }
    reason = next((reason for reason, found in machine.items() if found), None)
    if reason is not None:
        return Judgement(verdict=Verdict.MACHINE, reason=reason)
    proxy = _proxy(hit)
    return PERSON if proxy is None else Judgement(verdict=Verdict.PROXY, reason=proxy)


def network_of(address: str | None) -> str | None:
    """The network of an address: a /24 of IPv4, a /48 of IPv6."""
    parsed = _parsed(address)
    if parsed is None:
        return None
    bits = 24 if isinstance(parsed, IPv4Address) else 48
    size = parsed.max_prefixlen
    return f"{size}:{int(parsed) >> (size - bits):x}"


def _agent(hit: Hit) -> str:
    return hit.user_agent[:USER_AGENT_CHARACTERS_MAX]


def _parsed(address: str | None) -> IPv4Address | IPv6Address | None:
    try:
        return None if address is None else ip_address(address)
    except ValueError:
        return None


def _within(address: IPv4Address | IPv6Address | None, networks: Iterable[Network]) -> bool:
    return address is not None and any(address in network for network in networks)


def _prefetched(
    hit: Hit, address: IPv4Address | IPv6Address | None, networks: tuple[Network, ...]
) -> bool:
    if hit.kind is not Engagement.OPEN or hit.user_agent != _PREFETCH_AGENT:
        return False
    return not networks or _within(address, networks)


def _proxy(hit: Hit) -> VerdictReason | None:
    agent = _agent(hit)
    if "GoogleImageProxy" in agent:
        return VerdictReason.GOOGLE_IMAGE_PROXY
    return VerdictReason.YAHOO_MAIL_PROXY if "YahooMailProxy" in agent else None


def _tainted(hit: Hit, machines: Iterable[Hit]) -> bool:
    """Whether one of these machines came to the same message from the same network."""
    network = network_of(hit.address)
    return any(
        one is hit
        or (
            network is not None
            and one.message_id == hit.message_id
            and network_of(one.address) == network
            and abs(one.at_us - hit.at_us) <= TAINT_US
        )
        for one in machines
    )


def _in_burst(hit: Hit, near: Iterable[Hit]) -> bool:
    """Whether a hit is one of many of its address within two seconds.

    Proxies fetch for many people from one address, so they do not count as a burst.
    """
    if hit.address is None or _proxy(hit) is not None:
        return False
    links: set[int] = set()
    messages: set[str] = set()
    for one in near:
        if one.address == hit.address and abs(one.at_us - hit.at_us) <= BURST_US:
            messages.add(one.message_id)
            if one.message_id == hit.message_id and one.kind is Engagement.CLICK:
                links.add(one.link)
    return len(links) >= BURST_DIFFERENT or len(messages) >= BURST_DIFFERENT
