"""Looks up the records of a sending domain."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver
import dns.reversename

from headrace.domain.messages.dns_records import (
    DnsRecord,
    Purpose,
    RecordCheck,
    RecordState,
    dmarc_names,
    judge_record,
)

#: For one query, all servers and retries together.
LOOKUP_S = 5.0
#: Addresses of one host whose names are looked up.
ADDRESSES_MAX = 8


class LookupFailedError(Exception):
    """No server responded; the message completes a sentence for the operator."""


class DnsLookup(Protocol):
    """DNS lookups; an absent name or type gives an empty result.

    Both raise `LookupFailedError`.
    """

    async def txt(self, name: str) -> Sequence[str]:
        """Every TXT record, the strings of each joined."""
        ...

    async def mx(self, name: str) -> Sequence[str]:
        """Every MX record as `10 host`, without a null MX."""
        ...


class ResolverLookup:
    """Queries the name servers of the system, or given ones.

    Args:
        nameservers: addresses; None: as the system is configured.
        port: of these servers.
        lookup_s: deadline of one query.
    """

    def __init__(
        self,
        nameservers: Sequence[str] | None = None,
        port: int = 53,
        lookup_s: float = LOOKUP_S,
    ) -> None:
        self._resolver = dns.asyncresolver.Resolver(configure=nameservers is None)
        if nameservers is not None:
            self._resolver.nameservers = list(nameservers)
            self._resolver.port = port
        self._resolver.lifetime = lookup_s
        # No cache: it could hide the operator's last change.
        self._resolver.cache = None

    async def txt(self, name: str) -> Sequence[str]:
        """See `DnsLookup`."""
        return [
            b"".join(record.strings).decode("ascii", "replace")
            for record in await self._ask(name, "TXT")
        ]

    async def mx(self, name: str) -> Sequence[str]:
        """See `DnsLookup`."""
        return [
            f"{record.preference} {record.exchange.to_text(omit_final_dot=True)}"
            for record in await self._ask(name, "MX")
            if record.exchange != dns.name.root
        ]

    async def reverse(self, host: str) -> dict[str, Sequence[str]]:
        """The names (PTR) of each IPv4 and IPv6 address of a host; see `DnsLookup` for errors."""
        addresses = [
            record.address for kind in ("A", "AAAA") for record in await self._ask(host, kind)
        ]
        found: dict[str, Sequence[str]] = {}
        for address in addresses[:ADDRESSES_MAX]:
            name = dns.reversename.from_address(address).to_text(omit_final_dot=True)
            pointers = await self._ask(name, "PTR")
            found[address] = [one.target.to_text(omit_final_dot=True) for one in pointers]
        return found

    async def _ask(self, name: str, kind: str) -> Sequence[Any]:
        try:
            answer = await self._resolver.resolve(f"{name}.", kind, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return ()
        except (dns.exception.DNSException, OSError) as error:
            message = f"{name} cannot be looked up: {type(error).__name__}"
            raise LookupFailedError(message) from None
        return list(answer.rrset or ())


async def check_records(records: Sequence[DnsRecord], lookup: DnsLookup) -> tuple[RecordCheck, ...]:
    """Look all records of a domain up at once; takes at most a few times `LOOKUP_S`."""
    return tuple(await asyncio.gather(*(_check(record, lookup) for record in records)))


async def _check(record: DnsRecord, lookup: DnsLookup) -> RecordCheck:
    try:
        if record.purpose is Purpose.DMARC:
            return await _check_dmarc(record, lookup)
        ask = lookup.mx if record.type == "MX" else lookup.txt
        return judge_record(record, await ask(record.name))
    except LookupFailedError as error:
        return RecordCheck(record=record, state=RecordState.UNKNOWN, message=str(error))


async def _check_dmarc(record: DnsRecord, lookup: DnsLookup) -> RecordCheck:
    """A policy of a parent domain applies, too."""
    checks: list[RecordCheck] = []
    for name in dmarc_names(record.name.removeprefix("_dmarc.")):
        checks.append(judge_record(record, await lookup.txt(name)))
        if checks[-1].state is not RecordState.MISSING:
            return checks[-1]
    return checks[0]
