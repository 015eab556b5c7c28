"""Request bodies: unpacked within limits."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Protocol

from headrace.domain.errors import ApiError, ErrorCode
from headrace.http.server.zstandard import zstd

ENCODINGS = ("identity", "gzip", "zstd")
_PIECE_BYTES = 64 * 1024
#: Members or frames in a row. Each costs a copy of the rest, so thousands would be slow.
_MEMBERS_MAX = 128
#: 8 MiB, the largest window that every implementation must support (RFC 8878, 3.1.1.1.2).
_WINDOW_LOG_MAX = 23


def too_large(bytes_max: int, *, decoded: bool = False) -> ApiError:
    """413 naming the limit."""
    unpacked = " unpacked" if decoded else ""
    message = f"The body is larger than {bytes_max} bytes{unpacked}."
    return ApiError(ErrorCode.REQUEST_TOO_LARGE, message)


def unpack(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """Undo the content encoding.

    Unpacks piece by piece and stops at the limit, so a bomb costs no more memory than the limit.
    Several members or frames in a row are allowed, as in their formats.

    Raises:
        ApiError: 413 past `bytes_max`, 400 when the body is corrupt.
    """
    if encoding == "identity":
        return body
    result = bytearray()
    try:
        for _ in range(_MEMBERS_MAX):
            body = _unpack_one(body, _gzip if encoding == "gzip" else _zstd, result, bytes_max)
            if not body:
                return bytes(result)
    except (zlib.error, zstd.ZstdError, EOFError):
        message = f"The body is not valid {encoding}."
        raise ApiError(ErrorCode.MALFORMED_REQUEST, message) from None
    message = f"The body has more than {_MEMBERS_MAX} {encoding} members in a row."
    raise ApiError(ErrorCode.MALFORMED_REQUEST, message)


def _unpack_one(
    body: bytes, make: Callable[[], Unpacker], result: bytearray, bytes_max: int
) -> bytes:
    """Unpack one member or frame into `result`; returns the rest."""
    unpacker = make()
    rest = body
    while not unpacker.eof:
        piece = unpacker.decompress(rest, _PIECE_BYTES)
        result += piece
        if len(result) > bytes_max:
            raise too_large(bytes_max, decoded=True)
        # zlib returns unconsumed input, zstd keeps it.
        rest = getattr(unpacker, "unconsumed_tail", b"")
        if not piece and not rest and not unpacker.eof:
            raise EOFError
    return unpacker.unused_data


class Unpacker(Protocol):
    """What the decompressors of zlib and zstd have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _gzip() -> Unpacker:
    return zlib.decompressobj(wbits=31)


def _zstd() -> Unpacker:
    # A frame may declare a window of gigabytes.
    options = {int(zstd.DecompressionParameter.window_log_max): _WINDOW_LOG_MAX}
    return zstd.ZstdDecompressor(options=options)
