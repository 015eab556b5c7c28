"""Who caused an open or a click: each reason of the closed list, and what it affects."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.messages.engagement import PERSON, Hit, judge_hit, network_of
from headrace.domain.messages.kinds import Engagement, Verdict, VerdictReason

SENT_US = 1_800_000_000_000_000
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36"
OPEN = Hit(
    message_id="m1",
    kind=Engagement.OPEN,
    link=0,
    at_us=SENT_US + 60_000_000,
    address="198.51.100.7",
    user_agent=CHROME,
)
CLICK = replace(OPEN, kind=Engagement.CLICK, link=1)
SCANNERS = (ip_network("203.0.113.0/24"),)
APPLE = (ip_network("17.0.0.0/8"),)


def test_person() -> None:
    assert judge_hit(OPEN, (), sent_us=SENT_US) == PERSON
    assert judge_hit(CLICK, (OPEN, CLICK), sent_us=SENT_US) == PERSON


@pytest.mark.parametrize(
    ("hit", "reason"),
    [
        (replace(CLICK, head=True), VerdictReason.HEAD_REQUEST),
        (replace(CLICK, honeypot=True), VerdictReason.HONEYPOT),
        (replace(CLICK, address="203.0.113.9"), VerdictReason.SCANNER_NETWORK),
        (replace(CLICK, user_agent="Barracuda Sentinel"), VerdictReason.DECLARED_BOT),
        (
            replace(OPEN, user_agent="Mozilla/5.0", address="17.58.1.2"),
            VerdictReason.PREFETCH_PROXY,
        ),
        (replace(OPEN, at_us=SENT_US + 1_999_999), VerdictReason.TOO_EARLY),
    ],
)
def test_machine(hit: Hit, reason: VerdictReason) -> None:
    found = judge_hit(hit, (), sent_us=SENT_US, scanners=SCANNERS, prefetchers=APPLE)
    assert (found.verdict, found.reason) == (Verdict.MACHINE, reason)


def test_agent_of_the_prefetch_proxy_counts_only_for_opens_and_its_networks() -> None:
    bare = replace(OPEN, user_agent="Mozilla/5.0")
    assert judge_hit(bare, (), sent_us=SENT_US, prefetchers=APPLE) == PERSON
    found = judge_hit(bare, (), sent_us=SENT_US)
    assert found.reason is VerdictReason.PREFETCH_PROXY
    assert judge_hit(replace(CLICK, user_agent="Mozilla/5.0"), (), sent_us=SENT_US) == PERSON


def test_hit_before_the_receiver_has_the_mail_is_a_machine() -> None:
    assert judge_hit(OPEN, (), sent_us=None).reason is VerdictReason.TOO_EARLY


@pytest.mark.parametrize(
    ("agent", "reason"),
    [
        ("Mozilla/5.0 (via ggpht.com GoogleImageProxy)", VerdictReason.GOOGLE_IMAGE_PROXY),
        ("YahooMailProxy; https://help.yahoo.com/kb/", VerdictReason.YAHOO_MAIL_PROXY),
    ],
)
def test_proxy(agent: str, reason: VerdictReason) -> None:
    hits = [replace(OPEN, message_id=f"m{n}", user_agent=agent) for n in range(1, 6)]
    found = judge_hit(hits[0], hits, sent_us=SENT_US)
    assert (found.verdict, found.reason) == (Verdict.PROXY, reason)


def test_burst_over_links_of_one_message() -> None:
    burst = [replace(CLICK, link=n, at_us=CLICK.at_us + n * 500_000) for n in (1, 2, 3)]
    for hit in burst:
        assert judge_hit(hit, burst, sent_us=SENT_US).reason is VerdictReason.BURST
    assert judge_hit(burst[0], burst[:2], sent_us=SENT_US) == PERSON


def test_burst_over_messages() -> None:
    burst = [replace(CLICK, message_id=f"m{n}") for n in (1, 2, 3)]
    assert judge_hit(burst[0], burst, sent_us=SENT_US).reason is VerdictReason.BURST


def test_honeypot_taints_its_network_before_and_after_but_no_other() -> None:
    honeypot = replace(CLICK, honeypot=True, address="198.51.100.200")
    before = replace(OPEN, at_us=honeypot.at_us - 300_000_000)
    long_before = replace(OPEN, at_us=SENT_US + 5_000_000)
    late = replace(honeypot, at_us=honeypot.at_us + 3_600_000_000)
    other = replace(OPEN, address="192.0.2.1")
    assert judge_hit(replace(before, at_us=honeypot.at_us), [honeypot], sent_us=SENT_US).reason is (
        VerdictReason.HONEYPOT
    )
    assert judge_hit(long_before, [late], sent_us=SENT_US) == PERSON
    assert judge_hit(other, [honeypot], sent_us=SENT_US) == PERSON


def test_networks() -> None:
    assert network_of("198.51.100.7") == network_of("198.51.100.250")
    assert network_of("2001:db8:1::1") == network_of("2001:db8:1:ffff::2")
    assert network_of("2001:db8:1::1") != network_of("2001:db8:2::1")
    assert network_of("not an address") is None


@given(
    agent=st.text(max_size=100),
    address=st.text(max_size=20) | st.ip_addresses().map(str) | st.none(),
    late_us=st.integers(-(10**9), 10**9),
    count=st.integers(0, 5),
)
def test_any_hit_is_judged(agent: str, address: str | None, late_us: int, count: int) -> None:
    hit = replace(CLICK, user_agent=agent, address=address, at_us=SENT_US + late_us)
    found = judge_hit(hit, [hit] * count, sent_us=SENT_US, scanners=SCANNERS)
    assert (found.reason is None) == (found.verdict is Verdict.PERSON)
