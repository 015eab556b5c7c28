"""Records of a domain, looked up at a real name server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.cli.doctor.mail_domains import check_domain_records, check_relay_name
from headrace.delivery.mail.dkim import new_dkim_key
from headrace.delivery.mail.dns_lookup import LookupFailedError, ResolverLookup, check_records
from headrace.domain.messages.dns_records import (
    Purpose,
    RecordCheck,
    RecordState,
    is_verified,
    judge_record,
    records_of,
)
from tests.delivery.mail.dns_server import NameServer, name_server

KEY = new_dkim_key("mail.example.org", "hr1")
RECORDS = records_of(
    "mail.example.org",
    dkim_name=KEY.record_name,
    dkim_value=KEY.record_value,
    spf="include:_spf.relay.example",
    bounce_domain="bounces.example.org",
    bounce_host="in.example.org",
)


def quoted(text: str) -> str:
    """A long text as in a zone file: in strings of 255 characters."""
    return " ".join(f'"{text[at : at + 255]}"' for at in range(0, len(text), 255))


def publish_all(server: NameServer) -> None:
    server.records = {
        (KEY.record_name, "TXT"): [quoted(KEY.record_value)],
        ("bounces.example.org", "TXT"): [
            '"v=spf1 include:_spf.relay.example mx -all"',
            quoted("other-service=" + "x" * 600),
        ],
        ("bounces.example.org", "MX"): ["10 in.example.org."],
        # The policy of the parent domain applies.
        ("_dmarc.example.org", "TXT"): ['"v=DMARC1; p=reject; rua=mailto:a@example.org"'],
    }


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    async with name_server() as running:
        publish_all(running)
        yield running


async def looked_up(server: NameServer) -> dict[Purpose, RecordCheck]:
    # Short only where the test waits for a timeout.
    lookup_s = 1.0 if server.silent else 20.0
    lookup = ResolverLookup(["127.0.0.1"], server.port, lookup_s=lookup_s)
    return {one.record.purpose: one for one in await check_records(RECORDS, lookup)}


@pytest.mark.anyio
async def test_published_records_verify_the_domain(server: NameServer) -> None:
    found = await looked_up(server)
    assert {one.state for one in found.values()} == {RecordState.OK}
    assert is_verified(found.values())
    # A response over 512 bytes is requested over TCP.
    assert server.questions.count("TXT bounces.example.org") == 2


@pytest.mark.anyio
async def test_missing_records_are_named(server: NameServer) -> None:
    server.records.clear()
    found = await looked_up(server)
    assert {one.state for one in found.values()} == {RecordState.MISSING}
    assert all(one.message for one in found.values())
    assert not is_verified(found.values())


@pytest.mark.anyio
async def test_advice_does_not_block_the_domain(server: NameServer) -> None:
    del server.records["bounces.example.org", "MX"]
    del server.records["_dmarc.example.org", "TXT"]
    found = await looked_up(server)
    assert found[Purpose.DMARC].state is RecordState.MISSING
    assert found[Purpose.BOUNCE].state is RecordState.MISSING
    assert is_verified(found.values())


@pytest.mark.anyio
async def test_failing_or_silent_server_gives_no_result(server: NameServer) -> None:
    server.failing.add(KEY.record_name)
    server.silent.add("bounces.example.org")
    found = await looked_up(server)
    assert found[Purpose.DKIM].state is RecordState.UNKNOWN
    assert found[Purpose.SPF].state is RecordState.UNKNOWN
    assert not is_verified(found.values())
    with pytest.raises(LookupFailedError, match="cannot be looked up"):
        await ResolverLookup(["127.0.0.1"], server.port, lookup_s=1.0).txt("a" * 70)


@pytest.mark.anyio
async def test_null_mx_accepts_no_bounces(server: NameServer) -> None:
    server.records["bounces.example.org", "MX"] = ["0 ."]
    assert (await looked_up(server))[Purpose.BOUNCE].state is RecordState.MISSING


@pytest.mark.parametrize(
    ("purpose", "found", "state", "message"),
    [
        (Purpose.DKIM, [KEY.record_value.replace("; ", " ;\t")], RecordState.OK, ""),
        (Purpose.DKIM, [KEY.record_value[:250]], RecordState.WRONG, "the key differs"),
        (Purpose.DKIM, ["v=DKIM1; p="], RecordState.WRONG, "revoked"),
        (Purpose.DKIM, [KEY.record_value] * 2, RecordState.WRONG, "several keys"),
        (Purpose.DKIM, ["v=DKIM1; k=ed25519; p=x"], RecordState.WRONG, "another key type"),
        (Purpose.DKIM, ["hello"], RecordState.MISSING, "no key"),
        (Purpose.SPF, ["v=spf1 include:_SPF.relay.example ~all"], RecordState.OK, ""),
        (Purpose.SPF, ["v=spf1 redirect=_spf.example.org"], RecordState.OK, ""),
        (Purpose.SPF, ["v=spf1 mx -all"], RecordState.WRONG, "lacks include:_spf.relay.example"),
        (Purpose.SPF, ["v=spf1 -all"] * 2, RecordState.WRONG, "several SPF"),
        (Purpose.SPF, ["v=spf10 x"], RecordState.MISSING, "no SPF"),
        (Purpose.DMARC, ["v=DMARC1;p=none"], RecordState.OK, ""),
        (Purpose.DMARC, ["v=DMARC1; p=maybe"], RecordState.WRONG, "no valid p"),
        (Purpose.DMARC, ["v=DMARC1; p=none"] * 2, RecordState.WRONG, "several DMARC"),
        (Purpose.BOUNCE, ["10 IN.example.org."], RecordState.OK, ""),
        (Purpose.BOUNCE, ["10 other.example"], RecordState.WRONG, "another server"),
    ],
)
def test_found_record_is_judged(
    purpose: Purpose, found: list[str], state: RecordState, message: str
) -> None:
    record = next(one for one in RECORDS if one.purpose is purpose)
    check = judge_record(record, found)
    assert check.state is state
    assert message in check.message


@given(purpose=st.sampled_from(Purpose), found=st.lists(st.text(max_size=80), max_size=5))
def test_any_record_is_judged(purpose: Purpose, found: list[str]) -> None:
    record = next(one for one in RECORDS if one.purpose is purpose)
    check = judge_record(record, found)
    assert all(one.isascii() and one.isprintable() for one in check.found)


@pytest.mark.anyio
async def test_the_relay_has_a_name_or_none(server: NameServer) -> None:
    server.records = {
        ("relay.example", "A"): ["192.0.2.7", "192.0.2.8"],
        ("relay.example", "AAAA"): ["2001:db8::7"],
        ("7.2.0.192.in-addr.arpa", "PTR"): ["mail.relay.example."],
    }
    lookup = ResolverLookup(["127.0.0.1"], server.port)
    found = await lookup.reverse("relay.example")
    assert found == {"192.0.2.7": ["mail.relay.example"], "192.0.2.8": [], "2001:db8::7": []}
    finding = await check_relay_name("relay.example", lookup)
    assert (finding.level, "192.0.2.8, 2001:db8::7" in finding.found) == ("warn", True)
    server.records["relay.example", "A"] = ["192.0.2.7"]
    del server.records["relay.example", "AAAA"]
    assert (await check_relay_name("relay.example", lookup)).level == "ok"
    assert (await check_relay_name("localhost", lookup)).level == "warn"


@pytest.mark.anyio
async def test_findings_say_what_to_publish(server: NameServer) -> None:
    publish_all(server)
    lookup = ResolverLookup(["127.0.0.1"], server.port)
    checks = await check_records(RECORDS, lookup)
    findings = list(check_domain_records("mail.example.org", checks))
    assert {finding.level for finding in findings} == {"ok"}
    server.records = {}
    checks = await check_records(RECORDS, lookup)
    levels = {one.check: one for one in check_domain_records("mail.example.org", checks)}
    assert levels["mail.example.org dkim"].level == "fail"
    assert KEY.record_name in levels["mail.example.org dkim"].advice
    assert levels["mail.example.org dmarc"].level == "warn"
