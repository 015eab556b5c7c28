"""Checks of what receivers look up: the records of sending domains, and the name of the relay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from headrace.cli.doctor.finding import Finding, fail, ok, warn
from headrace.delivery.mail.dns_lookup import LookupFailedError, ResolverLookup
from headrace.domain.messages.dns_records import RecordCheck, RecordState


def check_domain_records(name: str, checks: Sequence[RecordCheck]) -> Iterator[Finding]:
    """Findings about the records of one domain."""
    for one in checks:
        label = f"{name} {one.record.purpose.value}"
        if one.state is RecordState.OK:
            yield ok(label, f"{one.record.type} {one.record.name}")
            continue
        found = one.message or f"{one.record.type} {one.record.name} is {one.state.value}"
        advice = f"Publish {one.record.type} {one.record.name}: {one.record.value}"
        if one.state is RecordState.UNKNOWN:
            yield warn(label, found, "Check again later.")
        elif one.record.required:
            yield fail(label, found, advice)
        else:
            yield warn(label, found, advice)


async def check_relay_name(host: str, lookup: ResolverLookup) -> Finding:
    """Whether each address of the relay has a name; large receivers reject mail without."""
    try:
        names = await lookup.reverse(host)
    except LookupFailedError as error:
        return warn("relay name", str(error), "Check again later.")
    if not names:
        return warn("relay name", f"{host} has no address in DNS", "Nothing, for a local name.")
    nameless = [address for address, found in names.items() if not found]
    if nameless:
        found = f"no PTR record for {', '.join(nameless)}"
        return warn("relay name", found, "Ask the provider of the address for one.")
    shown = ", ".join(f"{address} {found[0]}" for address, found in names.items())
    return ok("relay name", shown)
