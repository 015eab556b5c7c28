"""The DNS records that a sending domain needs, and checks of those that were found."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

#: Records read for one name.
FOUND_MAX = 50
_SHOWN_CHARACTERS_MAX = 300
_TAG = re.compile(r"\s*([a-zA-Z][a-zA-Z0-9_]*)\s*=\s*([^;]*)")
_BLANKS = re.compile(r"\s+")
_NOT_SHOWN = re.compile(r"[^\x20-\x7e]")


class Purpose(StrEnum):
    """Purpose of a record."""

    #: The key of signatures; also proves ownership of the domain.
    DKIM = "dkim"
    #: Which servers may send with the bounce domain.
    SPF = "spf"
    #: How receivers treat mail that fails.
    DMARC = "dmarc"
    #: Where bounces are received.
    BOUNCE = "bounce"


class DnsRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A record to publish, as shown."""

    type: str
    name: str
    value: str
    purpose: Purpose
    #: Without it the domain is not verified.
    required: bool


class RecordState(StrEnum):
    """Result of a lookup."""

    OK = "ok"
    MISSING = "missing"
    #: There is one, but it is wrong.
    WRONG = "wrong"
    #: The lookup failed; nothing is known.
    UNKNOWN = "unknown"


class RecordCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One record, and what was found for it."""

    record: DnsRecord
    state: RecordState
    #: One sentence for the operator; empty when all is well.
    message: str = ""
    #: What is published now, safe to show.
    found: tuple[str, ...] = ()


def records_of(
    domain: str,
    *,
    dkim_name: str,
    dkim_value: str,
    spf: str,
    bounce_domain: str | None = None,
    bounce_host: str | None = None,
) -> tuple[DnsRecord, ...]:
    """What to publish for a domain.

    Args:
        domain: the sending domain.
        dkim_name: name of the record of its key.
        dkim_value: content of that record.
        spf: mechanisms that name the relay: `include:_spf.example.com` or `a:relay.example.com`.
        bounce_domain: domain of the envelope sender; None: the sending domain itself.
        bounce_host: host that takes mail for it; None: bounces come back by a mailbox elsewhere.
    """
    envelope = bounce_domain or domain
    records = [
        DnsRecord(
            type="TXT", name=dkim_name, value=dkim_value, purpose=Purpose.DKIM, required=True
        ),
        DnsRecord(
            type="TXT",
            name=envelope,
            value=f"v=spf1 {spf} ~all",
            purpose=Purpose.SPF,
            required=True,
        ),
        DnsRecord(
            type="TXT",
            name=f"_dmarc.{domain}",
            value="v=DMARC1; p=none",
            purpose=Purpose.DMARC,
            required=False,
        ),
    ]
    if bounce_domain is not None:
        value = f"10 {bounce_host}" if bounce_host else "10 mail server of the bounce domain"
        records.append(
            DnsRecord(
                type="MX",
                name=bounce_domain,
                value=value,
                purpose=Purpose.BOUNCE,
                required=False,
            )
        )
    return tuple(records)


def is_verified(checks: Iterable[RecordCheck]) -> bool:
    """Whether every required record is there."""
    return all(one.state is RecordState.OK for one in checks if one.record.required)


def judge_record(record: DnsRecord, found: Sequence[str]) -> RecordCheck:
    """Compare found records with the needed one.

    Args:
        record: what is needed.
        found: every TXT or MX of the name; MX as `10 host`.
    """
    judges = {
        Purpose.DKIM: _dkim,
        Purpose.SPF: _spf,
        Purpose.DMARC: _dmarc,
        Purpose.BOUNCE: _bounce,
    }
    state, message = judges[record.purpose](record, found[:FOUND_MAX])
    return RecordCheck(record=record, state=state, message=message, found=shown(found))


def dmarc_names(domain: str) -> tuple[str, ...]:
    """Where a policy for the domain may be: at itself, or at a parent domain."""
    labels = domain.split(".")
    return tuple("_dmarc." + ".".join(labels[at:]) for at in range(len(labels) - 1))[:5]


def shown(found: Sequence[str]) -> tuple[str, ...]:
    """Found records, cut and reduced to printable ASCII."""
    return tuple(_NOT_SHOWN.sub("?", one)[:_SHOWN_CHARACTERS_MAX] for one in found[:FOUND_MAX])


def _dkim(record: DnsRecord, found: Sequence[str]) -> tuple[RecordState, str]:
    wanted = _tags(record.value)["p"]
    keys = [tags for tags in map(_tags, found) if "p" in tags]
    if not keys:
        return RecordState.MISSING, "no key found; publish the record as shown"
    if len(keys) > 1:
        return RecordState.WRONG, "several keys found under one selector; keep one"
    (tags,) = keys
    if tags.get("v", "DKIM1") != "DKIM1" or tags.get("k", "rsa") != "rsa":
        return RecordState.WRONG, "the record has another key type"
    if not tags["p"]:
        return RecordState.WRONG, "the key is revoked (p is empty)"
    if tags["p"] != wanted:
        return RecordState.WRONG, "the key differs; some DNS panels truncate it at 255 characters"
    return RecordState.OK, ""


def _spf(record: DnsRecord, found: Sequence[str]) -> tuple[RecordState, str]:
    policies = [one.split() for one in found if one.split()[:1] in (["v=spf1"], ["V=SPF1"])]
    if not policies:
        return RecordState.MISSING, "no SPF record found"
    if len(policies) > 1:
        return RecordState.WRONG, "several SPF records found, which is an error for receivers"
    terms = {term.lower().removeprefix("+") for term in policies[0][1:]}
    wanted = [term for term in record.value.lower().split()[1:] if not term.endswith("all")]
    missing = [term for term in wanted if term not in terms]
    if missing and not any(term.startswith("redirect=") for term in terms):
        return RecordState.WRONG, f"the SPF record lacks {' '.join(missing)}"
    return RecordState.OK, ""


def _dmarc(_: DnsRecord, found: Sequence[str]) -> tuple[RecordState, str]:
    policies = [tags for tags in map(_tags, found) if tags.get("v") == "DMARC1"]
    if not policies:
        return RecordState.MISSING, "no DMARC policy found; large receivers require one"
    if len(policies) > 1:
        return RecordState.WRONG, "several DMARC policies found, so receivers use none"
    if policies[0].get("p", "").lower() not in {"none", "quarantine", "reject"}:
        return RecordState.WRONG, "the DMARC policy has no valid p"
    return RecordState.OK, ""


def _bounce(record: DnsRecord, found: Sequence[str]) -> tuple[RecordState, str]:
    hosts = [one.split()[-1].rstrip(".").lower() for one in found if one.split()]
    if not [host for host in hosts if host]:
        return RecordState.MISSING, "the bounce domain has no mail server: bounces are lost"
    wanted = record.value.split()
    if len(wanted) == 2 and wanted[1].rstrip(".").lower() not in hosts:
        return RecordState.WRONG, "mail for the bounce domain goes to another server"
    return RecordState.OK, ""


def _tags(text: str) -> dict[str, str]:
    """Tags of DKIM and DMARC, where white space inside values has no meaning."""
    tags: dict[str, str] = {}
    for part in text.split(";"):
        match = _TAG.fullmatch(part)
        if match is not None:
            tags.setdefault(match[1].lower(), _BLANKS.sub("", match[2]))
    return tags
