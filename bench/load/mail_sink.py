"""An SMTP server that takes every mail at once; small, so that it does not measure itself."""

from __future__ import annotations

import argparse
import asyncio

HOST = "127.0.0.1"
_OK = b"250 2.0.0 Ok\r\n"
_REPLIES = {
    b"EHLO": b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
    b"DATA": b"354 Go on\r\n",
    b"QUIT": b"221 2.0.0 Bye\r\n",
}


class Sink(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._in_mail = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the client."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(b"220 sink.example ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        """Answer every complete command and mail."""
        self._buffer += data
        while True:
            end = b"\r\n.\r\n" if self._in_mail else b"\r\n"
            at = self._buffer.find(end)
            if at < 0:
                return
            line = bytes(self._buffer[: min(at, 4)]).upper()
            del self._buffer[: at + len(end)]
            if self._in_mail:
                self._in_mail = False
                self._transport.write(_OK)
                continue
            self._in_mail = line == b"DATA"
            self._transport.write(_REPLIES.get(line, _OK))
            if line == b"QUIT":
                self._transport.close()


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Sink, HOST, port)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(_serve(parser.parse_args().port))
