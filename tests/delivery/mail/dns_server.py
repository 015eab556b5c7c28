"""A name server on loopback with the records of a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.support.ports import free_port


@dataclass
class NameServer(asyncio.DatagramProtocol):
    """Records by name and type; a name in `failing` gets SERVFAIL, one in `silent` no response."""

    records: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    questions: list[str] = field(default_factory=list)
    port: int = 0
    transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self.answer(dns.message.from_wire(data))
        if answer is not None and self.transport is not None:
            self.transport.sendto(answer.to_wire(max_size=512, prefer_truncation=True), addr)

    async def serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(2), "big")
        answer = self.answer(dns.message.from_wire(await reader.readexactly(size)))
        if answer is not None:
            wire = answer.to_wire()
            writer.write(len(wire).to_bytes(2, "big") + wire)
            await writer.drain()
        writer.close()

    def answer(self, question: dns.message.Message) -> dns.message.Message | None:
        asked = question.question[0]
        name = asked.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(asked.rdtype)
        self.questions.append(f"{kind} {name}")
        if name in self.silent:
            return None
        answer = dns.message.make_response(question)
        answer.flags |= dns.flags.AA
        if name in self.failing:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif found := self.records.get((name, kind)):
            answer.answer.append(dns.rrset.from_text_list(asked.name, 60, "IN", kind, found))
        elif not any(known == name for known, _ in self.records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer


@asynccontextmanager
async def name_server() -> AsyncIterator[NameServer]:
    """Listen on UDP and TCP; answers over 512 bytes need the latter."""
    loop = asyncio.get_running_loop()
    server = NameServer()
    # One port that is free on both: a port that UDP is given may be taken on TCP.
    server.port = free_port()
    transport, _ = await loop.create_datagram_endpoint(lambda: server, ("127.0.0.1", server.port))
    try:
        tcp = await asyncio.start_server(server.serve_tcp, "127.0.0.1", server.port)
        try:
            yield server
        finally:
            tcp.close()
    finally:
        # Also when TCP cannot listen: the loop is closed next.
        transport.close()
